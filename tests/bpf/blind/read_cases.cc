// SPDX-License-Identifier: Apache-2.0
// Ways to get at the bytes of an asset once it is open: 23 of each, and every byte that came is looked at.
#include <linux/aio_abi.h>

#include <algorithm>

#include "agent/base/fd.h"
#include "tests/bpf/blind/case.h"
#include "tests/bpf/blind/compat32.h"

namespace moat::test {
namespace {

constexpr size_t kPage = 4096;  // what O_DIRECT asks for, on any disk

bool AllW(const char* from, size_t bytes) {
  return std::all_of(from, from + bytes, [](char c) { return c == 'w'; });
}

char* Aligned(size_t bytes) {
  void* at = aligned_alloc(kPage, bytes);
  MOAT_CHILD_CHECK(at != nullptr);
  std::memset(at, 0, bytes);
  return static_cast<char*>(at);
}

// Runs read 23 times, each into a buffer of zeros, which must be full of the asset's bytes then.
template <typename Read>
auto Reading(Read read, size_t bytes = kChunk, int flags = O_RDONLY) {
  return [=](Stage& stage) {
    const int fd = MustOpen(stage.weights, flags);
    char* buffer = Aligned(kPage);
    for (int i = 0; i < kTimes; ++i) {
      std::memset(buffer, 0, bytes);
      MOAT_CHILD_CHECK(read(fd, buffer, i) == static_cast<ssize_t>(bytes) && AllW(buffer, bytes));
    }
  };
}

// Runs copy 23 times, from the asset to another file, whose bytes must be the asset's then.
template <typename Copy>
auto Copying(Copy copy) {
  return [=](Stage& stage) {
    const int in = MustOpen(stage.weights, O_RDONLY), out = MustOpen(stage.other, O_RDWR | O_TRUNC);
    for (int i = 0; i < kTimes; ++i) {
      MOAT_CHILD_CHECK(copy(in, out) == static_cast<ssize_t>(kChunk));
    }
    std::string copied(kTimes * kChunk + 1, 0);
    MOAT_CHILD_CHECK(pread(out, copied.data(), copied.size(), 0) == ssize_t{kTimes * kChunk} &&
                     AllW(copied.data(), kTimes * kChunk));
  };
}

ssize_t SpliceOnce(int in, int out) {
  int pipe[2];
  MOAT_CHILD_CHECK(pipe2(pipe, O_CLOEXEC) == 0);
  MOAT_CHILD_CHECK(splice(in, nullptr, pipe[1], nullptr, kChunk, 0) == ssize_t{kChunk});
  const ssize_t moved = splice(pipe[0], nullptr, out, nullptr, kChunk, 0);
  close(pipe[0]);
  close(pipe[1]);
  return moved;
}

// Linux AIO by raw calls (no libaio in the guests). Without O_DIRECT io_submit would do the whole read itself.
void AioReads(Stage& stage) {
  const int fd = MustOpen(stage.weights, O_RDONLY | O_DIRECT);
  aio_context_t context = 0;
  MOAT_CHILD_CHECK(syscall(SYS_io_setup, 1, &context) == 0);
  char* buffer = Aligned(kPage);
  for (int i = 0; i < kTimes; ++i) {
    std::memset(buffer, 0, kPage);
    iocb request{};
    request.aio_lio_opcode = IOCB_CMD_PREAD;
    request.aio_fildes = static_cast<uint32_t>(fd);
    request.aio_buf = reinterpret_cast<uint64_t>(buffer);
    request.aio_nbytes = kPage;
    request.aio_offset = static_cast<int64_t>(kPage) * i;
    iocb* requests[] = {&request};
    io_event done{};
    MOAT_CHILD_CHECK(syscall(SYS_io_submit, context, 1, requests) == 1);
    MOAT_CHILD_CHECK(syscall(SYS_io_getevents, context, 1, 1, &done, nullptr) == 1);
    MOAT_CHILD_CHECK(done.res == ssize_t{kPage} && AllW(buffer, kPage));
  }
  MOAT_CHILD_CHECK(syscall(SYS_io_destroy, context) == 0);
}

std::string AioLacks() {
  aio_context_t context = 0;
  if (syscall(SYS_io_setup, 1, &context) != 0) {
    return std::string("io_setup: ") + std::strerror(errno);
  }
  syscall(SYS_io_destroy, context);
  return "";
}

// tmpfs has O_DIRECT only from 6.6 on.
std::string DirectLacks() {
  const TempDir dir;
  const Fd fd(open(dir.path().c_str(), O_TMPFILE | O_RDWR | O_DIRECT, 0600));
  return fd ? "" : std::string("O_DIRECT on the file system of /var/tmp: ") + std::strerror(errno);
}

void Maps(Stage& stage) {
  const int fd = MustOpen(stage.weights, O_RDONLY);
  for (int i = 0; i < kTimes; ++i) {
    void* at = mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, fd, 0);
    MOAT_CHILD_CHECK(at != MAP_FAILED && AllW(static_cast<char*>(at), kPage));
  }
}

// A shared mapping that could be read only, until it can be written: no write call ever tells.
void MakeWritable(Stage& stage) {
  const int fd = MustOpen(stage.weights, O_RDWR);
  for (int i = 0; i < kTimes; ++i) {
    auto* at = static_cast<char*>(mmap(nullptr, kPage, PROT_READ, MAP_SHARED, fd, 0));
    MOAT_CHILD_CHECK(at != MAP_FAILED && mprotect(at, kPage, PROT_READ | PROT_WRITE) == 0);
    at[i] = 'x';
  }
  char first[kTimes + 1];
  MOAT_CHILD_CHECK(pread(fd, first, sizeof(first), 0) == kTimes + 1);
  MOAT_CHILD_CHECK(std::count(first, first + kTimes, 'x') == kTimes && first[kTimes] == 'w');
}

// A memfd holds the asset's bytes and is no asset. The child was forked before its parent
// had read anything, and so has inherited nothing.
void ReadCopyInMemory(Stage& stage) {
  const int copy = memfd_create("copy", MFD_CLOEXEC), in = MustOpen(stage.weights, O_RDONLY);
  MOAT_CHILD_CHECK(copy >= 0);
  const Signal copied;
  const pid_t child = fork();
  if (child == 0) {
    copied.Take();
    char buffer[kChunk];
    for (int i = 0; i < kTimes; ++i) {
      MOAT_CHILD_CHECK(pread(copy, buffer, kChunk, ssize_t{kChunk} * i) == ssize_t{kChunk} && AllW(buffer, kChunk));
    }
    _exit(0);
  }
  *stage.actor = child;
  for (int i = 0; i < kTimes; ++i) {
    MOAT_CHILD_CHECK(sendfile(copy, in, nullptr, kChunk) == ssize_t{kChunk});
  }
  copied.Give();
  int status = -1;
  MOAT_CHILD_CHECK(waitpid(child, &status, 0) == child && status == 0);
}

void Read32(Stage& stage) {
  char* low = Low(kPage);
  Reading([low](int fd, char* buffer, int) {
    const int32_t n = Call32(kRead32, static_cast<uint32_t>(fd), Low32(low), kChunk);
    std::memcpy(buffer, low, kChunk);
    return ssize_t{n};
  })(stage);
}

// The old mmap takes its six arguments from a struct; mmap2 would want the sixth in ebp, which is the compiler's.
void Map32(Stage& stage) {
  const int fd = MustOpen(stage.weights, O_RDONLY);
  auto* arguments = reinterpret_cast<uint32_t*>(Low(kPage));
  for (int i = 0; i < kTimes; ++i) {
    const uint32_t values[] = {0, kPage, PROT_READ, MAP_PRIVATE, static_cast<uint32_t>(fd), 0};
    std::copy(std::begin(values), std::end(values), arguments);
    const auto at = static_cast<uint32_t>(Call32(kOldMmap32, Low32(arguments)));
    MOAT_CHILD_CHECK(at < -4095u && AllW(reinterpret_cast<char*>(static_cast<uintptr_t>(at)), kPage));
  }
}

}  // namespace

