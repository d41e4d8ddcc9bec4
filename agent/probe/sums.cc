// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/sums.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <set>

#include "agent/base/clock.h"
#include "agent/probe/map_walk.h"
#include "bpf/abi/gpu.h"

namespace moat::probe {
namespace {

// Taken and removed in one step where the kernel can (hash maps: 5.14). Before, the removal decides who has it.
template <typename Key, typename Value>
bool Take(int fd, const Key& key, Value& value) {
  if (bpf_map_lookup_and_delete_elem(fd, &key, &value) == 0) {
    return true;
  }
  return errno != ENOENT && bpf_map_lookup_elem(fd, &key, &value) == 0 && bpf_map_delete_elem(fd, &key) == 0;
}

template <typename Record>
void Send(RecordSink& sink, const Record& record) {
  sink.OnRecord(std::as_bytes(std::span(&record, 1)));
}

}  // namespace

template <typename Key, typename Value, typename Visit>
void Sums::Walk(moat_rows rows, int fd, Visit visit) {
  if (fd < 0 || __atomic_load_n(&maps_.control->rows[rows], __ATOMIC_RELAXED) == 0) {
    return;
  }
  // Before the walk: a row that comes meanwhile sets the mark again.
  __atomic_exchange_n(&maps_.control->rows[rows], 0, __ATOMIC_SEQ_CST);
  bool any = false;
  const bool whole = WalkMap<Key, Value>(fd, [&](const Key& key, const Value& value) {
    any = true;
    visit(key, value);
  });
  if (any || !whole) {
    __atomic_store_n(&maps_.control->rows[rows], 1, __ATOMIC_RELAXED);
  }
}

uint64_t Sums::Labels(uint32_t pid, uint64_t start_ns) const {
  const moat_proc_key key{.start_ns = start_ns, .pid = pid, .pad = 0};
  moat_proc_val value{};
  return maps_.procs >= 0 && bpf_map_lookup_elem(maps_.procs, &key, &value) == 0 ? value.labels : 0;
}

void Sums::FillOwner(moat_hdr& header, uint32_t pid, uint64_t start_ns, uint64_t cgroup_id) {
  if (!owners_.Find(pid, start_ns, header)) {
    header = {};
    header.flags = MOAT_F_UNREADABLE;  // user and name: nobody knows them any more
  } else {
    header.flags = 0;
  }
  header.pid = pid;
  header.tid = pid;
  header.start_ns = start_ns;
  header.cgroup_id = cgroup_id;
  header.version = MOAT_ABI_VERSION;
}

void Sums::EmitFile(RecordSink& sink, const moat_io_key& key, const moat_io_val& sum, bool last) {
  moat_file_io record{};
  FillOwner(record.hdr, key.pid, key.start_ns, sum.cgroup_id);
  record.hdr.kind = MOAT_KIND_FILE_IO;
  record.hdr.size = sizeof(record);
  record.hdr.time_ns = sum.last_ns;
  record.hdr.labels = Labels(key.pid, key.start_ns);
  record.sum = sum;
  record.asset = key.asset;
  record.last = last ? 1 : 0;
  Send(sink, record);
}

void Sums::EmitFiles(RecordSink& sink) {
  Walk<moat_io_key, moat_io_val>(MOAT_ROWS_IO, maps_.io, [&](const moat_io_key& key, const moat_io_val& sum) {
    Told& told = files_[key];
    const Told now{.operations = sum.reads + sum.writes, .bytes = sum.bytes_read + sum.bytes_written, .round = round_};
    if (now.operations != told.operations || now.bytes != told.bytes) {
      EmitFile(sink, key, sum, /*last=*/false);
    }
    told = now;
  });
  std::erase_if(files_, [this](const auto& row) { return row.second.round != round_; });
}

void Sums::EmitFlows(RecordSink& sink) {
  Walk<uint64_t, moat_flow>(MOAT_ROWS_FLOWS, maps_.flows, [&](uint64_t cookie, const moat_flow& flow) {
    Told& told = flows_[cookie];
    const Told now{.operations = flow.sends + flow.receives, .bytes = flow.bytes_out + flow.bytes_in, .round = round_};
    if (now.operations != told.operations || now.bytes != told.bytes) {
      moat_net_close record{};
      record.hdr.kind = MOAT_KIND_NET_FLOW;
      record.hdr.size = sizeof(record);
      record.hdr.version = MOAT_ABI_VERSION;
      record.hdr.flags = flow.pid == 0 ? MOAT_F_NO_OWNER : 0;
      record.hdr.uid = flow.uid;
      record.hdr.time_ns = flow.last_ns;
      record.hdr.pid = flow.pid;
      record.hdr.tid = flow.pid;
      record.hdr.start_ns = flow.start_ns;
      record.hdr.cgroup_id = flow.cgroup_id;
      record.hdr.labels = flow.labels;
      std::memcpy(record.hdr.comm, flow.comm, sizeof(record.hdr.comm));
      record.cookie = cookie;
      record.flow = flow;
      Send(sink, record);
    }
    told = now;
  });
  std::erase_if(flows_, [this](const auto& row) { return row.second.round != round_; });
}

void Sums::Emit(RecordSink& sink) {
  ++round_;
  EmitFiles(sink);
  EmitFlows(sink);
}

void Sums::Reclaim(RecordSink& sink) {
  std::map<std::pair<uint32_t, uint64_t>, bool> alive;  // asked once per process
  const auto gone = [&alive](uint32_t pid, uint64_t start_ns) {
    const auto [known, fresh] = alive.try_emplace({pid, start_ns}, true);
    if (fresh) {
      known->second = Alive(pid, start_ns);
    }
    return !known->second;
  };
  Walk<moat_io_key, moat_io_val>(MOAT_ROWS_IO, maps_.io, [&](const moat_io_key& key, const moat_io_val&) {
    moat_io_val sum{};
    if (gone(key.pid, key.start_ns) && Take(maps_.io, key, sum)) {  // the exit hook may be about to deliver it
      EmitFile(sink, key, sum, /*last=*/true);
    }
  });
  const auto sweep = [&]<typename Key, typename Value>(moat_rows rows, int fd, Key, Value) {
    Walk<Key, Value>(rows, fd, [&](const Key& key, const Value&) {
      if (gone(key.pid, key.start_ns) && bpf_map_delete_elem(fd, &key) == 0 && rows == MOAT_ROWS_PROCS) {
        __atomic_fetch_sub(&maps_.control->holders[moat_holder_slot(key.start_ns)], 1, __ATOMIC_RELAXED);
      }
    });
  };
  sweep(MOAT_ROWS_GPU, maps_.gpu_calls, moat_gpu_key{}, moat_gpu_val{});
  const auto sweep_owners = [&]<typename Key>(moat_rows rows, int fd, Key) {
    Walk<Key, moat_gpu_owner>(rows, fd, [&](const Key& key, const moat_gpu_owner& owner) {
      if (gone(owner.pid, owner.start_ns)) {
        (void)bpf_map_delete_elem(fd, &key);
      }
    });
  };
  sweep_owners(MOAT_ROWS_GPU_CLIENTS, maps_.gpu_clients, uint32_t{});
  sweep_owners(MOAT_ROWS_GPU_DEBUGGERS, maps_.gpu_debuggers, moat_gpu_object{});
  sweep_owners(MOAT_ROWS_GPU_FILES, maps_.gpu_files, uint64_t{});
  sweep(MOAT_ROWS_NET_TOTALS, maps_.net_totals, moat_proc_key{}, moat_net_totals{});
  sweep(MOAT_ROWS_PROCS, maps_.procs, moat_proc_key{}, moat_proc_val{});
}

}  // namespace moat::probe
