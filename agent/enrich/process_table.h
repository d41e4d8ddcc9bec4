// SPDX-License-Identifier: Apache-2.0
// The tree's memory: a flat hash table from (pid, start time) to what is known, open addressing, linear probing. Hashed by pid
// alone, so that the few processes that had one pid lie side by side and can be searched by an inexact start time.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "agent/event/event.h"

namespace moat::enrich {

class ProcessTable {
 public:
  struct Slot {
    event::ProcessKey key;
    std::shared_ptr<const event::Process> info;  // null: the slot is free
    uint64_t learnt_ns = 0;                      // when info was true
    uint64_t exit_ns = 0;                        // 0: runs
    uint32_t bytes = 0;                          // about, of info
    bool guess = false;                          // info is what a header tells, no more
  };

  ProcessTable() : slots_(kFirstSize) {}

  // Pointers to slots hold until the next Insert or Erase.
  Slot* Find(const event::ProcessKey& key) {
    for (size_t i = Home(key.pid);; i = Next(i)) {
      Slot& slot = slots_[i];
      if (!slot.info) {
        return nullptr;
      }
      if (slot.key == key) {
        return &slot;
      }
    }
  }

  // The youngest process with this pid for which match(slot) holds.
  template <typename Match>
  Slot* FindPid(uint32_t pid, Match match) {
    Slot* best = nullptr;
    for (size_t i = Home(pid); slots_[i].info; i = Next(i)) {
      Slot& slot = slots_[i];
      if (slot.key.pid == pid && (!best || slot.key.start_ns > best->key.start_ns) && match(slot)) {
        best = &slot;
      }
    }
    return best;
  }

  // A new slot; key must not be there. The caller sets info (not null) at once.
  Slot& Insert(const event::ProcessKey& key);
  void Erase(Slot* slot);

  // The next slot in use that match(slot) holds for, going round from where the last call ended; null after a full round.
  template <typename Match>
  Slot* Sweep(Match match) {
    for (size_t steps = 0; steps < slots_.size(); ++steps) {
      hand_ = Next(hand_);
      if (slots_[hand_].info && match(slots_[hand_])) {
        return &slots_[hand_];
      }
    }
    return nullptr;
  }

  size_t size() const { return size_; }

 private:
  static constexpr size_t kFirstSize = 1024;

  // Fibonacci hashing: pids given out one after another land far apart.
  size_t Home(uint32_t pid) const { return (pid * uint64_t{0x9e3779b97f4a7c15}) >> 32 & (slots_.size() - 1); }
  size_t Next(size_t i) const { return (i + 1) & (slots_.size() - 1); }
  void Grow();

  std::vector<Slot> slots_;  // size: a power of two, at most half in use
  size_t size_ = 0;
  size_t hand_ = 0;
};

}  // namespace moat::enrich
