// SPDX-License-Identifier: Apache-2.0
// Process life as the kernel reports it: exact counts and fields of fork, exec and exit, and the scan of who was here before.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>
#include <string>
#include <thread>
#include <vector>

#include "bpf/abi/process.h"
#include "tests/bpf/fixture.h"
#include "tests/bpf/workload.h"

namespace moat::test {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

constexpr const char* kTrue = "/bin/true";

// The names of an exec record, outermost first, as a path.
std::string PathOf(const moat_exec& exec) {
  std::string path, names(exec.path, exec.path_len);
  for (size_t at = 0; at < names.size(); at += strlen(&names[at]) + 1) {
    path = "/" + std::string(&names[at]) + path;
  }
  return path;
}

std::vector<std::string> ArgvOf(const moat_exec& exec) {
  std::vector<std::string> argv;
  const std::string bytes(exec.argv, exec.argv_len);
  for (size_t at = 0; at < bytes.size(); at += strlen(&bytes[at]) + 1) {
    argv.emplace_back(&bytes[at]);
  }
  return argv;
}

class ProcessBpfTest : public BpfTest {
 protected:
  // The only exec in the stream.
  moat_exec TheExec() {
    const auto execs = Of<moat_exec>(MOAT_KIND_EXEC);
    EXPECT_EQ(execs.size(), 1u);
    return execs.at(0);
  }
};

TEST_F(ProcessBpfTest, EveryForkOnceWithBothIdentities) {
  Start();
  constexpr int kForks = 23;
  RunInside([] {
    for (int i = 0; i < kForks; ++i) {
      InChild([] {});
    }
  });
  const auto forks = Of<moat_fork>(MOAT_KIND_FORK);
  const auto exits = Of<moat_exit>(MOAT_KIND_EXIT);
  ASSERT_EQ(forks.size(), size_t{kForks});
  ASSERT_EQ(exits.size(), size_t{kForks} + 1);  // and the parent's own
  std::set<std::pair<uint32_t, uint64_t>> children;
  for (const moat_fork& fork : forks) {
    EXPECT_EQ(fork.hdr.pid, exits.back().hdr.pid);
    EXPECT_EQ(fork.hdr.start_ns, exits.back().hdr.start_ns);
    EXPECT_EQ(fork.hdr.cgroup_id, cgroup_id());
    EXPECT_EQ(fork.hdr.size, sizeof(moat_fork));
    children.emplace(fork.child_pid, fork.child_start_ns);
  }
  EXPECT_EQ(children.size(), size_t{kForks});
  for (size_t i = 0; i < kForks; ++i) {
    EXPECT_EQ(children.count({exits[i].hdr.pid, exits[i].hdr.start_ns}), 1u) << "exit of a process that was never forked";
  }
}

TEST_F(ProcessBpfTest, ANeighbourOutsideTheScopeGivesNothing) {
  Start();
  const auto work = [] {
    for (int i = 0; i < 23; ++i) {
      InChild([] { execl(kTrue, "true", nullptr); });
    }
  };
  RunOutside(work);
  EXPECT_EQ(records().size(), 0u);
  RunInside(work);  // the same, inside
  EXPECT_EQ(Of<moat_fork>(MOAT_KIND_FORK).size(), 23u);
  EXPECT_EQ(Of<moat_exec>(MOAT_KIND_EXEC).size(), 23u);
  EXPECT_EQ(Of<moat_exit>(MOAT_KIND_EXIT).size(), 24u);
}

TEST_F(ProcessBpfTest, ThreadsAreNotProcesses) {
  Start();
  RunInside([] {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 23; ++i) {
      threads.emplace_back([] {});
    }
  });
  EXPECT_EQ(Of<moat_fork>(MOAT_KIND_FORK).size(), 0u);
  EXPECT_EQ(Of<moat_exit>(MOAT_KIND_EXIT).size(), 1u);
}

