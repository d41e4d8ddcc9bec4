// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/gpu_rows.h"

#include <bpf/bpf.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <set>
#include <vector>

#include "agent/probe/devices.h"

namespace moat::probe {
namespace {

// What sysfs calls the driver of the PCI device. Index: enum moat_gpu_driver.
constexpr std::array<std::string_view, MOAT_GPU_DRIVER_COUNT> kSysfsNames = {
    "", "amdgpu", "nvidia", "xe", "i915", "habanalabs", "intel_vpu", "qaic", "amdxdna"};
static_assert(std::size(tables::kDrmDrivers) == MOAT_GPU_DRIVER_COUNT);

constexpr uint32_t kRmAlloc = 43;

// Calls that allocate, free, map or set up: each that succeeds is told, because user space and the kernel's own tables count on it.
constexpr uint32_t kNvidiaAlways[] = {39, 40, 41, kRmAlloc, 52, 74};
constexpr uint32_t kUvmAlways[] = {0x30000001, 33, 34, 73};
constexpr uint32_t kKfdAlways[] = {0x16, 0x17};
constexpr uint32_t kAmdgpuAlways[] = {0x40, 0x51};
constexpr uint32_t kNeuronAlways[] = {21, 22, 102};

bool Has(std::span<const uint32_t> numbers, uint32_t number) { return std::ranges::find(numbers, number) != numbers.end(); }

class Maker {
 public:
  explicit Maker(const GpuVersions& versions) : versions_(versions) {}

  GpuRows Make() {
    AddSizes();
    AddDetails();
    for (const tables::Meaning& meaning : tables::Meanings()) {
      AddMeaning(meaning);
    }
    return std::move(rows_);
  }

 private:
  moat_gpu_row& At(uint32_t class_id, uint32_t number, uint32_t detail, uint32_t size) {
    const auto [row, fresh] = rows_.try_emplace({class_id, number, detail, size});
    if (fresh) {
      row->second.status_at = MOAT_GPU_NO_STATUS;
    }
    return row->second;
  }

  // One row for each size that a structure has had.
  void AddSizesOf(uint32_t number, std::string_view structure) {
    std::set<uint32_t> sizes;
    for (const tables::Field& field : tables::Fields()) {
      if (field.structure == structure && field.size != 0) {
        sizes.insert(field.size);
      }
    }
    for (const uint32_t size : sizes) {
      moat_gpu_row& row = At(MOAT_GPU_NVIDIA, number, 0, size);
      row.flags = Has(kNvidiaAlways, number) ? MOAT_GPU_ROW_ALWAYS : 0;
      for (const char* name : {"status", "params.status", "Status"}) {
        if (const auto field = tables::FindField(structure, name, versions_.nvidia, size)) {
          row.status_at = static_cast<uint16_t>(field->offset);
        }
      }
    }
  }

  void AddSizes() {
    for (uint32_t number = 0; number < 256; ++number) {
      if (const tables::Escape* escape = tables::FindEscape(number); escape != nullptr && !escape->structure.empty()) {
        AddSizesOf(number, escape->structure);
      }
    }
    AddSizesOf(kRmAlloc, "NVOS21_PARAMETERS");
    AddSizesOf(kRmAlloc, "NVOS64_PARAMETERS");
    for (const tables::UvmCall& call : tables::UvmCalls()) {
      moat_gpu_row& row = At(MOAT_GPU_NVIDIA_UVM, call.number, 0, 0);
      row.flags = Has(kUvmAlways, call.number) ? MOAT_GPU_ROW_ALWAYS : 0;
      row.params_len = static_cast<uint16_t>(std::min<uint32_t>(tables::SizeOf(call.name, versions_.uvm), UINT16_MAX));
      if (const auto field = tables::FindField(call.name, "rmStatus", versions_.uvm)) {
        row.status_at = static_cast<uint16_t>(field->offset);
      }
    }
    const auto always = [&](uint32_t class_id, std::span<const uint32_t> numbers) {
      for (const uint32_t number : numbers) {
        At(class_id, number, 0, MOAT_GPU_BY_DETAIL).flags = MOAT_GPU_ROW_ALWAYS;
      }
    };
    always(MOAT_GPU_KFD, kKfdAlways);
    always(MOAT_GPU_DRM | MOAT_GPU_DRIVER_AMDGPU << 8, kAmdgpuAlways);
    always(MOAT_GPU_NEURON, kNeuronAlways);
  }

