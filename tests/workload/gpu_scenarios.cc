// SPDX-License-Identifier: Apache-2.0
#include "tests/workload/gpu_scenarios.h"

#include <algorithm>
#include <vector>

namespace moat::gpu {

std::span<const Scenario* const> Scenarios() {
  static const std::vector<const Scenario*> all = [] {
    std::vector<const Scenario*> out;
    for (const auto& family : {CudaScenarios(), DebugScenarios(), SharingScenarios(), SettingScenarios(), EvasionScenarios()}) {
      for (const Scenario& scenario : family) {
        out.push_back(&scenario);
      }
    }
    return out;
  }();
  return all;
}

const Scenario* FindScenario(std::string_view name) {
  const auto all = Scenarios();
  const auto found = std::ranges::find(all, name, [](const Scenario* scenario) { return std::string_view(scenario->name); });
  return found != all.end() ? *found : nullptr;
}

Setting DefaultSetting() {
  return {.nodes = {{"nvidiactl", "/dev/nvidiactl"},
                    {"nvidia0", "/dev/nvidia0"},
                    {"nvidia-uvm", "/dev/nvidia-uvm"},
                    {"nvidia-uvm-tools", "/dev/nvidia-uvm-tools"},
                    {"nvidia-fs", "/dev/nvidia-fs0"},
                    {"kfd", "/dev/kfd"},
                    {"drm", "/dev/dri/renderD128"},
                    {"amdgpu", "/dev/dri/renderD128"},
                    {"xe", "/dev/dri/renderD128"},
                    {"i915", "/dev/dri/renderD128"},
                    {"accel", "/dev/accel/accel0"},
                    {"habanalabs", "/dev/accel/accel0"},
                    {"neuron", "/dev/neuron0"}}};
}

}  // namespace moat::gpu
