// SPDX-License-Identifier: Apache-2.0
// moat_bench: what moat costs, held against the goals. Needs root and two cores.
// Exit status: 0, 1 (a loss that is not told, an equation that does not hold; with --strict also a goal not met), 2 (could not
// measure).
#include <sys/sysinfo.h>

#include <cstdio>
#include <cstring>
#include <string>

#include "tests/bench/cost.h"

int main(int argc, char** argv) {
  using namespace moat::bench;
  Options options;
  bool strict = false;
  std::string only;
  for (int i = 1; i < argc; i++) {
    const std::string argument = argv[i];
    if (argument == "--full") {
      options.full = true;
    } else if (argument == "--strict") {
      strict = true;
    } else if (argument.starts_with("--only=")) {
      only = argument.substr(7);
    } else {
      std::fprintf(stderr, "usage: moat_bench [--full] [--strict] [--only=cost|throughput|agent|policy|profile]\n");
      return 2;
    }
  }
  if (get_nprocs() < 2) {
    std::printf("moat_bench: not run: the load and the agent need a core each, this machine has one\n");
    return 2;
  }
  auto host = Host::Create();
  if (!host) {
    std::fprintf(stderr, "moat_bench: %s\n", host.error().message.c_str());
    return 2;
  }
  if (only == "profile") {
    if (const auto status = Profile(**host, options); !status) {
      std::fprintf(stderr, "moat_bench: profile: %s\n", status.error().message.c_str());
      return 2;
    }
    return 0;
  }
  Report report;
  report.Note("others on this machine, by /proc/pressure/cpu: " + CpuPressure());
  bool unmeasured = false;
  const auto part = [&](const char* name, auto measure) {
    if (!only.empty() && only != name) {
      return;
    }
    if (const auto status = measure(**host, options, report); !status) {
      std::fprintf(stderr, "moat_bench: %s: %s\n", name, status.error().message.c_str());
      unmeasured = true;
    }
  };
  part("cost", MeasureCost);
  part("throughput", MeasureThroughput);
  part("agent", MeasureAgent);
  part("policy", MeasurePolicy);
  report.Print();
  if (unmeasured) {
    return 2;
  }
  return report.broken() || (strict && report.FallShort() > 0) ? 1 : 0;
}