  // How long what RM_ALLOC points to is: the driver goes by the class alone.
  void AddDetails() {
    for (const tables::Class& one : tables::Classes()) {
      moat_gpu_row& row = At(MOAT_GPU_NVIDIA, kRmAlloc, one.id, MOAT_GPU_BY_DETAIL);
      if (!one.structure.empty()) {
        row.nested_len = static_cast<uint16_t>(std::min<uint32_t>(tables::SizeOf(one.structure, versions_.nvidia), UINT16_MAX));
      }
    }
  }

  void AddMeaning(const tables::Meaning& meaning) {
    uint32_t class_id = ClassFromName(meaning.device);
    if (class_id == MOAT_GPU_NONE || class_id == MOAT_GPU_HABANALABS) {
      const auto* driver = std::ranges::find(tables::kDrmDrivers, meaning.device);
      const auto number = static_cast<uint32_t>(driver - std::begin(tables::kDrmDrivers));
      class_id = (number < MOAT_GPU_DRIVER_HABANALABS ? MOAT_GPU_DRM : MOAT_GPU_ACCEL) | number << 8;
    }
    moat_gpu_row& row = At(class_id, meaning.call, meaning.detail, meaning.pattern ? MOAT_GPU_BY_PATTERN : MOAT_GPU_BY_DETAIL);
    row.categories |= 1u << meaning.category;
    row.when = static_cast<uint8_t>(meaning.when);
    row.at = meaning.at;
    row.value = meaning.value;
  }

  const GpuVersions versions_;
  GpuRows rows_;
};

static_assert(static_cast<int>(tables::When::kNestedClient) == MOAT_GPU_NESTED_CLIENT &&
              static_cast<int>(tables::When::kDebugger) == MOAT_GPU_DEBUGGER &&
              static_cast<int>(tables::When::kHalf) == MOAT_GPU_HALF && static_cast<int>(tables::When::kWord) == MOAT_GPU_WORD &&
              static_cast<int>(tables::When::kOtherOwner) == MOAT_GPU_OTHER_OWNER &&
              static_cast<int>(tables::When::kFdOwner) == MOAT_GPU_FD_OWNER &&
              static_cast<int>(tables::When::kNestedFdWorkload) == MOAT_GPU_NESTED_FD_WORKLOAD &&
              static_cast<int>(tables::When::kOtherPid) == MOAT_GPU_OTHER_PID);

tables::Version ReadVersion(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return tables::ParseVersion(line);
}

}  // namespace

GpuVersions ReadGpuVersions(const std::string& configured) {
  if (!configured.empty()) {
    const tables::Version version = tables::ParseVersion(configured);
    return {.nvidia = version, .uvm = version};
  }
  return {.nvidia = ReadVersion("/sys/module/nvidia/version"), .uvm = ReadVersion("/sys/module/nvidia_uvm/version")};
}

GpuRows MakeGpuRows(const GpuVersions& versions, std::span<const Opening> openings) {
  GpuRows rows = Maker(versions).Make();
  for (const Opening& opening : openings) {
    if (opening.categories != 0) {
      rows[{opening.class_id, MOAT_GPU_OPEN, opening.rdev, MOAT_GPU_BY_DETAIL}].categories = opening.categories;
    }
  }
  return rows;
}

Result<size_t> WriteGpuRows(int map, const GpuRows& rows) {
  std::vector<moat_gpu_row_key> gone;
  moat_gpu_row_key key{}, *previous = nullptr;
  for (; bpf_map_get_next_key(map, previous, &key) == 0; previous = &key) {
    if (!rows.contains(key)) {
      gone.push_back(key);
    }
  }
  for (const moat_gpu_row_key& old : gone) {
    (void)bpf_map_delete_elem(map, &old);
  }
  size_t changed = gone.size();
  for (const auto& [row_key, row] : rows) {
    moat_gpu_row there{};
    if (bpf_map_lookup_elem(map, &row_key, &there) == 0 && std::memcmp(&there, &row, sizeof(row)) == 0) {
      continue;
    }
    ++changed;
    if (bpf_map_update_elem(map, &row_key, &row, BPF_ANY) != 0) {
      return FailErrno(errno, "the table of GPU calls (" + std::to_string(rows.size()) + " rows)");
    }
  }
  return changed;
}

moat_gpu_driver DriverFromSysfs(std::string_view name) {
  const auto* found = std::ranges::find(kSysfsNames, name);
  return found != kSysfsNames.end() ? static_cast<moat_gpu_driver>(found - kSysfsNames.begin()) : MOAT_GPU_DRIVER_UNKNOWN;
}

}  // namespace moat::probe
