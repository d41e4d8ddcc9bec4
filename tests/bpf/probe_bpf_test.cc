// SPDX-License-Identifier: Apache-2.0
// The probe itself: what it sees is exactly the scope, and it sleeps and wakes as it says.
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string_view>
#include <thread>

#include "tests/bpf/fixture.h"

namespace moat::test {
namespace {

class ProbeTest : public BpfTest {};

void ForkAndWait(int times) {
  for (int i = 0; i < times; ++i) {
    const pid_t pid = fork();
    if (pid == 0) {
      _exit(0);
    }
    MOAT_CHILD_CHECK(pid > 0 && waitpid(pid, nullptr, 0) == pid);
  }
}

TEST_F(ProbeTest, SeesTheScopeAndNothingBesideIt) {
  Start();
  const pid_t beside = RunOutside([] { ForkAndWait(23); });
  EXPECT_TRUE(records().empty()) << Summary() << " from pid " << beside;
  const pid_t inside = RunInside([] { ForkAndWait(23); });
  EXPECT_EQ(Of<moat_fork>(MOAT_KIND_FORK, inside).size(), 23u);
  EXPECT_EQ(Of<moat_exit>(MOAT_KIND_EXIT).size(), 24u);  // the workload's own as well
  for (const auto& exit : Of<moat_exit>(MOAT_KIND_EXIT)) {
    EXPECT_EQ(exit.hdr.cgroup_id, cgroup_id());
  }
}

TEST_F(ProbeTest, TheScanListsParentsFirstAndOnlyTheScope) {
  config().file = config().gpu = config().net = false;
  int ready[2], go[2];
  ASSERT_EQ(pipe2(ready, O_CLOEXEC) | pipe2(go, O_CLOEXEC), 0);
  const auto work = [&] {  // a process and its three children, all waiting
    for (int i = 0; i < 3; ++i) {
      if (fork() == 0) {
        char byte = 1;
        MOAT_CHILD_CHECK(write(ready[1], &byte, 1) == 1 && read(go[0], &byte, 1) == 1);
        _exit(0);
      }
    }
    while (waitpid(-1, nullptr, 0) > 0) {
    }
  };
  const pid_t inside = Spawn(work), beside = Spawn(work, /*inside=*/false);
  char bytes[6];
  for (size_t have = 0; have < sizeof(bytes);) {
    const ssize_t got = read(ready[0], bytes, sizeof(bytes) - have);
    ASSERT_GT(got, 0);
    have += static_cast<size_t>(got);
  }
  Start();
  Scan();
  const auto found = Of<moat_exec>(MOAT_KIND_SCAN);
  ASSERT_EQ(found.size(), 4u) << "the process and its children in the cgroup";
  EXPECT_EQ(found[0].hdr.pid, static_cast<uint32_t>(inside));
  for (size_t i = 1; i < found.size(); ++i) {
    EXPECT_EQ(found[i].ppid, static_cast<uint32_t>(inside));
    EXPECT_EQ(found[i].parent_start_ns, found[0].hdr.start_ns);
  }
  ASSERT_EQ(write(go[1], bytes, 6), 6);
  Finish(inside);
  Finish(beside);
  EXPECT_EQ(Of<moat_exit>(MOAT_KIND_EXIT).size(), 4u);
  for (const int fd : {ready[0], ready[1], go[0], go[1]}) {
    close(fd);
  }
}

// A reader that sleeps is woken by the next record, not by its time-out; and by Wake.
TEST_F(ProbeTest, SleepEndsWithTheNextRecord) {
  using Clock = std::chrono::steady_clock;
  config().file = config().gpu = config().net = false;
  Start();
  for (int i = 0; i < 20; ++i) {
    const pid_t pid = Spawn([] { usleep(20000); });
    const auto begin = Clock::now();
    probe().Sleep(10000);
    EXPECT_LT(Clock::now() - begin, std::chrono::seconds(5)) << "round " << i;
    Finish(pid);
  }
  EXPECT_EQ(Count(MOAT_KIND_EXIT), 20u);
  const auto begin = Clock::now();
  probe().Sleep(100);
  EXPECT_GE(Clock::now() - begin, std::chrono::milliseconds(90)) << "nothing happened, so it sleeps";
  std::thread waker([this] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    probe().Wake();
  });
  probe().Sleep(10000);
  waker.join();
  EXPECT_LT(Clock::now() - begin, std::chrono::seconds(5));
}

TEST_F(ProbeTest, AFullRingIsCountedToTheLastRecord) {
  config().ring_urgent_bytes = 4096;
  config().file = config().gpu = config().net = false;
  Start();
  const pid_t pid = Spawn([] { ForkAndWait(500); });
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(pid), nullptr, WEXITED | WNOWAIT), 0);  // nobody drains meanwhile
  Finish(pid);
  const KindLedger forks = Ledger(MOAT_KIND_FORK), exits = Ledger(MOAT_KIND_EXIT);
  EXPECT_EQ(forks.attempted, 500u);
  EXPECT_EQ(exits.attempted, 501u);
  EXPECT_EQ(Count(MOAT_KIND_FORK) + forks.lost[static_cast<size_t>(LostReason::kRingFull)], 500u);
  EXPECT_EQ(Count(MOAT_KIND_EXIT) + exits.lost[static_cast<size_t>(LostReason::kRingFull)], 501u);
  EXPECT_GT(forks.lost[static_cast<size_t>(LostReason::kRingFull)], 400u);
}

