// SPDX-License-Identifier: Apache-2.0
// The kernel's table of accelerator calls (moat_gpu_rows, bpf/abi/gpu.h), made of agent/decode/tables for the drivers that are loaded.
#pragma once

#include <cstring>
#include <map>
#include <span>
#include <string>

#include "agent/base/error.h"
#include "agent/decode/tables/tables.h"
#include "agent/probe/openings.h"
#include "bpf/abi/gpu.h"

namespace moat::probe {

// Of the drivers that are loaded now; 0: not loaded, or it does not tell.
struct GpuVersions {
  tables::Version nvidia = 0, uvm = 0;
  bool operator==(const GpuVersions&) const = default;
};
// From /sys/module, or what configuration says in its place (empty: nothing).
GpuVersions ReadGpuVersions(const std::string& configured);

struct GpuRowLess {
  bool operator()(const moat_gpu_row_key& a, const moat_gpu_row_key& b) const { return std::memcmp(&a, &b, sizeof(a)) < 0; }
};
using GpuRows = std::map<moat_gpu_row_key, moat_gpu_row, GpuRowLess>;
GpuRows MakeGpuRows(const GpuVersions& versions, std::span<const Opening> openings = {});
// In the place of those that are there; how many were others, or missing.
Result<size_t> WriteGpuRows(int map, const GpuRows& rows);

// The driver of a DRM or accel device by the name that sysfs has for it ("amdgpu", "intel_vpu").
moat_gpu_driver DriverFromSysfs(std::string_view name);

}  // namespace moat::probe