TEST_F(ProcessBpfTest, ExecSaysWhatWasAskedAndWhatRuns) {
  const TempDir dir;
  ASSERT_EQ(symlink(kTrue, dir.File("link").c_str()), 0);
  Start();
  const pid_t pid = RunInside([&] { execl(dir.File("link").c_str(), "zero", "one", "", "two words", nullptr); });
  const moat_exec exec = TheExec();
  EXPECT_EQ(exec.filename, dir.File("link"));
  char real[PATH_MAX];
  ASSERT_NE(realpath(kTrue, real), nullptr);
  EXPECT_EQ(PathOf(exec), real);
  EXPECT_THAT(ArgvOf(exec), ElementsAre("zero", "one", "", "two words"));
  EXPECT_EQ(exec.argv_total, exec.argv_len);
  EXPECT_EQ(exec.exec_flags & 0x3fu, 0u) << "the rest is of where the tests run: exec_bpf_test.cc";
  EXPECT_EQ(exec.hdr.flags, 0u);
  EXPECT_EQ(exec.hdr.pid, static_cast<uint32_t>(pid));
  EXPECT_EQ(exec.ppid, static_cast<uint32_t>(getpid()));
  struct stat st{};
  ASSERT_EQ(stat(kTrue, &st), 0);
  EXPECT_EQ(exec.inode, st.st_ino);
  EXPECT_EQ(exec.dev, KernelDev(st.st_dev));
  EXPECT_EQ(exec.nlink, st.st_nlink);
  EXPECT_NE(exec.cap_effective, 0u);
  // What is not filled is clear: no byte of an older record passes.
  EXPECT_THAT(std::string(exec.argv + exec.argv_len, sizeof(exec.argv) - exec.argv_len), Each('\0'));
  EXPECT_THAT(std::string(exec.path + exec.path_len, sizeof(exec.path) - exec.path_len), Each('\0'));
}

TEST_F(ProcessBpfTest, ArgumentsAreCutAtTheLimitAndSaySo) {
  Start();
  const std::string exact(MOAT_ARGV_LEN - 6, 'x');  // "true", NUL, and its own NUL
  const std::string longer(MOAT_ARGV_LEN - 5, 'y');
  RunInside([&] {
    InChild([&] { execl(kTrue, "true", exact.c_str(), nullptr); });
    InChild([&] { execl(kTrue, "true", longer.c_str(), nullptr); });
  });
  const auto execs = Of<moat_exec>(MOAT_KIND_EXEC);
  ASSERT_EQ(execs.size(), 2u);
  EXPECT_EQ(execs[0].argv_total, uint32_t{MOAT_ARGV_LEN});
  EXPECT_EQ(execs[0].exec_flags & MOAT_EXEC_ARGV_TRUNCATED, 0u);
  EXPECT_THAT(ArgvOf(execs[0]), ElementsAre("true", exact));
  EXPECT_EQ(execs[1].argv_total, uint32_t{MOAT_ARGV_LEN} + 1);
  EXPECT_EQ(execs[1].argv_len, MOAT_ARGV_LEN);
  EXPECT_NE(execs[1].exec_flags & MOAT_EXEC_ARGV_TRUNCATED, 0u);
  EXPECT_EQ(std::string(execs[1].argv, MOAT_ARGV_LEN), std::string("true\0", 5) + longer);
}

TEST_F(ProcessBpfTest, DeepPathsKeepTheirInnermostNames) {
  const TempDir dir;
  std::string deep = dir.path();
  const std::string name(200, 'n');
  for (int i = 0; i < 4; ++i) {  // 4 * 201 > MOAT_PATH_LEN
    deep += "/" + name;
    ASSERT_EQ(mkdir(deep.c_str(), 0755), 0);
  }
  CopyFile(kTrue, deep + "/true", 0755);
  Start();
  RunInside([&] { execl((deep + "/true").c_str(), "true", nullptr); });
  const moat_exec exec = TheExec();
  EXPECT_NE(exec.exec_flags & MOAT_EXEC_PATH_TRUNCATED, 0u);
  EXPECT_EQ(PathOf(exec), "/" + name + "/" + name + "/" + name + "/true");  // whole names only
  EXPECT_THAT(ArgvOf(exec), ElementsAre("true"));
  EXPECT_NE(exec.hdr.flags & MOAT_F_TRUNCATED, 0u);  // the name as asked: over 800 of 256 bytes
}

