// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/ring.h"

#include <unistd.h>

#include <cerrno>

namespace moat::probe {

Result<Ring> Ring::Map(int map_fd, size_t bytes) {
  Ring ring;
  ring.fd_ = map_fd;
  ring.bytes_ = bytes;
  ring.page_ = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  void* consumer = mmap(nullptr, ring.page_, PROT_READ | PROT_WRITE, MAP_SHARED, map_fd, 0);
  if (consumer == MAP_FAILED) {
    return FailErrno(errno, "map the ring's consumer page");
  }
  ring.consumer_ = static_cast<uint64_t*>(consumer);
  void* producer = mmap(nullptr, ring.page_ + 2 * bytes, PROT_READ, MAP_SHARED, map_fd, static_cast<off_t>(ring.page_));
  if (producer == MAP_FAILED) {
    return FailErrno(errno, "map the ring's data pages");
  }
  ring.producer_ = static_cast<const uint64_t*>(producer);
  return ring;
}

Ring::~Ring() {
  if (consumer_ != nullptr) {
    munmap(consumer_, page_);
  }
  if (producer_ != nullptr) {
    munmap(const_cast<uint64_t*>(producer_), page_ + 2 * bytes_);
  }
}

}  // namespace moat::probe
