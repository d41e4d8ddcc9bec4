// SPDX-License-Identifier: Apache-2.0
// The numbers by which the events of one stream name their process (WatchResponse in services.proto): details cross once.
// A set-associative table with a fixed bound, so that neither side grows with the number of processes a host ever ran.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "agent/event/event.h"

namespace moat::api {

class ProcessRefs {
 public:
  static constexpr uint32_t kRefs = 4096;  // refs are 1 to kRefs; stated in services.proto

  void BeginMessage() { ++message_; }

  // *fresh: the ref has a new meaning, and the message must say which. 0: every place for this process is in use by the message
  // under construction (a message defines its processes before its events, so a ref has one meaning in it): begin another.
  uint32_t Find(const event::ProcessKey& key, const std::shared_ptr<const event::Process>& info, bool* fresh) {
    uint64_t hash = (key.start_ns ^ uint64_t{key.pid} << 32) * 0x9e3779b97f4a7c15ull;
    Slot* set = &slots_[(hash >> 40) % (kRefs / kWays) * kWays];
    Slot* oldest = set;
    for (uint32_t way = 0; way < kWays; ++way) {
      Slot& slot = set[way];
      if (slot.key == key && slot.info == info && slot.used) {
        slot.used = message_;
        *fresh = false;
        return Ref(slot);
      }
      if (slot.used < oldest->used) {
        oldest = &slot;
      }
    }
    if (oldest->used == message_) {
      return 0;
    }
    *oldest = {key, info, message_};
    *fresh = true;
    return Ref(*oldest);
  }

 private:
  static constexpr uint32_t kWays = 8;
  struct Slot {
    event::ProcessKey key;
    std::shared_ptr<const event::Process> info;  // held: its address cannot come to mean another
    uint64_t used = 0;  // message; 0: never
  };
  uint32_t Ref(const Slot& slot) const { return static_cast<uint32_t>(&slot - slots_.data()) + 1; }

  std::vector<Slot> slots_ = std::vector<Slot>(kRefs);
  uint64_t message_ = 0;
};

}  // namespace moat::api
