// SPDX-License-Identifier: Apache-2.0
#include "agent/enrich/process_tree.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "agent/enrich/process_table.h"

namespace moat::enrich {

namespace {

using event::Kind;
using event::Process;
using event::ProcessKey;
using ProcessPtr = std::shared_ptr<const Process>;
using Slot = ProcessTable::Slot;

// /proc gives start times in ticks of 10 ms (USER_HZ is 100 on every architecture that matters): records made in user space carry
// a start time cut to that.
constexpr uint64_t kTickNs = 10'000'000;
// How often a cgroup whose path is not known yet is asked for again.
constexpr uint64_t kCgroupRetryNs = 100'000'000;

size_t Footprint(const Process& process) {
  auto heap = [](const std::string& s) { return s.capacity() > 15 ? s.capacity() + 17 : 0; };
  size_t bytes = sizeof(Process) + 32 + sizeof(Slot) * 2 + heap(process.cgroup) + heap(process.exe) + heap(process.filename);
  bytes += process.args.capacity() * sizeof(std::string);
  for (const std::string& arg : process.args) {
    bytes += heap(arg);
  }
  return bytes;
}

// Sums and totals tell of another moment than now: their cgroup is that of the flow or of the first touch.
bool TellsCgroup(const event::Header& header) {
  return header.tid == header.process.pid && header.cgroup_id != 0 && header.kind != Kind::kFileIo &&
         header.kind != Kind::kNetClose && header.kind != Kind::kNetFlow;
}

class ProcessTreeImpl final : public ProcessTree {
 public:
  ProcessTreeImpl(ProcessReader reader, CgroupResolver cgroups, const ProcessTreeLimits& limits)
      : reader_(std::move(reader)), cgroups_(std::move(cgroups)), limits_(limits) {}

  void Apply(event::Event& event) override {
    event::Header& header = event.header;
    now_ns_ = header.time_ns;
    if (now_ns_ >= next_expiry_ns_) [[unlikely]] {
      Expire();
    }
    if (header.kind == Kind::kExec || header.kind == Kind::kScan) {
      if (auto* exec = std::get_if<event::Exec>(&event.body); exec && exec->image) {
        OnImage(header, *exec);
        return;
      }
    }
    if (header.process.pid == 0) {
      header.info = nullptr;
      return;
    }
    // Events come in runs of one process: then no look-up.
    if (!last_info_ || header.process != last_key_) {
      LookUp(header);
    }
    if (last_info_ && TellsCgroup(header) && (header.cgroup_id != last_info_->cgroup_id || last_info_->cgroup.empty()))
        [[unlikely]] {
      RefreshCgroup(header);
    }
    header.info = last_info_;
    if (header.kind == Kind::kFork) {
      if (auto* fork = std::get_if<event::Fork>(&event.body); fork && fork->child.pid != 0) {
        OnFork(header, fork->child);
      }
    } else if (header.kind == Kind::kExit) {
      if (Slot* slot = table_.Find(header.process)) {
        MarkExited(*slot);
      }
    }
  }

  ProcessPtr Find(const ProcessKey& key) const override {
    Slot* slot = table_.Find(key);
    return slot ? slot->info : nullptr;
  }

  ProcessTreeStats stats() const override {
    ProcessTreeStats stats = stats_;
    stats.exited = exited_.size();
    stats.live = table_.size() - exited_.size();
    return stats;
  }

 private:
  // Leaves the process in last_info_, null when it cannot be known now. May correct a start time cut to a tick.
  void LookUp(event::Header& header) {
    Slot* slot = table_.Find(header.process);
    if (!slot && header.process.start_ns % kTickNs == 0) {
      uint64_t start = header.process.start_ns;
      slot = table_.FindPid(header.process.pid, [start](const Slot& s) { return s.key.start_ns - start < kTickNs; });
    }
    if (slot) {
      header.process = slot->key;
      Remember(slot->key, slot->info);
      return;
    }
    if (!MayRead()) {
      ++stats_.reads_deferred;
      Remember({}, nullptr);
      return;
    }
    ReadUnknown(header);
  }

  void ReadUnknown(const event::Header& header) {
    ++stats_.reads;
    std::optional<Process> read = reader_ ? reader_(header.process) : std::nullopt;
    bool gone = !read;
    auto info = std::make_shared<Process>(gone ? Process{} : std::move(*read));
    if (gone) {
      ++stats_.reads_failed;
      info->uid = info->euid = header.uid;
    }
    info->key = header.process;
    info->cgroup_id = header.cgroup_id;
    info->cgroup = cgroups_ ? cgroups_(header.cgroup_id, now_ns_) : "";
    CompleteParent(*info);
    Slot& slot = Put(header.process, std::move(info));
    slot.guess = gone;
    if (gone) {
      MarkExited(slot);  // kept as long as any exited process, so that it is not asked for again with each late record
    }
  }

  void OnImage(event::Header& header, event::Exec& exec) {
    Slot* known = table_.Find(header.process);
    if (header.kind == Kind::kScan && known && !known->guess && known->learnt_ns > header.time_ns) {
      exec.image = header.info = known->info;  // an exec since then is the newer truth
      return;
    }
    // Decode made the image and nobody else has it yet: completing it in place saves a copy of all its strings. It is not a const
    // object (std::make_shared<Process>), only seen as one.
    std::shared_ptr<Process> image =
        exec.image.use_count() == 1 ? std::const_pointer_cast<Process>(exec.image) : std::make_shared<Process>(*exec.image);
    image->key = header.process;
    image->cgroup = cgroups_ ? cgroups_(image->cgroup_id, now_ns_) : "";
    CompleteParent(*image);
    exec.image = image;
    header.info = exec.image;
    if (header.process.pid != 0) {
      Put(header.process, std::move(image));
    }
  }

