// SPDX-License-Identifier: Apache-2.0
// What detectors remember in a fixed amount of memory, beside the tables of base/recent.h.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <vector>

#include "agent/event/event.h"

namespace moat::detect {

// A sum over the time that a window is long. It slides: of the window before, what lies evenly spread within reach still counts.
class Window {
 public:
  void Add(uint64_t amount, uint64_t now_ns, uint64_t length_ns) {
    Slide(now_ns, length_ns);
    sum_ += amount;
  }
  uint64_t Sum(uint64_t now_ns, uint64_t length_ns) {
    Slide(now_ns, length_ns);
    const uint64_t gone = now_ns > since_ns_ ? now_ns - since_ns_ : 0;
    const double left = 1.0 - static_cast<double>(std::min(gone, length_ns)) / static_cast<double>(length_ns);
    return sum_ + static_cast<uint64_t>(static_cast<double>(before_) * left);
  }
  void Clear() { sum_ = before_ = 0; }

 private:
  void Slide(uint64_t now_ns, uint64_t length_ns) {
    if (since_ns_ == 0) {
      since_ns_ = now_ns;
    }
    if (now_ns < since_ns_ + length_ns) {
      return;
    }
    const uint64_t windows = (now_ns - since_ns_) / length_ns;
    before_ = windows == 1 ? sum_ : 0;
    sum_ = 0;
    since_ns_ += windows * length_ns;
  }

  uint64_t since_ns_ = 0, sum_ = 0, before_ = 0;
};

// A number that stands for several.
inline uint64_t Mix(std::initializer_list<uint64_t> parts) {
  uint64_t hash = 0x9e3779b97f4a7c15;
  for (const uint64_t part : parts) {
    hash = (hash ^ part) * 0xff51afd7ed558ccd;
    hash ^= hash >> 32;
  }
  return hash;
}
inline uint64_t Mix(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) {
    hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  }
  return Mix({hash});
}
inline uint64_t Mix(const event::Address& address) {
  const auto half = [&](size_t from) {
    uint64_t value = 0;
    for (size_t i = 0; i < 8; ++i) {
      value = value << 8 | address.bytes[from + i];
    }
    return value;
  };
  return Mix({half(0), half(8)});
}

// What was seen, by Mix(): a number of slots, in each of which the newest has driven out whoever was there. So it may forget at any time.
class Seen {
 public:
  explicit Seen(size_t slots) : slots_(std::bit_ceil(slots)) {}
  bool Has(uint64_t hash) const { return slots_[Slot(hash)] == (hash | 1); }
  // True: it was not there.
  bool Add(uint64_t hash) {
    uint64_t& slot = slots_[Slot(hash)];
    const bool fresh = slot != (hash | 1);
    slot = hash | 1;  // never 0, which is an empty slot
    return fresh;
  }

 private:
  size_t Slot(uint64_t hash) const { return hash >> 20 & (slots_.size() - 1); }

  std::vector<uint64_t> slots_;
};

// Sightings of the same in a flood: the first is told at once, the others are counted and told once a second, with exact counts. A number of
// slots: who needs one that is taken has its rest told first. Item: what is told of, of the newest.
template <typename Item>
class Flood {
 public:
  explicit Flood(size_t slots) : slots_(std::bit_ceil(slots)) {}

  // hash: of what makes them the same, by Mix(). tell: called with an item and how often it was seen since it was told last.
  template <typename Tell>
  void Add(uint64_t hash, const Item& item, uint64_t now_ns, const Tell& tell) {
    Slot& slot = slots_[hash >> 20 & (slots_.size() - 1)];
    const bool same = slot.hash == (hash | 1);
    if (same && now_ns < slot.told_ns + kPauseNs) {
      slot.item = item;
      ++slot.times;
      return;
    }
    if (!same) {
      Rest(slot, tell);
    }
    tell(item, slot.times + 1);
    slot.hash = hash | 1;  // never 0, which is an empty slot
    slot.told_ns = now_ns;
    slot.times = 0;
  }
  template <typename Tell>
  void OnTime(uint64_t now_ns, const Tell& tell) {
    for (Slot& slot : slots_) {
      if (slot.times != 0 && now_ns >= slot.told_ns + kPauseNs) {
        Rest(slot, tell);
        slot.told_ns = now_ns;
      }
    }
  }
  template <typename Tell>
  void OnEnd(const Tell& tell) {
    for (Slot& slot : slots_) {
      Rest(slot, tell);
    }
  }

 private:
  static constexpr uint64_t kPauseNs = 1'000'000'000;
  struct Slot {
    uint64_t hash = 0, told_ns = 0, times = 0;
    Item item{};
  };
  template <typename Tell>
  static void Rest(Slot& slot, const Tell& tell) {
    if (slot.times != 0) {
      tell(slot.item, slot.times);
      slot.times = 0;
    }
  }

  std::vector<Slot> slots_;
};

}  // namespace moat::detect
