// SPDX-License-Identifier: Apache-2.0
// moat-gpu-workload [OPTION]... NAME
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "tests/workload/gpu_scenarios.h"

namespace {

using namespace moat::gpu;

constexpr char kUsage[] = R"(moat-gpu-workload [OPTION]... NAME

Plays what a program does with accelerators, in exactly these calls. Each process that it takes prints a line for each call:
PID NAME CALLS REFUSED. What a driver answers changes nothing else.

  --list              the names: suspicious or benign, and what each does
  --device NAME=PATH  where a device is, when not at its usual place; NAME is one of
                      nvidiactl nvidia0 nvidia-uvm nvidia-uvm-tools nvidia-fs kfd drm amdgpu xe i915 accel habanalabs neuron
  --yes               no call reaches a driver: each is answered with success
)";

int Complain(const std::string& what) {
  std::fprintf(stderr, "moat-gpu-workload: %s (--help)\n", what.c_str());
  return 2;
}

int List() {
  for (const Scenario* scenario : Scenarios()) {
    std::printf("%-26s %-10s %s\n", scenario->name, scenario->suspicious ? "suspicious" : "benign", scenario->what);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Setting setting = DefaultSetting();
  const Scenario* scenario = nullptr;
  bool yes = false;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--help" || word == "-h") {
      std::fputs(kUsage, stdout);
      return 0;
    }
    if (word == "--list") {
      return List();
    }
    if (word == "--yes") {
      yes = true;
    } else if (word == "--device") {
      const std::string device = i + 1 < argc ? argv[++i] : "";
      const size_t sign = device.find('=');
      const auto node = setting.nodes.find(device.substr(0, sign));
      if (sign == std::string::npos || node == setting.nodes.end()) {
        return Complain("--device wants NAME=PATH with a name of the list, not '" + device + "'");
      }
      node->second = device.substr(sign + 1);
    } else if (scenario != nullptr || word.starts_with("-")) {
      return Complain("'" + word + "' is no option, and one name is played at a time");
    } else if ((scenario = FindScenario(word)) == nullptr) {
      return Complain("there is no '" + word + "': --list tells what there is");
    }
  }
  if (scenario == nullptr) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  if (yes && !AnswerYes()) {
    std::fprintf(stderr, "moat-gpu-workload: --yes: %s\n", std::strerror(errno));
    return 1;
  }
  try {
    Play(*scenario, setting);
  } catch (const Failure& failure) {
    std::fprintf(stderr, "moat-gpu-workload: %s: %s\n", scenario->name, failure.what());
    return 1;
  }
  return 0;
}
