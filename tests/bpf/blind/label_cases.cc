// SPDX-License-Identifier: Apache-2.0
// Asset data that reaches a process without its opening the asset: by another's memory, or by another's descriptor.
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>

#include <algorithm>

#include "tests/bpf/blind/case.h"
#include "tests/bpf/blind/passing.h"

namespace moat::test {
namespace {

bool AllW(const char* from, size_t bytes) {
  return std::all_of(from, from + bytes, [](char c) { return c == 'w'; });
}

char* Memory(int flags) {
  void* at = mmap(nullptr, kModelBytes, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
  MOAT_CHILD_CHECK(at != MAP_FAILED);
  return static_cast<char*>(at);
}

// A child that has read the asset into `memory`, at the same address as here, and holds it open as descriptor `fd`, until let go.
// This process, its parent, has read nothing and has inherited nothing.
class Holder {
 public:
  explicit Holder(const Stage& stage, int memory_flags = MAP_PRIVATE) : memory(Memory(memory_flags)) {
    MOAT_CHILD_CHECK(pipe(room_) == 0);
    pid = fork();
    if (pid == 0) {
      const int asset = MustOpen(stage.weights, O_RDONLY);
      MOAT_CHILD_CHECK(read(asset, memory, kModelBytes) == ssize_t{kModelBytes});
      MOAT_CHILD_CHECK(write(room_[1], &asset, sizeof(asset)) == sizeof(asset));
      done_.Take();
      _exit(0);
    }
    MOAT_CHILD_CHECK(read(room_[0], &fd, sizeof(fd)) == sizeof(fd));
  }
  ~Holder() {
    done_.Give();
    int status = -1;
    MOAT_CHILD_CHECK(waitpid(pid, &status, 0) == pid && status == 0);
  }
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;

  char* memory;
  pid_t pid = -1;
  int fd = -1;  // a number in the child

 private:
  int room_[2] = {-1, -1};
  Signal done_;
};

void ByVmReadv(Stage& stage) {
  const Holder holder(stage);
  char buffer[kChunk];
  for (int i = 0; i < kTimes; ++i) {
    std::memset(buffer, 0, kChunk);
    const iovec here{buffer, kChunk}, there{holder.memory + i * kChunk, kChunk};
    MOAT_CHILD_CHECK(process_vm_readv(holder.pid, &here, 1, &there, 1, 0) == ssize_t{kChunk} && AllW(buffer, kChunk));
  }
}

void ByProcMem(Stage& stage) {
  const Holder holder(stage);
  const int fd = MustOpen("/proc/" + std::to_string(holder.pid) + "/mem", O_RDONLY);
  char buffer[kChunk];
  for (int i = 0; i < kTimes; ++i) {
    std::memset(buffer, 0, kChunk);
    const auto at = static_cast<off_t>(reinterpret_cast<uint64_t>(holder.memory + i * kChunk));
    MOAT_CHILD_CHECK(pread(fd, buffer, kChunk, at) == ssize_t{kChunk} && AllW(buffer, kChunk));
  }
}

void ByPtrace(Stage& stage) {
  const Holder holder(stage);
  int status = 0;
  MOAT_CHILD_CHECK(ptrace(PTRACE_ATTACH, holder.pid, nullptr, nullptr) == 0);
  MOAT_CHILD_CHECK(waitpid(holder.pid, &status, 0) == holder.pid && WIFSTOPPED(status));
  for (int i = 0; i < kTimes; ++i) {
    const long word = ptrace(PTRACE_PEEKDATA, holder.pid, holder.memory + i * kChunk, nullptr);
    MOAT_CHILD_CHECK(AllW(reinterpret_cast<const char*>(&word), sizeof(word)));
  }
  MOAT_CHILD_CHECK(ptrace(PTRACE_DETACH, holder.pid, nullptr, nullptr) == 0);
}

void BySharedMemory(Stage& stage) {
  const Holder holder(stage, MAP_SHARED);
  MOAT_CHILD_CHECK(AllW(holder.memory, kModelBytes));
}

void ByPipe(Stage& stage) {
  int pipe[2];
  MOAT_CHILD_CHECK(pipe2(pipe, O_CLOEXEC) == 0);
  const pid_t child = fork();
  if (child == 0) {
    char buffer[kChunk];
    const int asset = MustOpen(stage.weights, O_RDONLY);
    for (int i = 0; i < kTimes; ++i) {
      MOAT_CHILD_CHECK(read(asset, buffer, kChunk) == ssize_t{kChunk} && write(pipe[1], buffer, kChunk) == ssize_t{kChunk});
    }
    _exit(0);
  }
  int status = -1;
  MOAT_CHILD_CHECK(waitpid(child, &status, 0) == child && status == 0);
  char buffer[kTimes * kChunk];
  MOAT_CHILD_CHECK(read(pipe[0], buffer, sizeof(buffer)) == sizeof(buffer) && AllW(buffer, sizeof(buffer)));
}

void ByFork(Stage& stage) {
  char* memory = Memory(MAP_PRIVATE);
  const int fd = MustOpen(stage.weights, O_RDONLY);
  MOAT_CHILD_CHECK(read(fd, memory, kModelBytes) == ssize_t{kModelBytes});
  MOAT_CHILD_CHECK(InChild([&] {
                     *stage.actor = getpid();
                     MOAT_CHILD_CHECK(AllW(memory, kModelBytes));
                   }) == 0);
}

void ReadFrom(int fd) {
  char buffer[kChunk];
  for (int i = 0; i < kTimes; ++i) {
    MOAT_CHILD_CHECK(pread(fd, buffer, kChunk, ssize_t{kChunk} * i) == ssize_t{kChunk} && AllW(buffer, kChunk));
  }
}

void Received(const Stage& stage, int times, const std::function<void(int)>& use) {
  int pair[2];
  MOAT_CHILD_CHECK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair) == 0);
  const pid_t child = fork();
  if (child == 0) {
    for (int i = 0; i < times; ++i) {
      SendFd(pair[0], MustOpen(stage.weights, O_RDONLY));
    }
    _exit(0);
  }
  for (int i = 0; i < times; ++i) {
    use(ReceiveFd(pair[1]));
  }
  int status = -1;
  MOAT_CHILD_CHECK(waitpid(child, &status, 0) == child && status == 0);
}

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

std::string PidfdGetfdLacks() {
  const bool has = syscall(SYS_pidfd_getfd, -1, 0, 0) >= 0 || errno != ENOSYS;  // 5.6
  return has ? "" : "no pidfd_getfd here";
}

void Taken(const Stage& stage, int times, const std::function<void(int)>& use) {
  const Holder holder(stage);
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, holder.pid, 0));
  MOAT_CHILD_CHECK(pidfd >= 0);
  for (int i = 0; i < times; ++i) {
    const int fd = static_cast<int>(syscall(SYS_pidfd_getfd, pidfd, holder.fd, 0));
    MOAT_CHILD_CHECK(fd >= 0);
    use(fd);
  }
}

