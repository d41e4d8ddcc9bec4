// SPDX-License-Identifier: Apache-2.0
// moat_load: the program being traced. One thread, pinned to one core, inside the cgroup that the bench made; it reads commands
// on standard input and answers one line each:
//   run OP N             -> the quickest fifth of N: how many, nanoseconds of CPU (of this thread; spawn: its children too)
//   flat OP MS           -> how many it did in MS milliseconds, as fast as it can; nanoseconds of CPU; wall nanoseconds
//   pace OP RATE MS      -> the same at RATE a second, in slices of a millisecond
// CPU time and not wall time: being preempted on a shared machine is not a cost of tracing.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <map>
#include <string>

#include "tests/bench/load_ops.h"

namespace {

using moat::bench::kCountedIoctl;
using moat::bench::kWatchedIoctl;

[[noreturn]] void Die(const char* what) {
  std::fprintf(stderr, "moat_load: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

int Check(int result, const char* what) {
  if (result < 0) {
    Die(what);
  }
  return result;
}

uint64_t Now(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(t.tv_nsec);
}

// Of this thread and of the children that it has waited for. The kernel scales the children's times from the scheduler's exact
// sum, so only the rounding to a microsecond is lost.
uint64_t CpuNs() {
  rusage children{};
  getrusage(RUSAGE_CHILDREN, &children);
  const auto ns = [](const timeval& t) {
    return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(t.tv_usec) * 1000u;
  };
  return Now(CLOCK_THREAD_CPUTIME_ID) + ns(children.ru_utime) + ns(children.ru_stime);
}

struct Targets {
  std::string plain, asset, device, program;
};

class Operations {
 public:
  explicit Operations(const Targets& targets) : targets_(targets) {
    device_ = Check(open(targets.device.c_str(), O_RDWR | O_CLOEXEC), targets.device.c_str());
    zero_ = Check(open("/dev/zero", O_RDONLY | O_CLOEXEC), "/dev/zero");
    plain_ = Check(open(targets.plain.c_str(), O_RDONLY | O_CLOEXEC), targets.plain.c_str());
    asset_ = Check(open(targets.asset.c_str(), O_RDONLY | O_CLOEXEC), targets.asset.c_str());
    listener_ = Check(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    address_.sin_family = AF_INET;
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    Check(bind(listener_, reinterpret_cast<sockaddr*>(&address_), sizeof address_), "bind");
    Check(listen(listener_, 64), "listen");
    socklen_t length = sizeof address_;
    Check(getsockname(listener_, reinterpret_cast<sockaddr*>(&address_), &length), "getsockname");
    client_ = Connect();
    server_ = Check(accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC), "accept");
    // System calls are made by syscall(): glibc's wrappers add cancellation points that would blur a nanosecond.
    ops_["getppid"] = [] { syscall(SYS_getppid); };
    ops_["read_plain"] = [this] { syscall(SYS_pread64, plain_, buffer_, 1, 0); };
    ops_["ioctl_plain"] = [this] { syscall(SYS_ioctl, plain_, kCountedIoctl, buffer_); };
    ops_["ioctl_sibling"] = [this] { syscall(SYS_ioctl, zero_, kCountedIoctl, buffer_); };
    ops_["open_plain"] = [this] { OpenClose(targets_.plain.c_str(), false); };
    ops_["open_read_plain"] = [this] { OpenClose(targets_.plain.c_str(), true); };
    ops_["open_asset"] = [this] { OpenClose(targets_.asset.c_str(), false); };
    ops_["read_asset"] = [this] { syscall(SYS_pread64, asset_, buffer_, 1, 0); };
    ops_["ioctl_counted"] = [this] { syscall(SYS_ioctl, device_, kCountedIoctl, buffer_); };
    ops_["ioctl_watched"] = [this] { syscall(SYS_ioctl, device_, kWatchedIoctl, buffer_); };
    ops_["connect"] = [this] { ConnectAcceptClose(); };
    ops_["send"] = [this] {
      syscall(SYS_sendto, client_, buffer_, 64, 0, nullptr, 0);
      syscall(SYS_recvfrom, server_, buffer_, 64, 0, nullptr, nullptr);
    };
    ops_["spawn"] = [this] { Spawn(); };
  }

  const std::function<void()>* Find(const std::string& name) const {
    const auto it = ops_.find(name);
    return it == ops_.end() ? nullptr : &it->second;
  }

 private:
  void OpenClose(const char* path, bool read) {
    const int fd = static_cast<int>(syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC));
    if (read) {
      syscall(SYS_read, fd, buffer_, 1);
    }
    syscall(SYS_close, fd);
  }
  int Connect() {
    const int fd = Check(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    Check(connect(fd, reinterpret_cast<sockaddr*>(&address_), sizeof address_), "connect");
    return fd;
  }
  // The client resets instead of closing in order, so that no port stays in TIME_WAIT: there are only 28,000 of them.
  void ConnectAcceptClose() {
    const int client = Connect();
    const int server = Check(accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC), "accept");
    const linger now{1, 0};
    setsockopt(client, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(client);
    close(server);
  }
  void Spawn() {
    const pid_t child = fork();
    if (child == 0) {
      char* const argv[] = {const_cast<char*>(targets_.program.c_str()), nullptr};
      char* const envp[] = {nullptr};
      execve(argv[0], argv, envp);
      _exit(127);
    }
    Check(child, "fork");
    int status = 0;
    Check(waitpid(child, &status, 0), "waitpid");
    if (status != 0) {
      errno = ENOEXEC;
      Die(targets_.program.c_str());
    }
  }

  Targets targets_;
  std::map<std::string, std::function<void()>> ops_;
  sockaddr_in address_{};
  int device_ = -1, zero_ = -1, plain_ = -1, asset_ = -1, listener_ = -1, client_ = -1, server_ = -1;
  alignas(64) char buffer_[4096] = {};
};

// In parts, and the quickest counts: what the machine below takes from a core now and then (another guest, a change of frequency)
// is in some parts and not in others, what tracing costs is in each.
void Run(const std::function<void()>& op, uint64_t n) {
  constexpr uint64_t kParts = 5;
  const uint64_t each = n / kParts + 1;
  uint64_t best = UINT64_MAX;
  for (uint64_t part = 0; part < kParts; part++) {
    const uint64_t start = CpuNs();
    for (uint64_t i = 0; i < each; i++) {
      op();
    }
    best = std::min(best, CpuNs() - start);
  }
  std::printf("%llu %llu\n", static_cast<unsigned long long>(each), static_cast<unsigned long long>(best));
}

// rate 0: as fast as it goes.
void Timed(const std::function<void()>& op, uint64_t rate, uint64_t ms) {
  const uint64_t cpu = CpuNs();
  const uint64_t start = Now(CLOCK_MONOTONIC);
  const uint64_t end = start + ms * 1'000'000u;
  uint64_t done = 0;
  uint64_t now = start;
  while (now < end) {
    const uint64_t due = rate == 0 ? done + 256 : (now - start) * rate / 1'000'000'000u;
    while (done < due) {
      op();
      done++;
    }
    if (rate != 0) {
      const timespec slice{0, 1'000'000};
      nanosleep(&slice, nullptr);
    }
    now = Now(CLOCK_MONOTONIC);
  }
  std::printf("%llu %llu %llu\n", static_cast<unsigned long long>(done), static_cast<unsigned long long>(CpuNs() - cpu),
              static_cast<unsigned long long>(now - start));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) {
    std::fprintf(stderr, "usage: moat_load CPU CGROUP.PROCS PLAIN ASSET DEVICE PROGRAM\n");
    return 2;
  }
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(static_cast<size_t>(std::atoi(argv[1])), &cpus);
  Check(sched_setaffinity(0, sizeof cpus, &cpus), "sched_setaffinity");
  const int procs = Check(open(argv[2], O_WRONLY | O_CLOEXEC), argv[2]);
  Check(static_cast<int>(write(procs, "0", 1)), "enter cgroup");
  close(procs);
  const Operations operations({argv[3], argv[4], argv[5], argv[6]});
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  std::puts("ready");
  char line[256];
  while (std::fgets(line, sizeof line, stdin) != nullptr) {
    char verb[16], name[32];
    unsigned long long a = 0, b = 0;
    const int fields = std::sscanf(line, "%15s %31s %llu %llu", verb, name, &a, &b);
    const std::function<void()>* op = fields >= 3 ? operations.Find(name) : nullptr;
    if (op == nullptr) {
      std::fprintf(stderr, "moat_load: not understood: %s", line);
      return 2;
    }
    if (std::strcmp(verb, "run") == 0) {
      Run(*op, a);
    } else if (std::strcmp(verb, "flat") == 0) {
      Timed(*op, 0, a);
    } else {
      Timed(*op, a, b);
    }
  }
  return 0;
}
