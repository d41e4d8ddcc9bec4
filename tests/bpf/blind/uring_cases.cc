// SPDX-License-Identifier: Apache-2.0
// Reads and writes of an asset through io_uring. The open is a plain one: only the operation is in question.
#include <algorithm>

#include "tests/bpf/blind/case.h"
#include "tests/bpf/blind/uring.h"

namespace moat::test {
namespace {

constexpr size_t kPage = 4096;

struct Kind {
  unsigned operation = IORING_OP_READ;
  size_t bytes = kChunk;
  int open_flags = O_RDONLY;
  unsigned ring_flags = 0;
  uint8_t sqe_flags = 0;
};

// 23 reads of the asset's bytes, from place to place.
auto Reads(Kind kind) {
  return [kind](Stage& stage) {
    Uring ring(kind.ring_flags);
    const int fd = MustOpen(stage.weights, kind.open_flags);
    auto* buffer = static_cast<char*>(aligned_alloc(kPage, kPage));
    const iovec part{buffer, kind.bytes};
    if (kind.operation == IORING_OP_READ_FIXED) {
      ring.RegisterBuffer({buffer, kPage});
    }
    if ((kind.sqe_flags & IOSQE_FIXED_FILE) != 0) {
      ring.RegisterFile(fd);
    }
    for (int i = 0; i < kTimes; ++i) {
      std::memset(buffer, 0, kPage);
      io_uring_sqe sqe = Sqe(kind.operation, fd, buffer, kind.bytes, kind.bytes * static_cast<size_t>(i));
      if (kind.operation == IORING_OP_READV) {
        sqe.addr = reinterpret_cast<uint64_t>(&part);
        sqe.len = 1;
      }
      sqe.flags = kind.sqe_flags;
      sqe.fd = (kind.sqe_flags & IOSQE_FIXED_FILE) != 0 ? 0 : fd;  // the index among the registered
      MOAT_CHILD_CHECK(ring.Do(sqe) == static_cast<int>(kind.bytes));
      MOAT_CHILD_CHECK(std::all_of(buffer, buffer + kind.bytes, [](char c) { return c == 'w'; }));
    }
  };
}

void Splices(Stage& stage) {
  Uring ring;
  const int fd = MustOpen(stage.weights, O_RDONLY);
  int pipe[2];
  MOAT_CHILD_CHECK(pipe2(pipe, O_CLOEXEC) == 0);
  for (int i = 0; i < kTimes; ++i) {
    io_uring_sqe sqe = Sqe(IORING_OP_SPLICE, pipe[1], nullptr, kChunk, ~0ull);  // of a pipe: no offset
    sqe.splice_fd_in = fd;
    sqe.splice_off_in = kChunk * static_cast<size_t>(i);
    MOAT_CHILD_CHECK(ring.Do(sqe) == static_cast<int>(kChunk));
    std::string got(kChunk, 0);
    MOAT_CHILD_CHECK(read(pipe[0], got.data(), kChunk) == ssize_t{kChunk} && got == std::string(kChunk, 'w'));
  }
}

void Writes(Stage& stage) {
  Uring ring;
  const int fd = MustOpen(stage.weights, O_WRONLY);
  const std::string block(kChunk, 'x');
  for (int i = 0; i < kTimes; ++i) {
    MOAT_CHILD_CHECK(ring.Do(Sqe(IORING_OP_WRITE, fd, block.data(), kChunk, kChunk * static_cast<size_t>(i))) ==
                     static_cast<int>(kChunk));
  }
}

}  // namespace

void AddUringCases(std::vector<BlindSpot>& cases) {
  const Truth read = {.bytes_read = kTimes * kChunk, .labelled = 1};
  const auto add = [&](const char* name, Kind kind, const char* exposure = "io_uring") {
    cases.push_back(
        {.name = name,
         .group = Group::kFile,
         .events = (kind.open_flags & O_DIRECT) != 0 ? std::vector{"file.direct", "file.read"} : std::vector{"file.read"},
         .exposure = exposure,
         .unavailable = [kind] { return UringLacks({kind.operation}); },
         .act = Reads(kind),
         .truth = {.bytes_read = kTimes * kind.bytes, .labelled = 1}});
  };
  add("io_uring read", {});
  add("io_uring read O_DIRECT", {.bytes = kPage, .open_flags = O_RDONLY | O_DIRECT});
  add("io_uring readv", {.operation = IORING_OP_READV});
  add("io_uring read_fixed", {.operation = IORING_OP_READ_FIXED});
  // The reader is a thread of the kernel; from 5.12 on it is one of the process and has its pid.
  add("io_uring read by a worker", {.sqe_flags = IOSQE_ASYNC}, "io_uring.worker");
  // Before 5.11 the polling thread takes registered files only.
  add("io_uring read by SQPOLL", {.ring_flags = IORING_SETUP_SQPOLL, .sqe_flags = IOSQE_FIXED_FILE}, "io_uring.thread");
  cases.push_back({.name = "io_uring splice",
                   .group = Group::kFile,
                   .events = {"file.splice", "file.copy"},
                   .exposure = "io_uring",
                   .unavailable = [] { return UringLacks({IORING_OP_SPLICE}); },
                   .act = Splices,
                   .truth = read});
  cases.push_back({.name = "io_uring write",
                   .group = Group::kFile,
                   .events = {"file.write"},
                   .exposure = "io_uring",
                   .unavailable = [] { return UringLacks({IORING_OP_WRITE}); },
                   .act = Writes,
                   .truth = {.bytes_written = kTimes * kChunk, .tampers = 1}});
}

}  // namespace moat::test