TEST_F(ProcessBpfTest, AMemfdAndADeletedFileAreTold) {
  const TempDir dir;
  CopyFile(kTrue, dir.File("gone"), 0755);
  CopyFile(kTrue, dir.File("memfd:fake"), 0755);
  Start();
  RunInside([&] {
    InChild([&] {
      const int memory = memfd_create("payload", MFD_CLOEXEC);
      const std::string bytes = ReadFile(kTrue);
      MOAT_CHILD_CHECK(write(memory, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
      char* argv[] = {const_cast<char*>("m"), nullptr};
      fexecve(memory, argv, environ);
    });
    InChild([&] {
      const int fd = open(dir.File("gone").c_str(), O_RDONLY | O_CLOEXEC);
      MOAT_CHILD_CHECK(unlink(dir.File("gone").c_str()) == 0);
      char* argv[] = {const_cast<char*>("d"), nullptr};
      fexecve(fd, argv, environ);
    });
    InChild([&] { execl(dir.File("memfd:fake").c_str(), "f", nullptr); });
  });
  const auto execs = Of<moat_exec>(MOAT_KIND_EXEC);
  ASSERT_EQ(execs.size(), 3u);
  EXPECT_NE(execs[0].exec_flags & MOAT_EXEC_MEMFD, 0u);
  EXPECT_EQ(PathOf(execs[0]), "/memfd:payload");
  EXPECT_EQ(execs[1].exec_flags & (MOAT_EXEC_MEMFD | MOAT_EXEC_DELETED), MOAT_EXEC_DELETED);
  EXPECT_EQ(execs[1].nlink, 0u);
  EXPECT_EQ(execs[2].exec_flags & (MOAT_EXEC_MEMFD | MOAT_EXEC_DELETED), 0u) << "a file only named like a memfd";
}

TEST_F(ProcessBpfTest, IdsAndCapabilitiesAreThoseOfTheNewImage) {
  Start();
  RunInside([] {
    MOAT_CHILD_CHECK(setresgid(4321, 4321, 4321) == 0);
    MOAT_CHILD_CHECK(setresuid(1234, 1234, 1234) == 0);
    execl(kTrue, "true", nullptr);
  });
  const moat_exec exec = TheExec();
  EXPECT_EQ(exec.hdr.uid, 1234u);
  EXPECT_EQ(exec.euid, 1234u);
  EXPECT_EQ(exec.gid, 4321u);
  EXPECT_EQ(exec.cap_permitted, 0u);
  EXPECT_EQ(exec.cap_effective, 0u);
  EXPECT_EQ(exec.exec_flags & MOAT_EXEC_SETUID, 0u);
}

TEST_F(ProcessBpfTest, ASetuidImageIsTold) {
  const TempDir dir;
  CopyFile(kTrue, dir.File("suid"), 04755);
  ASSERT_EQ(chmod(dir.path().c_str(), 0755), 0);
  Start();
  RunInside([&] {
    MOAT_CHILD_CHECK(setresuid(1234, 1234, 1234) == 0);
    execl(dir.File("suid").c_str(), "suid", nullptr);
  });
  const moat_exec exec = TheExec();
  EXPECT_EQ(exec.hdr.uid, 1234u);
  EXPECT_EQ(exec.euid, 0u);
  EXPECT_NE(exec.exec_flags & MOAT_EXEC_SETUID, 0u);
  EXPECT_NE(exec.cap_effective, 0u);
}

// The path is the one inside the process's own mount namespace.
TEST_F(ProcessBpfTest, ABindMountedImageHasThePathOfItsMount) {
  const TempDir dir;
  ASSERT_EQ(mkdir(dir.File("from").c_str(), 0755), 0);
  ASSERT_EQ(mkdir(dir.File("to").c_str(), 0755), 0);
  CopyFile(kTrue, dir.File("from/true"), 0755);
  Start();
  RunInside([&] {
    MOAT_CHILD_CHECK(unshare(CLONE_NEWNS) == 0);
    MOAT_CHILD_CHECK(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
    MOAT_CHILD_CHECK(mount(dir.File("from").c_str(), dir.File("to").c_str(), nullptr, MS_BIND, nullptr) == 0);
    execl(dir.File("to/true").c_str(), "true", nullptr);
  });
  EXPECT_EQ(PathOf(TheExec()), dir.File("to/true"));
}

TEST_F(ProcessBpfTest, ExitCodesAndSignals) {
  Start();
  constexpr int kSignals[] = {SIGKILL, SIGTERM, SIGABRT, SIGSEGV};
  RunInside([&] {
    const rlimit no_core{0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    for (int code = 0; code < 23; ++code) {
      InChild([code] { _exit(code); });
    }
    for (const int signal : kSignals) {
      InChild([signal] { kill(getpid(), signal), pause(); });
    }
    InChild([] {  // the whole group ends by a thread that is not its leader
      std::thread([] { syscall(SYS_exit_group, 77); }).join();
    });
  });
  const auto exits = Of<moat_exit>(MOAT_KIND_EXIT);
  ASSERT_EQ(exits.size(), 23u + std::size(kSignals) + 2);
  for (uint32_t code = 0; code < 23; ++code) {
    EXPECT_EQ(exits[code].code, code);
    EXPECT_EQ(exits[code].signal, 0u);
  }
  for (size_t i = 0; i < std::size(kSignals); ++i) {
    EXPECT_EQ(exits[23 + i].signal, static_cast<uint32_t>(kSignals[i]));
    EXPECT_EQ(exits[23 + i].code, 0u);
    EXPECT_EQ(exits[23 + i].core, 0u);
  }
  EXPECT_EQ(exits[23 + std::size(kSignals)].code, 77u);
}

// de_thread (fs/exec.c) gives the calling thread the leader's pid and start time: the same process goes on.
TEST_F(ProcessBpfTest, ExecByAThreadKeepsTheIdentity) {
  Start();
  RunInside([] {
    InChild([] {
      std::thread([] { execl(kTrue, "true", nullptr); }).join();
      _exit(99);
    });
  });
  const auto forks = Of<moat_fork>(MOAT_KIND_FORK);
  ASSERT_EQ(forks.size(), 1u);
  const moat_exec exec = TheExec();
  EXPECT_EQ(exec.hdr.pid, forks[0].child_pid);
  EXPECT_EQ(exec.hdr.tid, forks[0].child_pid);
  EXPECT_EQ(exec.hdr.start_ns, forks[0].child_start_ns);
  const auto exits = Of<moat_exit>(MOAT_KIND_EXIT);
  ASSERT_EQ(exits.size(), 2u);  // neither the old leader nor the thread counts as one
  EXPECT_EQ(exits[0].hdr.start_ns, forks[0].child_start_ns);
}

TEST_F(ProcessBpfTest, TheScanSeesWhoIsAlreadyRunningExactly) {
  Start();
  const pid_t inside = Spawn([] { execl("/bin/sleep", "sleep", "60", nullptr); });
  for (int i = 0; i < 1000 && Count(MOAT_KIND_EXEC) == 0; ++i) {
    usleep(1000);
    DrainAll();
  }
  const moat_exec seen = TheExec();
  Scan();
  const auto scanned = Of<moat_exec>(MOAT_KIND_SCAN);
  ASSERT_EQ(scanned.size(), 1u);  // the neighbour and this process are out of scope
  const moat_exec& scan = scanned[0];
  EXPECT_EQ(scan.hdr.kind, MOAT_KIND_SCAN);
  EXPECT_EQ(scan.hdr.pid, static_cast<uint32_t>(inside));
  EXPECT_EQ(scan.hdr.start_ns, seen.hdr.start_ns);
  EXPECT_EQ(scan.hdr.cgroup_id, seen.hdr.cgroup_id);
  EXPECT_EQ(scan.ppid, static_cast<uint32_t>(getpid()));
  EXPECT_EQ(scan.parent_start_ns, seen.parent_start_ns);
  EXPECT_EQ(PathOf(scan), PathOf(seen));
  EXPECT_EQ(scan.inode, seen.inode);
  EXPECT_EQ(scan.cap_effective, seen.cap_effective);
  EXPECT_EQ(scan.argv_len, 0u);
  EXPECT_STREQ(scan.filename, "");
  kill(inside, SIGKILL);
  Finish(inside, SIGKILL);
}

}  // namespace
}  // namespace moat::test
