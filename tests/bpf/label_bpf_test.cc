// SPDX-License-Identifier: Apache-2.0
// Labels: who has read or mapped an asset carries it, so do the children made from then on, and an exec does not wash it off.
#include <gmock/gmock.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <csignal>

#include <thread>

#include "tests/bpf/file_kit.h"

namespace moat::test {
namespace {

class LabelBpfTest : public AssetBpfTest {
 protected:
  // The labels in a process's exit record.
  uint64_t AtExit(uint32_t pid) {
    const auto exits = Of<moat_exit>(MOAT_KIND_EXIT, static_cast<pid_t>(pid));
    EXPECT_EQ(exits.size(), 1u) << "exit of " << pid;
    return exits.empty() ? ~0ull : exits[0].hdr.labels;
  }
};

void ReadByte(const std::string& path) {
  const int fd = MustOpen(path, O_RDONLY);
  char byte;
  MOAT_CHILD_CHECK(read(fd, &byte, 1) == 1);
  close(fd);
}

void MapPage(const std::string& path) {
  const int fd = MustOpen(path, O_RDONLY);
  MOAT_CHILD_CHECK(mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, fd, 0) != MAP_FAILED);
  close(fd);
}

TEST_F(LabelBpfTest, ReadingAndMappingLabelAndOpeningDoesNot) {
  Start();
  EXPECT_EQ(AtExit(RunInside([&] { close(MustOpen(weights(), O_RDONLY)); })), 0u);
  EXPECT_EQ(AtExit(RunInside([&] { ReadByte(weights()); })), 1u);
  EXPECT_EQ(AtExit(RunInside([&] { MapPage(second()); })), 2u);
  EXPECT_EQ(AtExit(RunInside([&] { ReadByte(second()), MapPage(weights()); })), 3u);
  EXPECT_EQ(AtExit(RunInside([&] { ReadByte(other()); })), 0u);
}

void PinTo(int cpu) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  MOAT_CHILD_CHECK(sched_setaffinity(0, sizeof(one), &one) == 0);
}

// A reader that is forever inside the hooks, and others that preempt it on its processor: the kernel may skip a program that is being
// run there already, but not the one that labels. For each of the others one read, or one mapping, is all there is to see.
TEST_F(LabelBpfTest, WhoReadsWhileAnotherIsPreemptedIsLabelled) {
  Start();
  if (const std::string why = Exposed("file.read_label"); !why.empty()) {
    GTEST_SKIP() << why;
  }
  constexpr int kReaders = 60;
  RunInside([&] {
    PinTo(0);
    const pid_t busy = fork();
    MOAT_CHILD_CHECK(busy >= 0);
    if (busy == 0) {
      const int file = MustOpen(other(), O_RDONLY);
      char byte;
      for (;;) {
        MOAT_CHILD_CHECK(pread(file, &byte, 1, 0) == 1);
      }
    }
    for (int i = 0; i < kReaders; ++i) {
      const pid_t pid = fork();
      if (pid == 0) {
        const int file = MustOpen(weights(), O_RDONLY);
        usleep(1000);  // and wakes up in the middle of the other's turn
        char byte;
        MOAT_CHILD_CHECK(i % 2 == 0 ? pread(file, &byte, 1, 0) == 1
                                    : mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, file, 0) != MAP_FAILED);
        _exit(0);
      }
      MOAT_CHILD_CHECK(waitpid(pid, nullptr, 0) == pid);
    }
    kill(busy, SIGKILL);
    MOAT_CHILD_CHECK(waitpid(busy, nullptr, 0) == busy);
  });
  const auto forks = Of<moat_fork>(MOAT_KIND_FORK);
  ASSERT_EQ(forks.size(), size_t{kReaders} + 1);
  for (size_t i = 1; i < forks.size(); ++i) {
    EXPECT_EQ(AtExit(forks[i].child_pid), 1u) << "reader " << i;
  }
}