void AddReadCases(std::vector<BlindSpot>& cases) {
  const Truth read = {.bytes_read = kTimes * kChunk, .labelled = 1}, pages = {.bytes_read = kTimes * kPage, .labelled = 1};
  const auto add = [&](const char* name, std::vector<const char*> events, const char* exposure, std::function<void(Stage&)> act,
                       Truth truth, std::function<std::string()> unavailable = {}) {
    cases.push_back({.name = name,
                     .group = Group::kFile,
                     .events = std::move(events),
                     .exposure = exposure,
                     .unavailable = std::move(unavailable),
                     .act = std::move(act),
                     .truth = truth});
  };
  add("read", {"file.read"}, "", Reading([](int fd, char* to, int) { return ::read(fd, to, kChunk); }), read);
  add("pread", {"file.read"}, "", Reading([](int fd, char* to, int i) { return pread(fd, to, kChunk, ssize_t{kChunk} * i); }),
      read);
  add("readv", {"file.read"}, "", Reading([](int fd, char* to, int) {
        const iovec parts[] = {{to, 100}, {to + 100, kChunk - 100}};
        return readv(fd, parts, 2);
      }),
      read);
  add("O_DIRECT read", {"file.direct", "file.read"}, "o_direct",
      Reading([](int fd, char* to, int i) { return pread(fd, to, kPage, ssize_t{kPage} * i); }, kPage, O_RDONLY | O_DIRECT),
      pages, DirectLacks);
  add("Linux AIO read", {"file.direct_async", "file.read"}, "aio", AioReads, pages, [] { return AioLacks() + DirectLacks(); });
  add("read by int 0x80", {"file.read"}, "compat32", Read32, read, Compat32Lacks);
  add("mmap", {"file.map"}, "", Maps, {.maps = kTimes, .labelled = 1});
  add("mmap by int 0x80", {"file.map"}, "compat32", Map32, {.maps = kTimes, .labelled = 1}, Compat32Lacks);
  add("mprotect to writable", {"file.mprotect", "file.map"}, "mprotect", MakeWritable, {.tampers = kTimes});
  add("sendfile", {"file.splice", "file.sendfile"}, "",
      Copying([](int in, int out) { return sendfile(out, in, nullptr, kChunk); }), read);
  add("splice", {"file.splice", "file.copy"}, "", Copying(SpliceOnce), read);
  add("copy_file_range", {"file.splice", "file.copy"}, "",
      Copying([](int in, int out) { return copy_file_range(in, nullptr, out, nullptr, kChunk, 0); }), read);
  add("memfd copy, read by another process", {"file.read"}, "memfd", ReadCopyInMemory, {.labelled = 1});
}

}  // namespace moat::test
