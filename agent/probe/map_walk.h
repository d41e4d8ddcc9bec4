// SPDX-License-Identifier: Apache-2.0
// Every entry of a BPF hash map, hundreds per system call.
#pragma once

#include <bpf/bpf.h>

#include <cerrno>
#include <cstdint>
#include <vector>

namespace moat::probe {

// Calls visit(key, value) on copies; visit may delete entries of the map. Entries that come or go meanwhile may be missed or not.
// False: the map cannot be read (errno).
template <typename Key, typename Value, typename Visit>
bool WalkMap(int fd, Visit visit) {
  uint32_t size = 512;  // at least the longest bucket, else ENOSPC: then more
  std::vector<Key> keys;
  std::vector<Value> values;
  uint32_t token = 0;
  void* from = nullptr;
  for (;;) {
    keys.resize(size);
    values.resize(size);
    uint32_t next = 0, count = size;
    LIBBPF_OPTS(bpf_map_batch_opts, options);
    const int err = bpf_map_lookup_batch(fd, from, &next, keys.data(), values.data(), &count, &options);
    if (err != 0 && errno == ENOSPC && size < (1u << 20)) {
      size *= 2;
      continue;
    }
    if (err != 0 && errno != ENOENT) {
      return false;
    }
    const bool end = err != 0;
    for (uint32_t i = 0; i < count; ++i) {
      visit(keys[i], values[i]);
    }
    if (end) {
      return true;
    }
    token = next;
    from = &token;
  }
}

}  // namespace moat::probe