// Others that fork all the time on the same processor, and preempt, must not cost a child its parent's label.
TEST_F(LabelBpfTest, ChildrenInheritWhileOthersFork) {
  Start();
  constexpr int kOthers = 3, kChildren = 200;
  const pid_t parent = RunInside([&] {
    PinTo(0);
    pid_t others[kOthers];
    for (pid_t& other : others) {
      other = fork();
      while (other == 0) {
        InChild([] {});
      }
    }
    ReadByte(weights());
    for (int i = 0; i < kChildren; ++i) {
      InChild([] {});
    }
    for (const pid_t other : others) {
      kill(other, SIGKILL);
      MOAT_CHILD_CHECK(waitpid(other, nullptr, 0) == other);
    }
  });
  int children = 0;
  for (const moat_fork& fork : Of<moat_fork>(MOAT_KIND_FORK, parent)) {
    children += fork.hdr.labels == 1 ? 1 : 0;
  }
  EXPECT_EQ(children, kChildren) << Missed(MOAT_KIND_FORK) << " missed";
}

TEST_F(LabelBpfTest, ChildrenInheritFromThenOnAndKeepItOverExec) {
  Start();
  const pid_t pid = RunInside([&] {
    InChild([] {});  // before: nothing to inherit
    ReadByte(weights());
    InChild([&] {  // after: the label, and one of its own that the parent does not get
      MapPage(second());
      InChild([] { execl("/bin/true", "true", nullptr); });
    });
    InChild([] {});
  });
  const auto forks = Of<moat_fork>(MOAT_KIND_FORK);
  ASSERT_EQ(forks.size(), 4u);
  std::vector<uint64_t> in_fork, at_exit;
  for (const moat_fork& fork : forks) {
    in_fork.push_back(fork.hdr.labels);
    at_exit.push_back(AtExit(fork.child_pid));
  }
  EXPECT_THAT(in_fork, ::testing::ElementsAre(0, 1, 3, 1));
  EXPECT_THAT(at_exit, ::testing::ElementsAre(0, 3, 3, 1));
  EXPECT_EQ(AtExit(static_cast<uint32_t>(pid)), 1u);
  const auto execs = Of<moat_exec>(MOAT_KIND_EXEC);
  ASSERT_EQ(execs.size(), 1u);
  EXPECT_EQ(execs[0].hdr.labels, 3u);
}

TEST_F(LabelBpfTest, AnExecByAThreadKeepsTheLabel) {
  Start();
  RunInside([&] {
    ReadByte(weights());
    // Longer than the grace period after which the old leader's task_struct is freed.
    std::thread([] { execl("/bin/sleep", "sleep", "0.5", nullptr); }).join();
  });
  const auto execs = Of<moat_exec>(MOAT_KIND_EXEC);
  ASSERT_EQ(execs.size(), 1u);
  EXPECT_EQ(execs[0].hdr.labels, 1u);
  EXPECT_EQ(AtExit(execs[0].hdr.pid), 1u) << "the old leader's end takes nothing away";
}

TEST_F(LabelBpfTest, AnyThreadsReadingLabelsTheWholeProcess) {
  Start();
  RunInside([&] {
    std::thread([&] { ReadByte(weights()); }).join();
    InChild([] {});
  });
  const auto forks = Of<moat_fork>(MOAT_KIND_FORK);
  ASSERT_EQ(forks.size(), 1u);
  EXPECT_EQ(AtExit(forks[0].child_pid), 1u);
}

// The records of these forks find no room; their labels must not depend on it.
TEST_F(LabelBpfTest, LabelsAreInheritedWhenTheRingIsFull) {
  config().ring_urgent_bytes = 4096;
  Start();
  int ready[2];
  ASSERT_EQ(pipe2(ready, O_CLOEXEC), 0);
  const pid_t pid = Spawn([&] {
    ReadByte(weights());
    for (int i = 0; i < 100; ++i) {  // 100 forks and exits: far more than 4096 bytes
      InChild([] {});
    }
    InChild([&] {
      InChild([&] {
        MOAT_CHILD_CHECK(write(ready[1], "x", 1) == 1);
        usleep(300'000);  // until the test has made room
        MapPage(second());
      });
    });
  });
  char byte;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  Finish(pid);
  close(ready[0]);
  close(ready[1]);
  const KindLedger ledger = Ledger(MOAT_KIND_FORK);
  EXPECT_GT(ledger.lost[static_cast<size_t>(LostReason::kRingFull)], 0u) << "the ring was never full: this shows nothing";
  const auto maps = Of<moat_file_map>(MOAT_KIND_FILE_MAP);
  ASSERT_EQ(maps.size(), 1u);
  EXPECT_EQ(maps[0].hdr.labels, 3u);
}

}  // namespace
}  // namespace moat::test
