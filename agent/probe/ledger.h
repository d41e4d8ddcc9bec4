// SPDX-License-Identifier: Apache-2.0
// Sums of the kernel's per-CPU counters.
#pragma once

#include <array>
#include <cstdint>

#include "agent/base/error.h"
#include "bpf/abi/stats.h"

namespace moat::probe {

// Any thread.
Result<std::array<moat_stat, MOAT_KIND_COUNT>> ReadStats(int map_fd);
Result<std::array<uint64_t, MOAT_TABLE_COUNT>> ReadTableFull(int map_fd);

}  // namespace moat::probe
