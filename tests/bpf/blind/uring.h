// SPDX-License-Identifier: Apache-2.0
// io_uring by raw system calls: one operation at a time, submitted and waited for. No liburing: the guests of the VM tier lack it.
#pragma once

#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "agent/base/fd.h"
#include "tests/bpf/fixture.h"

namespace moat::test {

// Why this kernel has no io_uring with these operations (IORING_OP_*), or forbids it; "": it has.
inline std::string UringLacks(std::vector<unsigned> operations) {
  io_uring_params params{};
  const Fd ring(static_cast<int>(syscall(SYS_io_uring_setup, 1, &params)));
  if (!ring) {
    return std::string("io_uring_setup: ") + std::strerror(errno);  // EPERM: kernel.io_uring_disabled, or seccomp
  }
  alignas(io_uring_probe) char room[sizeof(io_uring_probe) + 256 * sizeof(io_uring_probe_op)] = {};
  auto* probe = reinterpret_cast<io_uring_probe*>(room);
  if (syscall(SYS_io_uring_register, ring.get(), IORING_REGISTER_PROBE, probe, 256) != 0) {
    return std::string("IORING_REGISTER_PROBE: ") + std::strerror(errno);
  }
  for (const unsigned operation : operations) {
    if (operation >= probe->ops_len || (probe->ops[operation].flags & IO_URING_OP_SUPPORTED) == 0) {
      return "io_uring here has no operation " + std::to_string(operation);
    }
  }
  return "";
}

// For a workload: a step that fails ends it.
class Uring {
 public:
  // IORING_SETUP_SQPOLL: a thread of the kernel takes the submissions; this process makes no call for them.
  explicit Uring(unsigned flags = 0) {
    params_.flags = flags;
    params_.sq_thread_idle = 10'000;  // ms: longer than any case
    fd_ = static_cast<int>(syscall(SYS_io_uring_setup, 4, &params_));
    MOAT_CHILD_CHECK(fd_ >= 0);
    sq_ = Map(params_.sq_off.array + params_.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
    cq_ = Map(params_.cq_off.cqes + params_.cq_entries * sizeof(io_uring_cqe), IORING_OFF_CQ_RING);
    sqes_ = reinterpret_cast<io_uring_sqe*>(Map(params_.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES));
  }
  ~Uring() { close(fd_); }
  Uring(const Uring&) = delete;
  Uring& operator=(const Uring&) = delete;

  // Result of the operation: as of the system call, a negative errno on failure.
  int Do(const io_uring_sqe& sqe) {
    auto* tail = At(sq_, params_.sq_off.tail);
    const unsigned at = *tail & *At(sq_, params_.sq_off.ring_mask);
    sqes_[at] = sqe;
    At(sq_, params_.sq_off.array)[at] = at;
    std::atomic_ref(*tail).store(*tail + 1, std::memory_order_seq_cst);
    const bool polled = (params_.flags & IORING_SETUP_SQPOLL) != 0;
    const bool asleep = polled && (std::atomic_ref(*At(sq_, params_.sq_off.flags)).load() & IORING_SQ_NEED_WAKEUP) != 0;
    unsigned flags = IORING_ENTER_GETEVENTS;
    flags |= asleep ? IORING_ENTER_SQ_WAKEUP : 0;
    MOAT_CHILD_CHECK(syscall(SYS_io_uring_enter, fd_, polled ? 0 : 1, 1, flags, nullptr, 0) >= 0);
    auto* head = At(cq_, params_.cq_off.head);
    MOAT_CHILD_CHECK(std::atomic_ref(*At(cq_, params_.cq_off.tail)).load(std::memory_order_acquire) == *head + 1);
    const auto* cqes = reinterpret_cast<const io_uring_cqe*>(cq_ + params_.cq_off.cqes);
    const int result = cqes[*head & *At(cq_, params_.cq_off.ring_mask)].res;
    std::atomic_ref(*head).store(*head + 1, std::memory_order_release);
    return result;
  }
  void RegisterFile(int fd) { MOAT_CHILD_CHECK(syscall(SYS_io_uring_register, fd_, IORING_REGISTER_FILES, &fd, 1) == 0); }
  void RegisterBuffer(const iovec& part) {
    MOAT_CHILD_CHECK(syscall(SYS_io_uring_register, fd_, IORING_REGISTER_BUFFERS, &part, 1) == 0);
  }

 private:
  char* Map(size_t bytes, uint64_t offset) const {
    void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_, static_cast<off_t>(offset));
    MOAT_CHILD_CHECK(at != MAP_FAILED);  // given back when the workload ends
    return static_cast<char*>(at);
  }
  static unsigned* At(char* ring, unsigned offset) { return reinterpret_cast<unsigned*>(ring + offset); }

  io_uring_params params_{};
  int fd_ = -1;
  char *sq_ = nullptr, *cq_ = nullptr;
  io_uring_sqe* sqes_ = nullptr;
};

inline io_uring_sqe Sqe(unsigned operation, int fd, const void* address, size_t length, uint64_t offset = 0) {
  io_uring_sqe sqe{};
  sqe.opcode = static_cast<uint8_t>(operation);
  sqe.fd = fd;
  sqe.addr = reinterpret_cast<uint64_t>(address);
  sqe.len = static_cast<uint32_t>(length);
  sqe.off = offset;
  return sqe;
}

}  // namespace moat::test