void CloseAsset(int fd) {
  struct stat st{};
  MOAT_CHILD_CHECK(fstat(fd, &st) == 0 && st.st_size == ssize_t{kModelBytes});
  close(fd);
}

// The program knows nothing of the asset: its standard input is one. dd reads a block at a time.
void OverExec(Stage& stage) {
  MOAT_CHILD_CHECK(dup2(stage.fd, STDIN_FILENO) == STDIN_FILENO);
  execlp("dd", "dd", "bs=1000", "count=23", "of=/dev/null", nullptr);
  MOAT_CHILD_CHECK(!"dd is there");
}

}  // namespace

void AddLabelCases(std::vector<BlindSpot>& cases) {
  const Truth labelled = {.labelled = 1}, opens = {.opens = kTimes}, reads = {.bytes_read = kTimes * kChunk, .labelled = 1};
  const auto add = [&](const char* name, std::vector<const char*> events, const char* exposure, std::function<void(Stage&)> act,
                       Truth truth, std::function<std::string()> unavailable = {}) {
    cases.push_back({.name = name,
                     .group = Group::kLabel,
                     .events = std::move(events),
                     .exposure = exposure,
                     .unavailable = std::move(unavailable),
                     .act = std::move(act),
                     .truth = truth});
  };
  add("process_vm_readv of a reader", {"process.ptrace"}, "proc_mem", ByVmReadv, labelled);
  add("/proc/PID/mem of a reader", {"process.ptrace"}, "proc_mem", ByProcMem, labelled);
  add("ptrace of a reader", {"process.ptrace"}, "proc_mem", ByPtrace, labelled);
  add("memory shared with a reader", {"file.map"}, "shared_memory", BySharedMemory, labelled);
  add("pipe from a reader", {"file.read"}, "pipe_data", ByPipe, labelled);
  add("memory inherited from a reader", {"process.fork"}, "", ByFork, labelled);
  add(
      "received descriptor", {"file.receive", "file.open"}, "passed_fd",
      [](Stage& stage) { Received(stage, kTimes, CloseAsset); }, opens);
  add("read of a received descriptor", {"file.read"}, "passed_fd", [](Stage& stage) { Received(stage, 1, ReadFrom); }, reads);
  add(
      "descriptor by pidfd_getfd", {"file.receive", "file.open"}, "passed_fd.pidfd",
      [](Stage& stage) { Taken(stage, kTimes, CloseAsset); }, opens, PidfdGetfdLacks);
  add(
      "read of a descriptor by pidfd_getfd", {"file.read"}, "passed_fd.pidfd", [](Stage& stage) { Taken(stage, 1, ReadFrom); },
      reads, PidfdGetfdLacks);
  add(
      "read of a copied descriptor", {"file.read"}, "dup_fd",
      [](Stage& stage) { ReadFrom(dup(MustOpen(stage.weights, O_RDONLY))); }, reads);
  cases.push_back({.name = "read of a descriptor inherited over exec",
                   .group = Group::kLabel,
                   .events = {"file.read"},
                   .exposure = "inherited_fd",
                   .setup = [](Stage& stage) { ASSERT_GE(stage.fd = open(stage.weights.c_str(), O_RDONLY | O_CLOEXEC), 0); },
                   .act = OverExec,
                   .cleanup = [](Stage& stage) { close(stage.fd); },
                   .truth = reads});
}

}  // namespace moat::test