  void OnFork(const event::Header& header, const ProcessKey& child) {
    Slot* known = table_.Find(child);
    if (known && !known->guess) {
      return;  // the child's own records came first, by the other ring, and tell more
    }
    auto info = header.info ? std::make_shared<Process>(*header.info) : std::make_shared<Process>();
    info->key = child;
    info->parent = header.process;
    info->uid = header.uid;
    if (!header.info) {
      info->cgroup_id = header.cgroup_id;
    }
    Put(child, std::move(info));
  }

  // A process may be moved to another cgroup while it runs.
  void RefreshCgroup(const event::Header& header) {
    bool moved = header.cgroup_id != last_info_->cgroup_id;
    if (!cgroups_ || (!moved && now_ns_ < next_cgroup_retry_ns_)) {
      return;
    }
    next_cgroup_retry_ns_ = now_ns_ + kCgroupRetryNs;
    std::string path = cgroups_(header.cgroup_id, now_ns_);
    Slot* slot = table_.Find(header.process);
    if (!slot || (!moved && path.empty())) {
      return;
    }
    auto info = std::make_shared<Process>(*last_info_);
    info->cgroup_id = header.cgroup_id;
    info->cgroup = std::move(path);
    bool guess = slot->guess;
    Put(header.process, std::move(info)).guess = guess;
  }

  // Replaces or inserts, makes room, and remembers as the last one.
  Slot& Put(const ProcessKey& key, ProcessPtr info) {
    auto bytes = static_cast<uint32_t>(Footprint(*info));
    MakeRoom(bytes);  // may drop the process's own slot: look after that
    Slot* slot = table_.Find(key);
    if (!slot) {
      slot = &table_.Insert(key);
    }
    stats_.bytes += bytes;
    stats_.bytes -= slot->bytes;
    slot->bytes = bytes;
    slot->learnt_ns = now_ns_;
    slot->guess = false;
    slot->info = std::move(info);
    Remember(key, slot->info);
    return *slot;
  }

  // For one more process of that many bytes. Counts a replaced one as if it stayed, which errs by one process.
  void MakeRoom(size_t bytes) {
    while (table_.size() > 0 && (table_.size() >= limits_.max_processes || stats_.bytes + bytes > limits_.max_bytes)) {
      if (DropOldestExited()) {
        ++stats_.evicted_exited;
      } else if (Slot* slot = table_.Sweep([](const Slot& s) { return s.exit_ns == 0; })) {
        ++stats_.evicted_live;
        Drop(slot);
      } else {
        return;
      }
    }
  }

  void MarkExited(Slot& slot) {
    if (slot.exit_ns != 0) {
      return;
    }
    slot.exit_ns = std::max<uint64_t>(now_ns_, 1);
    exited_.push_back({slot.key, slot.exit_ns});
    if (exited_.size() == 1) {
      next_expiry_ns_ = slot.exit_ns + limits_.exited_grace_ns;
    }
    if (exited_.size() > limits_.max_exited && DropOldestExited()) {
      ++stats_.evicted_exited;
    }
  }

  void Expire() {
    while (!exited_.empty() && exited_.front().exit_ns + limits_.exited_grace_ns <= now_ns_) {
      DropOldestExited();
    }
    next_expiry_ns_ = exited_.empty() ? UINT64_MAX : exited_.front().exit_ns + limits_.exited_grace_ns;
  }

  // False: none is held. (exited_ and the exited slots are the same set: exited processes are dropped here alone.)
  bool DropOldestExited() {
    if (exited_.empty()) {
      return false;
    }
    Slot* slot = table_.Find(exited_.front().key);
    exited_.pop_front();
    Drop(slot);
    return true;
  }

  void Drop(Slot* slot) {
    if (slot->key == last_key_) {
      Remember({}, nullptr);
    }
    stats_.bytes -= slot->bytes;
    table_.Erase(slot);
  }

  void Remember(const ProcessKey& key, ProcessPtr info) {
    last_key_ = key;
    last_info_ = std::move(info);
  }

  // /proc gives the parent's pid alone: the youngest of that pid that was there when the child began.
  void CompleteParent(Process& process) {
    if (process.parent.pid == 0 || process.parent.start_ns != 0) {
      return;
    }
    uint64_t born = process.key.start_ns;
    Slot* parent = table_.FindPid(process.parent.pid, [born](const Slot& s) { return s.key.start_ns <= born; });
    if (parent) {
      process.parent = parent->key;
    }
  }

  bool MayRead() {
    if (now_ns_ - read_window_ns_ >= 1'000'000'000) {  // also when time went backwards
      read_window_ns_ = now_ns_;
      reads_in_window_ = 0;
    }
    return reads_in_window_++ < limits_.reads_per_second;
  }

  struct Exited {
    ProcessKey key;
    uint64_t exit_ns;
  };

  ProcessReader reader_;
  CgroupResolver cgroups_;
  const ProcessTreeLimits limits_;
  mutable ProcessTable table_;
  std::deque<Exited> exited_;  // oldest first
  ProcessKey last_key_;
  ProcessPtr last_info_;
  uint64_t now_ns_ = 0;
  uint64_t next_expiry_ns_ = UINT64_MAX;
  uint64_t next_cgroup_retry_ns_ = 0;
  uint64_t read_window_ns_ = 0;
  uint64_t reads_in_window_ = 0;
  ProcessTreeStats stats_;  // live and exited are computed
};

}  // namespace

std::unique_ptr<ProcessTree> ProcessTree::Create(ProcessReader reader, CgroupResolver cgroups, const ProcessTreeLimits& limits) {
  return std::make_unique<ProcessTreeImpl>(std::move(reader), std::move(cgroups), limits);
}

}  // namespace moat::enrich
