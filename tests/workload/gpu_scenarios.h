// SPDX-License-Identifier: Apache-2.0
// What programs do with accelerators, call by call: the start of a CUDA program to its end, each thing that is suspicious, and beside it the
// ordinary thing that is most like it. One row says what of it moat must tell; the program moat-gpu-workload and the tests both go by it.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "tests/workload/steps.h"

namespace moat::gpu {

using workload::Failure;
class Actor;

// Calls with a category, of each; in the order of the categories' bits.
struct Expected {
  uint32_t debug = 0, profile = 0, foreign_memory = 0, exported = 0, reconfigure = 0, internal = 0, raw_access = 0;
  std::array<uint32_t, 7> Each() const { return {debug, profile, foreign_memory, exported, reconfigure, internal, raw_access}; }
  bool operator==(const Expected&) const = default;
};

inline constexpr bool kSuspicious = true, kBenign = false;

struct Scenario {
  const char* name;  // "debugger"; that of its ordinary twin: "debugger-benign"
  bool suspicious;
  const char* what;
  Expected expected;
  // The device beside NVIDIA's: a class of devices, or a driver of DRM or accel devices. Empty: none.
  const char* device;
  void (*play)(Actor&);
};

// All, by family. Data that lives as long as the program; any thread.
std::span<const Scenario* const> Scenarios();
const Scenario* FindScenario(std::string_view name);  // null: there is none

struct Setting {
  // Where the devices are: "nvidiactl", "nvidia0", "nvidia-uvm", "nvidia-uvm-tools", and each Scenario::device.
  std::map<std::string, std::string, std::less<>> nodes;
  int out = 1;  // descriptor that the figures are written to, by each process in one write
};
Setting DefaultSetting();

// Plays it in this process and those that it forks, which end before this returns; descriptors stay open until the process ends. Each process
// writes a line for each call by name: "PID NAME CALLS REFUSED". What the driver answers is counted and changes nothing else. Throws
// Failure: a device that is not there, a process that failed.
void Play(const Scenario& scenario, const Setting& setting);

// From now on every ioctl of this thread and of its children is answered with 0 and reaches no driver (seccomp; not to be undone). False: errno
// says why not. System calls by int 0x80 are others and go through.
bool AnswerYes();

// The families of Scenarios().
std::span<const Scenario> CudaScenarios();
std::span<const Scenario> DebugScenarios();
std::span<const Scenario> SharingScenarios();
std::span<const Scenario> SettingScenarios();
std::span<const Scenario> EvasionScenarios();

}  // namespace moat::gpu