TEST_F(ProbeTest, AMissingScopeIsAnErrorThatSaysWhatToDo) {
  config::Config wrong = config();
  wrong.scope += "-not-there";
  auto started = probe::Probe::Start(wrong);
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, Code::kNotFound);
  EXPECT_NE(started.error().message.find(wrong.scope), std::string::npos) << started.error().message;
  EXPECT_NE(started.error().message.find("create it"), std::string::npos) << started.error().message;
  wrong.scope = "kubepods.slice";
  started = probe::Probe::Start(wrong);
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, Code::kInvalidArgument) << started.error().message;
}

TEST_F(ProbeTest, ADomainSwitchedOffLeavesTheOthers) {
  config().process = config().net = false;
  Start();  // checks that exactly the others are loaded, with every hook
  for (const DomainStatus& domain : probe().Domains()) {
    if (domain.name == "process" || domain.name == "net") {
      EXPECT_EQ(domain.error, "switched off by configuration");
    }
  }
  RunInside([] { ForkAndWait(3); });
  EXPECT_TRUE(records().empty()) << Summary();
}

// CAP_BPF and CAP_PERFMON alone: no cgroup programs, no fanotify. Each is told, and what remains works.
TEST_F(ProbeTest, WhatIsRefusedIsToldAndTheRestWorks) {
  const Work work = [this] {
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    __user_cap_data_struct data[2]{};
    for (const int cap : {CAP_BPF, CAP_PERFMON}) {
      data[cap / 32].effective |= 1u << cap % 32;
      data[cap / 32].permitted |= 1u << cap % 32;
    }
    MOAT_CHILD_CHECK(syscall(SYS_capset, &header, data) == 0);
    auto started = probe::Probe::Start(config());
    if (!started) {
      std::fprintf(stderr, "%s\n", started.error().message.c_str());
    }
    MOAT_CHILD_CHECK(started);
    int attached = 0, told = 0;
    for (const DomainStatus& domain : (*started)->Domains()) {
      for (const HookStatus& hook : domain.hooks) {
        attached += hook.attached;
        constexpr std::string_view kOfCgroups[] = {"net.connect4", "net.connect6", "net.sendmsg4", "net.sendmsg6",
                                                   "net.bind4",    "net.bind6",    "net.release"};
        told += !hook.attached && std::ranges::find(kOfCgroups, hook.event) != std::end(kOfCgroups);
        MOAT_CHILD_CHECK(hook.attached || (!hook.why.empty() && !hook.unseen.empty()));
        MOAT_CHILD_CHECK(hook.event != "net.connect4" || !hook.attached);
        MOAT_CHILD_CHECK(hook.event != "file.open" || hook.attached);
        MOAT_CHILD_CHECK(hook.event != "file.rename" || hook.attached == (hook.backend != "fanotify"));
      }
    }
    MOAT_CHILD_CHECK(attached >= 10 && told == 7);
  };
  const pid_t pid = Spawn(work, /*inside=*/false);
  Finish(pid);
}

class ReloadTest : public BpfTest {
 protected:
  void SetUp() override {
    BpfTest::SetUp();
    char name[] = "/tmp/moat-reload-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    root_ = name;
    for (const char* file : {"/a", "/b"}) {
      std::ofstream(root_ + file) << "weights";
    }
  }
  void TearDown() override {
    BpfTest::TearDown();
    std::filesystem::remove_all(root_);
  }
  size_t Opens(const std::string& path) {
    const pid_t pid = RunInside([&] { MOAT_CHILD_CHECK(open(path.c_str(), O_RDONLY) >= 0); });
    return Of<moat_file_open>(MOAT_KIND_FILE_OPEN, pid).size();
  }
  std::string root_;
};

