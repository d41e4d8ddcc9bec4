// SPDX-License-Identifier: Apache-2.0
// What a test needs besides the stream of records: the probe's own maps, and a page that the workload and the test share.
#pragma once

#include <bpf/bpf.h>
#include <dirent.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/bpf/workload.h"

namespace moat::test {

// The descriptor, in this process, of the probe's map of that name; -1: there is none. Not by map id: another probe may run on
// this machine. The kernel keeps 15 characters of a name.
inline int OwnMap(std::string_view name) {
  int found = -1;
  DIR* dir = opendir("/proc/self/fd");
  while (const dirent* entry = dir != nullptr ? readdir(dir) : nullptr) {
    bpf_map_info info{};
    uint32_t length = sizeof(info);
    char target[32] = {};
    const int fd = std::atoi(entry->d_name);
    if (readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1) > 0 && std::strstr(target, "bpf-map") != nullptr &&
        bpf_obj_get_info_by_fd(fd, &info, &length) == 0 && name.substr(0, sizeof(info.name) - 1) == info.name) {
      found = fd;
    }
  }
  if (dir != nullptr) {
    closedir(dir);
  }
  return found;
}

template <typename Key, typename Value>
std::vector<std::pair<Key, Value>> MapRows(std::string_view name) {
  std::vector<std::pair<Key, Value>> rows;
  const int fd = OwnMap(name);
  EXPECT_GE(fd, 0) << "no map " << name;
  Key key{}, next{};
  for (const Key* at = nullptr; bpf_map_get_next_key(fd, at, &next) == 0; at = &key) {
    key = next;
    Value value{};
    if (bpf_map_lookup_elem(fd, &key, &value) == 0) {
      rows.emplace_back(key, value);
    }
  }
  return rows;
}

// Written by the workload, read by the test afterwards.
template <typename T>
class Shared {
 public:
  Shared() : page_(mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) { new (page_) T(); }
  ~Shared() { munmap(page_, sizeof(T)); }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  T* operator->() const { return static_cast<T*>(page_); }
  T& operator*() const { return *static_cast<T*>(page_); }

 private:
  void* page_;
};

// Lets one side wait for the other, between fork and exit.
class Signal {
 public:
  Signal() { EXPECT_EQ(pipe(ends_), 0); }
  ~Signal() {
    close(ends_[0]);
    close(ends_[1]);
  }
  void Give() const { MOAT_CHILD_CHECK(write(ends_[1], "x", 1) == 1); }
  void Take() const {
    char byte;
    MOAT_CHILD_CHECK(read(ends_[0], &byte, 1) == 1);
  }

 private:
  int ends_[2];
};

}  // namespace moat::test
