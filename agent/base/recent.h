// SPDX-License-Identifier: Apache-2.0
// A table of so many rows, in which the least recently used gives way.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <list>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace moat {

// Key: without padding, so that its bytes are its value.
template <typename Key, typename Row>
class Recent {
 public:
  explicit Recent(size_t most) : most_(most) {}

  // Its row, now the most recent. fresh: it is new, and empty. Allocates for a new one only.
  Row& Touch(const Key& key, bool* fresh) {
    const auto found = index_.find(key);
    *fresh = found == index_.end();
    if (!*fresh) {
      order_.splice(order_.begin(), order_, found->second);
      return found->second->second;
    }
    if (order_.size() >= most_) {
      index_.erase(order_.back().first);
      order_.pop_back();
      ++evicted_;
    }
    order_.emplace_front(key, Row{});
    index_.emplace(key, order_.begin());
    return order_.front().second;
  }

  // Null: it has none. Does not make it more recent.
  Row* Find(const Key& key) {
    const auto found = index_.find(key);
    return found == index_.end() ? nullptr : &found->second->second;
  }

  void Forget(const Key& key) {
    if (const auto found = index_.find(key); found != index_.end()) {
      order_.erase(found->second);
      index_.erase(found);
    }
  }

  const std::list<std::pair<Key, Row>>& rows() const { return order_; }  // most recent first
  uint64_t evicted() const { return evicted_; }

 private:
  static_assert(std::has_unique_object_representations_v<Key>);
  struct Hash {
    size_t operator()(const Key& key) const {
      return std::hash<std::string_view>()({reinterpret_cast<const char*>(&key), sizeof(key)});
    }
  };
  struct Same {
    bool operator()(const Key& a, const Key& b) const { return std::memcmp(&a, &b, sizeof(a)) == 0; }
  };

  size_t most_;
  std::list<std::pair<Key, Row>> order_;
  std::unordered_map<Key, typename std::list<std::pair<Key, Row>>::iterator, Hash, Same> index_;
  uint64_t evicted_ = 0;
};

}  // namespace moat