TEST_F(ReloadTest, AssetsComeAndGo) {
  config().gpu = config().net = false;
  config().assets = {{.name = "one", .asset_class = "weights", .paths = {root_ + "/a"}}};
  Start();
  EXPECT_EQ(Opens(root_ + "/a"), 1u);
  EXPECT_EQ(Opens(root_ + "/b"), 0u);
  config().assets[0].paths = {root_ + "/b"};
  ASSERT_TRUE(probe().ReloadAssets(config()));
  EXPECT_EQ(Opens(root_ + "/a"), 0u) << "it left";
  EXPECT_EQ(Opens(root_ + "/b"), 1u) << "it came";
  config().assets.clear();
  ASSERT_TRUE(probe().ReloadAssets(config()));
  EXPECT_EQ(Opens(root_ + "/b"), 0u);
}

// Else to rename its directory would be a way to take the label off weights.
TEST_F(ReloadTest, WhatIsMovedAwayStaysTheAssets) {
  std::filesystem::create_directory(root_ + "/model");
  std::filesystem::rename(root_ + "/a", root_ + "/model/a");
  config().gpu = config().net = false;
  config().assets = {{.name = "one", .asset_class = "weights", .paths = {root_ + "/model"}}};
  Start();
  EXPECT_EQ(Opens(root_ + "/model/a"), 1u);
  const pid_t mover =
      RunInside([this] { MOAT_CHILD_CHECK(rename((root_ + "/model").c_str(), (root_ + "/elsewhere").c_str()) == 0); });
  for (int i = 0; i < 6; ++i) {  // each a second: whoever looks after the assets has looked
    Sums();
  }
  const auto told = Of<moat_file_tamper>(MOAT_KIND_FILE_TAMPER, mover);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].op, uint32_t{MOAT_TAMPER_RENAME});
  EXPECT_EQ(Opens(root_ + "/elsewhere/a"), 1u);
  ASSERT_TRUE(probe().ReloadAssets(config()));
  EXPECT_EQ(Opens(root_ + "/elsewhere/a"), 1u) << "a reload of the same assets";
  EXPECT_TRUE(probe().FindAssetsAgain());
  EXPECT_EQ(Opens(root_ + "/elsewhere/a"), 1u) << "a mount";
  // Another asset of that name, below the old path, is another.
  std::filesystem::create_directory(root_ + "/model");
  std::ofstream(root_ + "/model/a") << "fresh";
  config().assets.push_back({.name = "two", .asset_class = "weights", .paths = {root_ + "/b"}});
  ASSERT_TRUE(probe().ReloadAssets(config()));
  EXPECT_EQ(Opens(root_ + "/elsewhere/a"), 1u) << "one more asset beside it";
  EXPECT_EQ(Opens(root_ + "/model/a"), 1u);
  EXPECT_EQ(Opens(root_ + "/b"), 1u);
  config().assets[0].paths = {root_ + "/b"};
  config().assets.pop_back();
  ASSERT_TRUE(probe().ReloadAssets(config()));
  EXPECT_EQ(Opens(root_ + "/elsewhere/a"), 0u) << "other paths: another asset";
}

// ReloadAssets, Domains, KernelLedger and Rings from another thread while the ring thread works (also under TSan).
TEST_F(ReloadTest, FromAnotherThread) {
  config().gpu = config().net = false;
  config().assets = {{.name = "one", .asset_class = "weights", .paths = {root_}}};
  Start();
  const size_t domains = probe().Domains().size();
  std::atomic<bool> stop = false;
  std::thread other([&] {
    while (!stop) {
      EXPECT_TRUE(probe().ReloadAssets(config()));
      EXPECT_EQ(probe().Domains().size(), domains);
      EXPECT_EQ(probe().Rings().size(), 2u);
      EXPECT_EQ(probe().Assets().size(), 1u);
      (void)probe().KernelLedger();
    }
  });
  const pid_t pid = RunInside([this] {
    for (int i = 0; i < 100; ++i) {
      const int fd = open((root_ + "/a").c_str(), O_RDONLY);
      MOAT_CHILD_CHECK(fd >= 0 && close(fd) == 0);
    }
  });
  stop = true;
  other.join();
  EXPECT_EQ(Of<moat_file_open>(MOAT_KIND_FILE_OPEN, pid).size(), 100u) << "a reload never hides an asset that stays";
}

}  // namespace
}  // namespace moat::test
