// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/row_book.h"

#include <bpf/bpf.h>

namespace moat::probe {

void RowBook::Forget() { *this = RowBook(map_, key_bytes_, value_bytes_); }

void RowBook::Wrote(const void* key, const void* value) {
  const auto* key_at = static_cast<const char*>(key);
  const auto* value_at = static_cast<const char*>(value);
  keys_.insert(keys_.end(), key_at, key_at + key_bytes_);
  values_.insert(values_.end(), value_at, value_at + value_bytes_);
  there_.push_back(true);
  indexed_ = false;
}

void RowBook::Removed(const void* key) {
  const auto* at = static_cast<const char*>(key);
  keys_.insert(keys_.end(), at, at + key_bytes_);
  values_.resize(values_.size() + value_bytes_);
  there_.push_back(false);
  indexed_ = false;
}

void RowBook::Index() {
  rows_.clear();
  for (size_t row = 0; row < there_.size(); ++row) {
    rows_[Key(row)] = row;
  }
  std::erase_if(rows_, [this](const auto& entry) { return !there_[entry.second]; });
  if (rows_.size() * 2 < there_.size()) {
    // Mostly rows that were written again or removed: only what counts is kept.
    RowBook kept(map_, key_bytes_, value_bytes_);
    for (const auto& [key, row] : rows_) {
      kept.Wrote(key.data(), Value(row).data());
    }
    *this = std::move(kept);
    for (size_t row = 0; row < there_.size(); ++row) {
      rows_[Key(row)] = row;
    }
  }
  indexed_ = true;
}

size_t RowBook::Altered() {
  if (!indexed_) {
    Index();
  }
  size_t good = 0, altered = 0;
  std::vector<char> key(key_bytes_), next(key_bytes_), value(value_bytes_), strange;
  const char* at = nullptr;
  // Who adds rows as fast as they are looked at keeps nobody here for ever.
  const size_t most = rows_.size() * 2 + 4096;
  for (size_t seen = 0; seen < most && bpf_map_get_next_key(map_, at, next.data()) == 0; ++seen) {
    key = next;
    at = key.data();
    const auto row = rows_.find({key.data(), key.size()});
    if (row == rows_.end()) {
      strange.insert(strange.end(), key.begin(), key.end());
      ++altered;
    } else if (bpf_map_lookup_elem(map_, key.data(), value.data()) == 0) {
      const bool same = std::string_view(value.data(), value.size()) == Value(row->second);
      ++(same ? good : altered);
    }
  }
  for (size_t offset = 0; offset < strange.size(); offset += key_bytes_) {
    (void)bpf_map_delete_elem(map_, strange.data() + offset);
  }
  return altered > 0 || good == rows_.size() ? altered : rows_.size() - good;
}

}  // namespace moat::probe
