// SPDX-License-Identifier: Apache-2.0
// What is done with accelerators: the calls are those of tests/workload/gpu_*, the devices stand-ins.
#include <fcntl.h>
#include <unistd.h>

#include "tests/scenarios/stage.h"
#include "tests/workload/gpu_scenarios.h"

namespace moat::scenarios {
namespace {

using event::FindingKind;

constexpr const char* kStandIn =
    "gpu: {driver_version: 580.159.04, devices: [{path: /dev/null, class: nvidia}, {path: /dev/zero, class: nvidia-uvm}]}\n";
constexpr const char* kClosed = R"(
apiVersion: moat/v1
kind: Policy
metadata: {name: no-gpu}
spec:
  mode: observe
  subjects: [{cgroup: SCOPE}]
  gpu: {use: deny}
)";
constexpr const char* kOpen = R"(
apiVersion: moat/v1
kind: Policy
metadata: {name: gpu}
spec:
  mode: observe
  subjects: [{cgroup: SCOPE}]
  gpu: {use: allow}
)";

void Play(const char* name) {
  const gpu::Scenario* scenario = gpu::FindScenario(name);
  Check(scenario != nullptr && gpu::AnswerYes());
  gpu::Play(*scenario, {.nodes = {{"nvidiactl", "/dev/null"},
                                  {"nvidia0", "/dev/null"},
                                  {"nvidia-uvm", "/dev/zero"},
                                  {"nvidia-uvm-tools", "/dev/zero"}},
                        .out = ::open("/dev/null", O_WRONLY | O_CLOEXEC)});
}

const Scenario kAll[] = {
    {"gpu-debugger", FindingKind::kGpuMisuse, kAttack, "attaches a debugger to another process's client",
     [](const Site&) { Play("debugger"); }, "", kStandIn},
    {"gpu-registers", FindingKind::kGpuMisuse, kAttack, "reads registers past the driver", [](const Site&) { Play("registers"); },
     "", kStandIn},
    {"gpu-reset", FindingKind::kGpuMisuse, kAttack, "resets the device", [](const Site&) { Play("reset"); }, "", kStandIn},
    {"gpu-own-debugger", FindingKind::kGpuMisuse, kOrdinary, "a debugger object on oneself, as CUDA has it",
     [](const Site&) { Play("debugger-benign"); }, "", kStandIn},
    {"gpu-cuda", FindingKind::kGpuMisuse, kOrdinary, "a CUDA program from its first call to its last",
     [](const Site&) { Play("cuda"); }, "", kStandIn},
    {"gpu-stolen", FindingKind::kGpuUndeclared, kAttack, "uses an accelerator that policies deny it",
     [](const Site&) { Play("cuda"); }, kClosed, kStandIn},
    {"gpu-stolen-by-a-child", FindingKind::kGpuUndeclared, kAttack, "the same by a child",
     [](const Site&) { InChild([] { Play("cuda"); }); }, kClosed, kStandIn},
    {"gpu-declared", FindingKind::kGpuUndeclared, kOrdinary, "uses one as policies allow it", [](const Site&) { Play("cuda"); },
     kOpen, kStandIn},
    {"gpu-unspoken", FindingKind::kGpuUndeclared, kOrdinary, "uses one where no policy speaks of accelerators",
     [](const Site&) { Play("cuda"); }, "", kStandIn},
};

}  // namespace

std::span<const Scenario> Accelerators() { return kAll; }

}  // namespace moat::scenarios
