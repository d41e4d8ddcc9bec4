// SPDX-License-Identifier: Apache-2.0
// What the kernel sums instead of reporting one by one: bytes per (process, asset) and per socket, as records of what changed;
// and the rows of processes that are gone, which nobody in the kernel removes.
#pragma once

#include <cstdint>
#include <unordered_map>

#include "agent/probe/owners.h"
#include "agent/probe/probe.h"
#include "bpf/abi/file.h"
#include "bpf/abi/label.h"
#include "bpf/abi/net.h"

namespace moat::probe {

struct SumMaps {  // negative: that domain is not loaded
  int io = -1, flows = -1, procs = -1, gpu_calls = -1, net_totals = -1, gpu_clients = -1, gpu_debuggers = -1, gpu_files = -1;
  moat_control* control = nullptr;  // says which of them have rows
};

// Ring thread.
class Sums {
 public:
  Sums(const SumMaps& maps, Owners& owners) : maps_(maps), owners_(owners) {}

  // One record per row that changed since the last call. About once a second.
  void Emit(RecordSink& sink);
  // Removes the rows of processes that are gone. A file sum that the exit hook could not deliver (ring full) is delivered now.
  void Reclaim(RecordSink& sink);

 private:
  struct IoHash {
    size_t operator()(const moat_io_key& k) const { return (k.start_ns ^ k.pid) * 0x9e3779b97f4a7c15ull + k.asset; }
  };
  struct IoEqual {
    bool operator()(const moat_io_key& a, const moat_io_key& b) const {
      return a.start_ns == b.start_ns && a.pid == b.pid && a.asset == b.asset;
    }
  };
  struct Told {
    uint64_t operations = 0, bytes = 0;
    uint32_t round = 0;  // of Emit; rows that were not met in it are gone
  };
  // Walks a table, unless it has been empty since the last walk: 65,536 empty buckets cost 0.1 ms.
  template <typename Key, typename Value, typename Visit>
  void Walk(moat_rows rows, int fd, Visit visit);
  void EmitFiles(RecordSink& sink);
  void EmitFlows(RecordSink& sink);
  void EmitFile(RecordSink& sink, const moat_io_key& key, const moat_io_val& sum, bool last);
  uint64_t Labels(uint32_t pid, uint64_t start_ns) const;
  void FillOwner(moat_hdr& header, uint32_t pid, uint64_t start_ns, uint64_t cgroup_id);

  SumMaps maps_;
  Owners& owners_;
  std::unordered_map<moat_io_key, Told, IoHash, IoEqual> files_;
  std::unordered_map<uint64_t, Told> flows_;
  uint32_t round_ = 0;
};

}  // namespace moat::probe
