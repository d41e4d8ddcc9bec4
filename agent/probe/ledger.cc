// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/ledger.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cerrno>
#include <vector>

namespace moat::probe {
namespace {

// All keys of a per-CPU array in one call, one value per possible CPU each: asked every second on an idle host, where forty calls
// instead of two were a seventh of the agent's time. Before 5.13 the kernel has no batches for these: key by key.
// A record counted on one CPU while we read another is in the next reading.
template <typename Value, typename Add>
Status EachCpu(int map_fd, uint32_t keys, Add add) {
  static const int cpus = libbpf_num_possible_cpus();
  if (cpus <= 0) {
    return Fail(Code::kInternal, "the number of possible CPUs is not known");
  }
  const auto per_key = static_cast<size_t>(cpus);
  std::vector<Value> values(keys * per_key);
  std::vector<uint32_t> which(keys);
  uint32_t count = keys, position = 0;
  LIBBPF_OPTS(bpf_map_batch_opts, options);
  if (bpf_map_lookup_batch(map_fd, nullptr, &position, which.data(), values.data(), &count, &options) != 0 || count != keys) {
    for (uint32_t key = 0; key < keys; ++key) {
      which[key] = key;
      if (bpf_map_lookup_elem(map_fd, &key, &values[key * per_key]) != 0) {
        return FailErrno(errno, "read the counters");
      }
    }
  }
  for (size_t i = 0; i < values.size(); ++i) {
    add(which[i / per_key], values[i]);
  }
  return {};
}

}  // namespace

Result<std::array<moat_stat, MOAT_KIND_COUNT>> ReadStats(int map_fd) {
  std::array<moat_stat, MOAT_KIND_COUNT> sums{};
  MOAT_TRY(EachCpu<moat_stat>(map_fd, MOAT_KIND_COUNT, [&](uint32_t kind, const moat_stat& stat) {
    sums[kind].attempted += stat.attempted;
    sums[kind].lost_ring_full += stat.lost_ring_full;
    sums[kind].unreadable += stat.unreadable;
  }));
  return sums;
}

Result<std::array<uint64_t, MOAT_TABLE_COUNT>> ReadTableFull(int map_fd) {
  std::array<uint64_t, MOAT_TABLE_COUNT> sums{};
  MOAT_TRY(EachCpu<uint64_t>(map_fd, MOAT_TABLE_COUNT, [&](uint32_t table, uint64_t n) { sums[table] += n; }));
  return sums;
}

}  // namespace moat::probe
