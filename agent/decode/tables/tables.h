// SPDX-License-Identifier: Apache-2.0
// What is known of accelerator drivers' calls: numbers, names, layouts by driver version, meanings. Data only: constexpr arrays made of the
// CSV files beside (generate.py), each of which names its sources. Every function is pure and may be called from any thread; what they
// return lives as long as the program.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace moat::tables {

// A driver's version as a number that compares: 580.159.04 is 580159004, KFD's interface 1.17 is 1017000. 0: not known.
using Version = uint32_t;
Version ParseVersion(std::string_view text);  // 0: none, or more than three numbers
// The newest NVIDIA driver whose layouts were read. Of a newer one only what never changed is believed.
inline constexpr Version kNewestNvidia = 595'045'004;
inline constexpr Version kOldestNvidia = 515'043'004;

struct Device {
  std::string_view name;  // as /proc/devices has it
  uint32_t major;  // 0: given out when the module loads
  std::string_view device_class;
};
std::span<const Device> Devices();

struct Escape {
  uint32_t number;
  std::string_view name, verb, structure;
};
const Escape* FindEscape(uint32_t number);  // null: not known

// A right that NVIDIA's driver gives out as a device node (/dev/nvidia-caps).
struct Capability {
  std::string_view name;  // a pattern: fnmatch(3), * is not /
  uint32_t categories;  // bits, as Meaning::category numbers them
};
// Of "mig/config", say; 0: none, or not known.
uint32_t CapabilityCategories(const std::string& name);

struct Class {
  uint32_t id;
  std::string_view name, kind, structure;  // of the parameters; empty: none
  std::string_view who;  // user, admin, kernel, none
};
const Class* FindClass(uint32_t id);
std::span<const Class> Classes();

// What a control serves in ordinary programs, bits of Control::use.
enum Use : uint8_t { kCompute = 1, kGraphics = 2, kVideo = 4, kProfiling = 8, kFabric = 16 };

struct Control {
  uint32_t command;
  std::string_view name, kind, who;  // user, admin, kernel, right, byte, none
  uint32_t bytes;  // of the parameters, at the newest version; 0: not known
  uint8_t use;
};
const Control* FindControl(uint32_t command);
std::span<const Control> Controls();

// Controls that are known by their two upper bytes and the next alone.
struct Legacy {
  uint32_t commands;  // the last byte is 0
  std::string_view name, kind;
};
const Legacy* FindLegacy(uint32_t command);

struct UvmCall {
  uint32_t number;  // the whole command word
  std::string_view name;
  bool tools;  // of /dev/nvidia-uvm-tools
  Version first, last;  // 0: no such end
};
const UvmCall* FindUvm(uint32_t number);
std::span<const UvmCall> UvmCalls();

struct KfdCall {
  uint32_t number;
  std::string_view name, structure;
};
const KfdCall* FindKfd(uint32_t number);

// Drivers of DRM and accel devices, as they are numbered in bpf/abi/gpu.h; 0: not known.
inline constexpr std::string_view kDrmDrivers[] = {"",           "amdgpu", "nvidia-drm", "xe",     "i915",
                                                   "habanalabs", "ivpu",   "qaic",       "amdxdna"};

struct DriverCall {
  std::string_view driver;
  uint32_t number, size;  // size: in the command word, where it tells calls of one number apart; 0: any
  std::string_view name;
};
// Of a DRM or accel driver; "drm" itself has those that all drivers share. driver empty: not known.
const DriverCall* FindDrm(std::string_view driver, uint32_t number);
// neuron, gdrdrv, nvidia-fs, nvidia-modeset.
const DriverCall* FindOther(std::string_view driver, uint32_t number, uint32_t size);

struct Field {
  std::string_view structure, field;
  uint32_t offset, bytes;
  uint32_t size;  // of the structure; 0: it varies
  Version first, last;
};
std::span<const Field> Fields();

// Where a field lies in what a driver of that version takes. size: of the structure as it was passed, 0: not told. Of an unknown version only
// what lies at one place in all of them. Nothing: no such field, a size that no layout has, or a place that cannot be told.
std::optional<Field> FindField(std::string_view structure, std::string_view field, Version version, uint32_t size = 0);

// Of a structure at a version; 0: not known.
uint32_t SizeOf(std::string_view structure, Version version);

// On what the meaning of a call depends beside its number; bpf/abi/gpu.h has them by the same numbers.
enum class When : uint8_t {
  kAlways,
  kClient,
  kNestedClient,
  kDebugger,
  kHalf,
  kNestedHalf,
  kWord,
  kOtherOwner,
  kFdOwner,
  kNestedFdWorkload,
  kOtherPid,
};

struct Meaning {
  std::string_view device;  // a class of devices, or a DRM driver
  uint32_t call, detail;
  bool pattern;  // detail stands for all with its three upper bytes
  When when;
  uint16_t at, value;  // of the condition
  uint8_t category;  // number of the bit: policy::GpuCategory
};
std::span<const Meaning> Meanings();

}  // namespace moat::tables
