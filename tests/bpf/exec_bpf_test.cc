// SPDX-License-Identifier: Apache-2.0
// What an exec says of the image's streams, its terminal and its environment: each beside a look-alike that says nothing.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <vector>

#include "agent/base/fd.h"
#include "bpf/abi/process.h"
#include "tests/bpf/fixture.h"
#include "tests/bpf/workload.h"

namespace moat::test {
namespace {

constexpr const char* kTrue = "/bin/true";
constexpr uint32_t kEnvironment =
    MOAT_EXEC_PRELOAD | MOAT_EXEC_AUDIT | MOAT_EXEC_LIBRARY_PATH | MOAT_EXEC_ENV_TRUNCATED | MOAT_EXEC_ENV_UNREADABLE;
constexpr uint32_t kAll = MOAT_EXEC_STDIO_SOCKET | MOAT_EXEC_STDIO_INET | MOAT_EXEC_TTY | kEnvironment;

// A session of its own, so without a terminal, streams to nowhere, nothing in the environment.
void Plain() {
  (void)setsid();
  const int null = open("/dev/null", O_RDWR);
  MOAT_CHILD_CHECK(null >= 0);
  for (int fd = 0; fd < 3; ++fd) {
    MOAT_CHILD_CHECK(dup2(null, fd) == fd);
  }
}

class ExecBpfTest : public BpfTest {
 protected:
  // The flags that the exec of /bin/true has after `prepare`, in a child that is plain before.
  std::vector<uint32_t> FlagsAfter(const std::vector<std::function<void()>>& prepare, const std::vector<std::string>& env = {}) {
    if (!started()) {
      Start();
    }
    std::vector<char*> envp;
    for (const std::string& variable : env) {
      envp.push_back(const_cast<char*>(variable.c_str()));
    }
    envp.push_back(nullptr);
    RunInside([&] {
      for (const auto& step : prepare) {
        InChild([&] {
          Plain();
          step();
          char* argv[] = {const_cast<char*>("true"), nullptr};
          execve(kTrue, argv, envp.data());
          MOAT_CHILD_CHECK(false);
        });
      }
    });
    std::vector<uint32_t> flags;
    for (const moat_exec& exec : Of<moat_exec>(MOAT_KIND_EXEC)) {
      flags.push_back(exec.exec_flags & kAll);
      EXPECT_EQ(exec.argv_len, 5u) << "the environment was read where the arguments stand now";
      EXPECT_STREQ(exec.argv, "true");
    }
    EXPECT_EQ(flags.size(), prepare.size());
    return flags;
  }
  // The same of the environment alone.
  uint32_t FlagsOf(const std::vector<std::string>& env) {
    Clear();
    return FlagsAfter({[] {}}, env).at(0);
  }
};

// What a reverse shell does: the socket becomes the streams.
TEST_F(ExecBpfTest, StreamsThatAreASocketAreTold) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  const Fd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
  ASSERT_EQ(listen(listener.get(), 8), 0);
  ASSERT_EQ(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
  const auto connected = [&] {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    MOAT_CHILD_CHECK(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
    return fd;
  };
  const auto to = [&](std::vector<int> streams) {
    return [&connected, streams] {
      const int fd = connected();
      for (const int stream : streams) {
        MOAT_CHILD_CHECK(dup2(fd, stream) == stream);
      }
    };
  };
  const auto flags =
      FlagsAfter({to({0, 1, 2}), to({0}), to({1}), to({2}), to({0, 2}),
                  // Look-alikes: connected, but not by a stream; a stream to a pipe; one that is closed at the exec.
                  [&] { (void)connected(); },
                  [] {
                    int ends[2];
                    MOAT_CHILD_CHECK(pipe(ends) == 0 && dup2(ends[0], 0) == 0 && dup2(ends[1], 1) == 1);
                  },
                  [&] {
                    const int fd = connected();
                    MOAT_CHILD_CHECK(dup2(fd, 0) == 0 && fcntl(0, F_SETFD, FD_CLOEXEC) == 0);
                  }});
  const std::vector<uint32_t> want = {MOAT_EXEC_STDIO_SOCKET | MOAT_EXEC_STDIO_INET,
                                      MOAT_EXEC_STDIN_SOCKET | MOAT_EXEC_STDIO_INET,
                                      MOAT_EXEC_STDOUT_SOCKET | MOAT_EXEC_STDIO_INET,
                                      MOAT_EXEC_STDERR_SOCKET | MOAT_EXEC_STDIO_INET,
                                      MOAT_EXEC_STDIN_SOCKET | MOAT_EXEC_STDERR_SOCKET | MOAT_EXEC_STDIO_INET,
                                      0,
                                      0,
                                      0};
  EXPECT_EQ(flags, want);
}

// As systemd's journal and sshd without a terminal have it: a socket, but of this host alone.
TEST_F(ExecBpfTest, AUnixSocketIsToldApart) {
  const auto flags = FlagsAfter({[] {
    int ends[2];
    MOAT_CHILD_CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    MOAT_CHILD_CHECK(dup2(ends[0], 1) == 1 && dup2(ends[0], 2) == 2);
  }});
  EXPECT_EQ(flags, std::vector<uint32_t>{MOAT_EXEC_STDOUT_SOCKET | MOAT_EXEC_STDERR_SOCKET});
}

TEST_F(ExecBpfTest, AControllingTerminalIsTold) {
  const Fd terminal(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  ASSERT_TRUE(terminal) << std::strerror(errno);
  ASSERT_EQ(grantpt(terminal.get()), 0);
  ASSERT_EQ(unlockpt(terminal.get()), 0);
  const std::string name = ptsname(terminal.get());
  const auto flags = FlagsAfter({[&] {
                                   const int fd = open(name.c_str(), O_RDWR | O_NOCTTY);
                                   MOAT_CHILD_CHECK(fd >= 0 && ioctl(fd, TIOCSCTTY, 0) == 0);
                                   (void)signal(SIGHUP, SIG_IGN);
                                 },
                                 [&] {  // reads from a terminal that is not its own
                                   const int fd = open(name.c_str(), O_RDWR | O_NOCTTY);
                                   MOAT_CHILD_CHECK(dup2(fd, 0) == 0);
                                 }});
  EXPECT_EQ(flags, (std::vector<uint32_t>{MOAT_EXEC_TTY, 0}));
}

TEST_F(ExecBpfTest, VariablesOfTheDynamicLinkerAreTold) {
  EXPECT_EQ(FlagsOf({"LD_PRELOAD="}), 0u) << "empty: nothing is loaded";
  EXPECT_EQ(FlagsOf({"PATH=/bin", "LD_PRELOAD=/nonexistent.so", "HOME=/"}), uint32_t{MOAT_EXEC_PRELOAD});
  EXPECT_EQ(FlagsOf({"LD_AUDIT=x"}), uint32_t{MOAT_EXEC_AUDIT});
  EXPECT_EQ(FlagsOf({"A=", "LD_LIBRARY_PATH=/usr/lib"}), uint32_t{MOAT_EXEC_LIBRARY_PATH});
  EXPECT_EQ(FlagsOf({"LD_LIBRARY_PATH=/usr/lib", "LD_AUDIT=x", "LD_PRELOAD=y"}),
            uint32_t{MOAT_EXEC_PRELOAD | MOAT_EXEC_AUDIT | MOAT_EXEC_LIBRARY_PATH});
  // Look-alikes.
  EXPECT_EQ(FlagsOf({"XLD_PRELOAD=x", "LD_PRELOADS=x", "LD_PRELOA=x", "ld_preload=x", "A=LD_PRELOAD=x", "LD_AUDITX=1", "LD_AUDIT",
                     "LD_LIBRARY_PATHS=x", "LD_LIBRARY_PATH=", ""}),
            0u);
}

TEST_F(ExecBpfTest, AnEnvironmentIsLookedAtAsFarAsItSays) {
  const std::string dummy = "V=1", preload = "LD_PRELOAD=/nonexistent.so";
  std::vector<std::string> env(MOAT_ENV_STRINGS - 1, dummy);
  env.push_back(preload);
  EXPECT_EQ(FlagsOf(env), uint32_t{MOAT_EXEC_PRELOAD}) << "the last that is looked at";
  env.insert(env.begin(), dummy);
  EXPECT_EQ(FlagsOf(env), uint32_t{MOAT_EXEC_ENV_TRUNCATED}) << "one behind it";
  // Long ones, around the size of a piece: the name of a variable in the middle of another one is none.
  for (const size_t size : {1021, 1022, 1023, 1024, 1025, 5000, 100'000}) {
    const std::string value(size - 2, 'x');
    EXPECT_EQ(FlagsOf({"V=" + value, preload}), uint32_t{MOAT_EXEC_PRELOAD}) << size;
    EXPECT_EQ(FlagsOf({"V=" + value + preload}), 0u) << size;
  }
  EXPECT_EQ(FlagsOf({}), 0u);
}

TEST_F(ExecBpfTest, TheScanSaysStreamsAndTerminalToo) {
  Start();
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  const Fd mine(ends[0]), theirs(ends[1]);
  const pid_t inside = Spawn([&] {
    Plain();
    MOAT_CHILD_CHECK(dup2(theirs.get(), 0) == 0);
    char byte = 0;
    MOAT_CHILD_CHECK(write(0, "x", 1) == 1 && read(0, &byte, 1) == 1);
  });
  char byte = 0;
  ASSERT_EQ(read(mine.get(), &byte, 1), 1);
  Scan();
  const auto scanned = Of<moat_exec>(MOAT_KIND_SCAN);
  ASSERT_EQ(scanned.size(), 1u);
  EXPECT_EQ(scanned[0].exec_flags & kAll, uint32_t{MOAT_EXEC_STDIN_SOCKET});
  ASSERT_EQ(write(mine.get(), "x", 1), 1);
  Finish(inside);
}

}  // namespace
}  // namespace moat::test
