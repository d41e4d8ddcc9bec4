// SPDX-License-Identifier: Apache-2.0
// Reader of one BPF ring buffer over its mapped pages. libbpf 1.1 can neither stop after n records nor report how full a ring is,
// and pays an indirect call per record.
#pragma once

#include <linux/bpf.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "agent/base/error.h"

namespace moat::probe {

// One reader thread. The map's descriptor stays the caller's and must live as long.
class Ring {
 public:
  Ring() = default;
  static Result<Ring> Map(int map_fd, size_t bytes);  // bytes: the map's max_entries
  Ring(Ring&& other) noexcept { *this = std::move(other); }
  Ring& operator=(Ring&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(bytes_, other.bytes_);
    std::swap(page_, other.page_);
    std::swap(consumer_, other.consumer_);
    std::swap(producer_, other.producer_);
    return *this;
  }
  ~Ring();

  // Calls take(record) for at most max records. Returns how many.
  template <typename Take>
  size_t Drain(size_t max, Take&& take) {
    constexpr size_t kGiveBack = 64;  // records between two stores of our position: each store takes the line from the writers
    uint64_t position = *consumer_;  // only we write it
    const uint64_t end = __atomic_load_n(producer_, __ATOMIC_ACQUIRE);
    size_t taken = 0, since = 0;
    while (position < end && taken < max) {
      const auto* header = reinterpret_cast<const uint32_t*>(data() + (position & (bytes_ - 1)));
      const uint32_t word = __atomic_load_n(header, __ATOMIC_ACQUIRE);
      if (word & BPF_RINGBUF_BUSY_BIT) {
        break;  // reserved, not yet submitted; those behind it wait
      }
      const uint32_t length = word & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);
      if (!(word & BPF_RINGBUF_DISCARD_BIT)) {
        // Contiguous even at the end of the ring: the kernel maps the data pages twice in a row.
        take(std::span(reinterpret_cast<const std::byte*>(header) + BPF_RINGBUF_HDR_SZ, length));
        ++taken;
      }
      position += (length + BPF_RINGBUF_HDR_SZ + 7) & ~7ull;
      if (++since == kGiveBack) {
        __atomic_store_n(consumer_, position, __ATOMIC_RELEASE);
        since = 0;
      }
    }
    __atomic_store_n(consumer_, position, __ATOMIC_RELEASE);
    return taken;
  }

  // Nothing reserved and nothing to read. Sequentially consistent, as the store that says "the reader sleeps": neither passes the
  // other. (A fence in its place is not known to TSan.)
  bool Empty() const { return __atomic_load_n(producer_, __ATOMIC_SEQ_CST) == *consumer_; }
  // Any thread. Our position first: it never passes the producer's.
  uint64_t used() const {
    const uint64_t consumed = __atomic_load_n(consumer_, __ATOMIC_ACQUIRE);
    return __atomic_load_n(producer_, __ATOMIC_ACQUIRE) - consumed;
  }
  uint64_t size() const { return bytes_; }
  int fd() const { return fd_; }

 private:
  const std::byte* data() const { return reinterpret_cast<const std::byte*>(producer_) + page_; }

  int fd_ = -1;
  size_t bytes_ = 0, page_ = 0;
  uint64_t* consumer_ = nullptr;  // its own page, writable
  const uint64_t* producer_ = nullptr;  // read-only, the data pages follow
};

}  // namespace moat::probe
