// SPDX-License-Identifier: Apache-2.0
#include "agent/base/child.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "agent/base/clock.h"
#include "agent/base/fd.h"

namespace moat {

namespace {

constexpr size_t kErrBytes = 16 << 10;

struct Pipe {
  Fd read, write;
  bool Open() {
    int ends[2] = {-1, -1};
    if (pipe2(ends, O_CLOEXEC) != 0) {
      return false;
    }
    read = Fd(ends[0]);
    write = Fd(ends[1]);
    return fcntl(read.get(), F_SETFL, O_NONBLOCK) == 0;  // of this end alone
  }
};

// Killed and reaped when it goes, unless it was reaped before: its pid is its own until then.
class Child {
 public:
  ~Child() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      Reap(0);
    }
  }

  Status Spawn(const std::string& program, const std::vector<std::string>& args, int out, int err) {
    std::vector<char*> argv{const_cast<char*>(program.c_str())};
    for (const std::string& arg : args) {
      argv.push_back(const_cast<char*>(arg.c_str()));
    }
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, err, STDERR_FILENO);
    const int error = posix_spawn(&pid_, program.c_str(), &actions, nullptr, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) {
      pid_ = -1;
      return FailErrno(error, "cannot run " + program);
    }
    ended_ = Fd(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
    return {};
  }

  // Readable when it has ended; negative: this kernel cannot tell (before 5.3), then the pipes must.
  int ended() const { return ended_.get(); }

  // True: it has ended, and status() is its own.
  bool Reap(int flags) {
    int status = 0;
    if (waitpid(pid_, &status, flags) != pid_) {
      return false;
    }
    pid_ = -1;
    status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return true;
  }
  int status() const { return status_; }

 private:
  pid_t pid_ = -1;
  Fd ended_;
  int status_ = 0;
};

// Takes what is there now, or until most is reached; what comes after that is dropped. False: there will be no more.
bool Take(const Fd& from, std::string& to, size_t most) {
  char chunk[16 << 10];
  for (;;) {
    const ssize_t got = read(from.get(), chunk, sizeof(chunk));
    if (got <= 0) {
      return got < 0 && (errno == EAGAIN || errno == EINTR);
    }
    to.append(chunk, std::min(static_cast<size_t>(got), most - to.size()));
    if (to.size() >= most) {
      return true;
    }
  }
}

}  // namespace

Result<ChildResult> RunChild(const std::string& program, const std::vector<std::string>& args, const ChildLimits& limits) {
  Pipe out, err;
  if (!out.Open() || !err.Open()) {
    return FailErrno(errno, "pipe");
  }
  Child child;
  MOAT_TRY(child.Spawn(program, args, out.write.get(), err.write.get()));
  out.write.Reset();
  err.write.Reset();
  ChildResult result;
  const uint64_t end_ns = MonotonicNs() + limits.ms * 1'000'000;
  bool ended = false;
  while (!ended) {
    const uint64_t now_ns = MonotonicNs();
    if (now_ns >= end_ns) {
      return Fail(Code::kDeadlineExceeded, program + " did not end within " + std::to_string(limits.ms) + " ms");
    }
    pollfd ready[] = {{out.read.get(), POLLIN, 0}, {err.read.get(), POLLIN, 0}, {child.ended(), POLLIN, 0}};
    const uint64_t left_ms = (end_ns - now_ns) / 1'000'000 + 1;
    poll(ready, std::size(ready), static_cast<int>(std::min<uint64_t>(left_ms, child.ended() < 0 ? 20 : 1000)));
    ended = child.Reap(WNOHANG);  // before the last look at the pipes: all that it said is in them then
    if (out.read && !Take(out.read, result.out, limits.bytes + 1)) {
      out.read.Reset();
    }
    if (err.read && !Take(err.read, result.err, kErrBytes)) {
      err.read.Reset();
    }
    if (result.out.size() > limits.bytes) {
      return Fail(Code::kResourceExhausted, program + " says more than " + std::to_string(limits.bytes) + " bytes");
    }
  }
  result.status = child.status();
  return result;
}

}  // namespace moat
