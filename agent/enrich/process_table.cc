// SPDX-License-Identifier: Apache-2.0
#include "agent/enrich/process_table.h"

#include <utility>

namespace moat::enrich {

ProcessTable::Slot& ProcessTable::Insert(const event::ProcessKey& key) {
  if ((size_ + 1) * 2 > slots_.size()) {
    Grow();
  }
  size_t i = Home(key.pid);
  while (slots_[i].info) {
    i = Next(i);
  }
  ++size_;
  slots_[i] = Slot{};
  slots_[i].key = key;
  return slots_[i];
}

// Moves back what was pushed beyond the freed place, so that no tombstones gather.
void ProcessTable::Erase(Slot* slot) {
  auto hole = static_cast<size_t>(slot - slots_.data());
  for (size_t i = Next(hole); slots_[i].info; i = Next(i)) {
    size_t home = Home(slots_[i].key.pid);
    // Distances around the table: may the entry at i lie as early as the hole?
    if (((i - home) & (slots_.size() - 1)) >= ((i - hole) & (slots_.size() - 1))) {
      slots_[hole] = std::move(slots_[i]);
      slots_[i].info = nullptr;
      hole = i;
    }
  }
  slots_[hole] = Slot{};
  --size_;
}

void ProcessTable::Grow() {
  std::vector<Slot> old(slots_.size() * 2);
  old.swap(slots_);
  hand_ = 0;
  for (Slot& slot : old) {
    if (slot.info) {
      size_t i = Home(slot.key.pid);
      while (slots_[i].info) {
        i = Next(i);
      }
      slots_[i] = std::move(slot);
    }
  }
}

}  // namespace moat::enrich
