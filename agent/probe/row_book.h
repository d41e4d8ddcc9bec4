// SPDX-License-Identifier: Apache-2.0
// What was written into a table of the kernel's, so that what somebody else writes there is noticed. Only for tables that no program writes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace moat::probe {

// One thread. Bytes are copied.
class RowBook {
 public:
  RowBook(int map, size_t key_bytes, size_t value_bytes) : map_(map), key_bytes_(key_bytes), value_bytes_(value_bytes) {}

  void Forget();
  // The last of several with the same key counts.
  void Wrote(const void* key, const void* value);
  void Removed(const void* key);
  // Rows that are missing, others than was written, or nobody's of ours. Removes the last; the others are to be written again.
  size_t Altered();

 private:
  void Index();
  std::string_view Key(size_t row) const { return {keys_.data() + row * key_bytes_, key_bytes_}; }
  std::string_view Value(size_t row) const { return {values_.data() + row * value_bytes_, value_bytes_}; }

  int map_;  // borrowed
  size_t key_bytes_, value_bytes_;
  std::vector<char> keys_, values_;
  std::vector<bool> there_;  // false: the row was removed
  std::unordered_map<std::string_view, size_t> rows_;  // by key, into the vectors
  bool indexed_ = true;
};

}  // namespace moat::probe
