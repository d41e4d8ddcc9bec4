// SPDX-License-Identifier: Apache-2.0
// Who reaches into which other process: exact counts by operation and outcome, and the look-alikes that reach into themselves.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <string>
#include <thread>
#include <vector>

#include "bpf/abi/access.h"
#include "tests/bpf/fixture.h"
#include "tests/bpf/workload.h"

namespace moat::test {
namespace {

using ::testing::ElementsAre;

long g_there = 42;  // lies at the same address in a child

// A child that waits for a signal: run in the workload.
template <typename Body>
void WithVictim(Body body) {
  const pid_t victim = fork();
  if (victim == 0) {
    for (;;) {
      pause();
    }
  }
  MOAT_CHILD_CHECK(victim > 0);
  body(victim);
  MOAT_CHILD_CHECK(kill(victim, SIGKILL) == 0 && waitpid(victim, nullptr, __WALL) == victim);
}

void Attach(pid_t pid) { MOAT_CHILD_CHECK(ptrace(PTRACE_ATTACH, pid, nullptr, nullptr) == 0 && waitpid(pid, nullptr, 0) == pid); }

bool Write(pid_t pid) {
  long here = 43;
  iovec local{&here, sizeof(here)}, remote{&g_there, sizeof(g_there)};
  return process_vm_writev(pid, &local, 1, &remote, 1, 0) == sizeof(here);
}

bool Read(pid_t pid) {
  long here = 0;
  iovec local{&here, sizeof(here)}, remote{&g_there, sizeof(g_there)};
  return process_vm_readv(pid, &local, 1, &remote, 1, 0) == sizeof(here);
}

class AccessBpfTest : public BpfTest {
 protected:
  // Counts by operation, of those that failed or of those that did not.
  std::map<uint32_t, std::vector<uint64_t>> Counts(bool failed = false) {
    std::map<uint32_t, std::vector<uint64_t>> counts;
    for (const moat_access& access : Of<moat_access>(MOAT_KIND_PROCESS_ACCESS)) {
      if ((access.result < 0) == failed) {
        counts[access.operation].push_back(access.count);
      }
    }
    return counts;
  }
};

TEST_F(AccessBpfTest, EachOperationIsToldAtPowersOfTwo) {
  Start();
  const pid_t pid = RunInside([] {
    WithVictim([](pid_t victim) {
      for (int i = 0; i < 23; ++i) {
        Attach(victim);
        MOAT_CHILD_CHECK(ptrace(PTRACE_DETACH, victim, nullptr, nullptr) == 0);
        MOAT_CHILD_CHECK(Write(victim) && Read(victim));
      }
      Attach(victim);
      for (int i = 0; i < 5; ++i) {
        MOAT_CHILD_CHECK(ptrace(PTRACE_POKEDATA, victim, &g_there, 44L) == 0);
        MOAT_CHILD_CHECK(ptrace(PTRACE_PEEKDATA, victim, &g_there, nullptr) == 44);
      }
      user_regs_struct registers{};
      iovec whole{&registers, sizeof(registers)};
      MOAT_CHILD_CHECK(ptrace(PTRACE_GETREGSET, victim, 1 /* NT_PRSTATUS */, &whole) == 0);
      MOAT_CHILD_CHECK(ptrace(PTRACE_SETREGSET, victim, 1, &whole) == 0);
    });
  });
  const auto counts = Counts();
  ASSERT_EQ(counts.size(), 5u) << Summary();
  EXPECT_THAT(counts.at(MOAT_ACCESS_ATTACH), ElementsAre(1, 2, 4, 8, 16));
  EXPECT_THAT(counts.at(MOAT_ACCESS_VM_WRITE), ElementsAre(1, 2, 4, 8, 16));
  EXPECT_THAT(counts.at(MOAT_ACCESS_VM_READ), ElementsAre(1, 2, 4, 8, 16));
  EXPECT_THAT(counts.at(MOAT_ACCESS_POKE), ElementsAre(1, 2, 4));
  EXPECT_THAT(counts.at(MOAT_ACCESS_REGISTERS), ElementsAre(1));
  EXPECT_TRUE(Counts(/*failed=*/true).empty());
  const auto forks = Of<moat_fork>(MOAT_KIND_FORK);
  ASSERT_EQ(forks.size(), 1u);
  for (const moat_access& access : Of<moat_access>(MOAT_KIND_PROCESS_ACCESS)) {
    EXPECT_EQ(access.hdr.pid, static_cast<uint32_t>(pid));
    EXPECT_EQ(access.target_pid, forks[0].child_pid);
    EXPECT_EQ(access.target_start_ns, forks[0].child_start_ns);
    EXPECT_EQ(access.target_uid, 0u);
    EXPECT_STREQ(access.target_comm, access.hdr.comm);
    EXPECT_EQ(access.target_labels, 0u);
    EXPECT_EQ(access.result, access.operation == MOAT_ACCESS_VM_READ || access.operation == MOAT_ACCESS_VM_WRITE ? 8 : 0);
  }
}

TEST_F(AccessBpfTest, WhatIsRefusedIsCountedApart) {
  Start();
  RunInside([] {
    WithVictim([](pid_t victim) {
      Attach(victim);
      for (int i = 0; i < 3; ++i) {
        MOAT_CHILD_CHECK(ptrace(PTRACE_ATTACH, victim, nullptr, nullptr) == -1 && errno == EPERM);  // it is traced
      }
      iovec local{&g_there, sizeof(g_there)}, remote{nullptr, 8};
      MOAT_CHILD_CHECK(process_vm_writev(victim, &local, 1, &remote, 1, 0) == -1 && errno == EFAULT);
      MOAT_CHILD_CHECK(!Read(0x3fffff));  // nobody has that number
    });
  });
  EXPECT_THAT(Counts()[MOAT_ACCESS_ATTACH], ElementsAre(1));
  const auto failed = Counts(/*failed=*/true);
  ASSERT_EQ(failed.size(), 2u) << Summary();
  EXPECT_THAT(failed.at(MOAT_ACCESS_ATTACH), ElementsAre(1, 2));
  EXPECT_THAT(failed.at(MOAT_ACCESS_VM_WRITE), ElementsAre(1));
}

// Benign: into itself and its own threads; asked to be traced; looked at without being changed.
TEST_F(AccessBpfTest, WhoReachesIntoItselfIsNotTold) {
  Start();
  RunInside([] {
    for (int i = 0; i < 23; ++i) {
      MOAT_CHILD_CHECK(Write(getpid()) && Read(getpid()));
      std::jthread([] { MOAT_CHILD_CHECK(Write(gettid()) && Read(getpid())); });
      InChild([] { MOAT_CHILD_CHECK(ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) == 0); });
    }
  });
  EXPECT_EQ(Count(MOAT_KIND_PROCESS_ACCESS), 0u);
}

TEST_F(AccessBpfTest, OutsideTheScopeNothingIsTold) {
  Start();
  RunOutside([] { WithVictim([](pid_t victim) { MOAT_CHILD_CHECK(Write(victim)); }); });
  EXPECT_EQ(Count(MOAT_KIND_PROCESS_ACCESS), 0u);
}

// A number means another process there, and a thread's leads to its process.
TEST_F(AccessBpfTest, NumbersAreThoseOfTheCallersNamespace) {
  Start();
  RunInside([] {
    MOAT_CHILD_CHECK(unshare(CLONE_NEWPID) == 0);
    InChild([] {
      MOAT_CHILD_CHECK(getpid() == 1);
      WithVictim([](pid_t victim) {
        MOAT_CHILD_CHECK(victim == 2);
        MOAT_CHILD_CHECK(Write(victim));
      });
    });
  });
  const auto accesses = Of<moat_access>(MOAT_KIND_PROCESS_ACCESS);
  const auto forks = Of<moat_fork>(MOAT_KIND_FORK);
  ASSERT_EQ(accesses.size(), 1u);
  ASSERT_EQ(forks.size(), 2u);
  EXPECT_EQ(accesses[0].hdr.pid, forks[0].child_pid);
  EXPECT_EQ(accesses[0].target_pid, forks[1].child_pid);
  EXPECT_EQ(accesses[0].target_start_ns, forks[1].child_start_ns);
}

TEST_F(AccessBpfTest, TheTargetsLabelsAreTold) {
  const TempDir dir;
  WriteFile(dir.File("weights"), std::string(4096, 'w'));
  config().assets = {{.name = "model", .paths = {dir.path()}}};
  Start();
  RunInside([&] {
    int ends[2];
    MOAT_CHILD_CHECK(pipe(ends) == 0);
    const pid_t victim = fork();
    if (victim == 0) {
      char bytes[16];
      const int fd = open(dir.File("weights").c_str(), O_RDONLY);
      MOAT_CHILD_CHECK(read(fd, bytes, sizeof(bytes)) == sizeof(bytes) && write(ends[1], "x", 1) == 1);
      for (;;) {
        pause();
      }
    }
    char byte = 0;
    MOAT_CHILD_CHECK(read(ends[0], &byte, 1) == 1);
    Attach(victim);
    MOAT_CHILD_CHECK(kill(victim, SIGKILL) == 0 && waitpid(victim, nullptr, __WALL) == victim);
  });
  const auto accesses = Of<moat_access>(MOAT_KIND_PROCESS_ACCESS);
  ASSERT_EQ(accesses.size(), 1u);
  EXPECT_EQ(accesses[0].target_labels, 1u);
}

TEST_F(AccessBpfTest, OpeningTheMemoryFileOfAnotherIsTold) {
  Start();
  if (const std::string why = Exposed("process.memory"); !why.empty()) {
    GTEST_SKIP() << why;
  }
  RunInside([] {
    WithVictim([](pid_t victim) {
      const std::string directory = "/proc/" + std::to_string(victim);
      for (int i = 0; i < 3; ++i) {
        MOAT_CHILD_CHECK(close(open((directory + "/mem").c_str(), O_RDWR)) == 0);
        MOAT_CHILD_CHECK(close(open((directory + "/mem").c_str(), O_RDONLY)) == 0);
        // Look-alikes: its own, and what tells no bytes.
        MOAT_CHILD_CHECK(close(open("/proc/self/mem", O_RDWR)) == 0);
        MOAT_CHILD_CHECK(close(open((directory + "/maps").c_str(), O_RDONLY)) == 0);
      }
    });
  });
  const auto counts = Counts();
  ASSERT_EQ(counts.size(), 2u) << Summary();
  EXPECT_THAT(counts.at(MOAT_ACCESS_MEM_WRITE), ElementsAre(1, 2));
  EXPECT_THAT(counts.at(MOAT_ACCESS_MEM_READ), ElementsAre(1, 2));
}

}  // namespace
}  // namespace moat::test
