// SPDX-License-Identifier: Apache-2.0
#include "agent/enrich/process_tree.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "agent/enrich/process_table.h"

namespace moat::enrich {
namespace {

using event::Event;
using event::Kind;
using event::Process;
using event::ProcessKey;

constexpr uint64_t kSecond = 1'000'000'000;

// A tree over a /proc and cgroups that the test writes.
class Tree : public testing::Test {
 protected:
  Event Make(Kind kind, ProcessKey key, uint64_t cgroup_id = 7) {
    Event event;
    event.header.kind = kind;
    event.header.process = key;
    event.header.tid = key.pid;
    event.header.uid = 1000;
    event.header.time_ns = now_;
    event.header.cgroup_id = cgroup_id;
    return event;
  }
  std::shared_ptr<const Process> Touch(ProcessKey key, uint64_t cgroup_id = 7) {
    Event event = Make(Kind::kFileOpen, key, cgroup_id);
    tree_->Apply(event);
    last_ = event.header;
    return event.header.info;
  }
  std::shared_ptr<const Process> Exec(ProcessKey key, const std::string& exe, ProcessKey parent = {1, 1}, Kind kind = Kind::kExec,
                                      size_t arg_bytes = 0) {
    Event event = Make(kind, key);
    auto image = std::make_shared<Process>();
    image->key = key;
    image->parent = parent;
    image->exe = exe;
    image->cgroup_id = event.header.cgroup_id;
    image->args = {std::string(arg_bytes, 'x')};
    event.body = event::Exec{std::move(image)};
    tree_->Apply(event);
    EXPECT_EQ(event.header.info, std::get<event::Exec>(event.body).image);
    return event.header.info;
  }
  std::shared_ptr<const Process> Fork(ProcessKey parent, ProcessKey child) {
    Event event = Make(Kind::kFork, parent);
    event.body = event::Fork{child};
    tree_->Apply(event);
    return event.header.info;
  }
  std::shared_ptr<const Process> Exit(ProcessKey key) {
    Event event = Make(Kind::kExit, key);
    event.body = event::Exit{};
    tree_->Apply(event);
    return event.header.info;
  }
  void Rebuild(const ProcessTreeLimits& limits) {
    tree_ = ProcessTree::Create(
        [this](const ProcessKey& key) -> std::optional<Process> {
          ++reads_;
          auto it = proc_.find(key.pid);
          return it == proc_.end() ? std::nullopt : std::optional(it->second);
        },
        [this](uint64_t id, uint64_t) {
          ++cgroup_reads_;
          auto it = cgroups_.find(id);
          return it == cgroups_.end() ? std::string() : it->second;
        },
        limits);
  }
  void InProc(ProcessKey key, ProcessKey parent, const std::string& exe) {
    Process& process = proc_[key.pid];
    process.key = key;
    process.parent = parent;
    process.uid = 3;
    process.exe = exe;
    process.from_scan = true;
  }
  void SetUp() override { Rebuild({}); }

  uint64_t now_ = 1000 * kSecond;
  int reads_ = 0, cgroup_reads_ = 0;
  std::map<uint32_t, Process> proc_;
  std::map<uint64_t, std::string> cgroups_{{7, "/seven"}, {8, "/eight"}};
  std::unique_ptr<ProcessTree> tree_;
  event::Header last_;
};

constexpr ProcessKey kA{100, 5'000'000'001}, kB{101, 5'000'000'002}, kC{102, 5'000'000'003};

TEST_F(Tree, ExecForkExitOfAFamily) {
  auto shell = Exec(kA, "/bin/sh");
  EXPECT_EQ(shell->cgroup, "/seven");
  EXPECT_EQ(Fork(kA, kB), shell);
  // Until it execs the child is its parent's image under its own name.
  auto child = Touch(kB);
  ASSERT_TRUE(child);
  EXPECT_EQ(child->key, kB);
  EXPECT_EQ(child->parent, kA);
  EXPECT_EQ(child->exe, "/bin/sh");
  EXPECT_EQ(child->cgroup, "/seven");
  auto python = Exec(kB, "/usr/bin/python3", kA);
  EXPECT_EQ(Touch(kB), python);
  EXPECT_EQ(Touch(kB), python);
  EXPECT_EQ(child->exe, "/bin/sh") << "what was published does not change";
  EXPECT_EQ(Touch(kA), shell);
  EXPECT_EQ(Exit(kB), python);
  EXPECT_EQ(Touch(kB), python) << "a late record still finds it";
  EXPECT_EQ(tree_->stats().live, 1u);
  EXPECT_EQ(tree_->stats().exited, 1u);
  EXPECT_EQ(reads_, 0);
}

TEST_F(Tree, APidUsedAgainIsAnotherProcess) {
  auto first = Exec(kA, "/first");
  Exit(kA);
  ProcessKey again{kA.pid, kA.start_ns + 60 * kSecond};
  auto second = Exec(again, "/second");
  EXPECT_EQ(Touch(kA), first);
  EXPECT_EQ(Touch(again), second);
  EXPECT_EQ(tree_->Find({kA.pid, 1}), nullptr);
}

TEST_F(Tree, NoOwnerNoInfo) {
  EXPECT_EQ(Touch({0, 0}), nullptr);
  EXPECT_EQ(reads_, 0);
}

TEST_F(Tree, UnknownIsReadOnceFromProc) {
  InProc(kA, {50, 0}, "/old");
  Exec({50, 4 * kSecond + 1}, "/init");
  auto info = Touch(kA);
  ASSERT_TRUE(info);
  EXPECT_EQ(info->exe, "/old");
  EXPECT_EQ(info->uid, 3u);
  EXPECT_TRUE(info->from_scan);
  EXPECT_EQ(info->cgroup, "/seven");
  EXPECT_EQ(info->parent, (ProcessKey{50, 4 * kSecond + 1})) << "the parent's start time comes from the tree";
  EXPECT_EQ(Touch(kA), info);
  Touch(kB);
  EXPECT_EQ(Touch(kA), info);
  EXPECT_EQ(reads_, 2);
}

// A parent is older than its child: the pid's present owner may be neither.
TEST_F(Tree, ParentFromProcIsNotYounger) {
  Exec({50, kA.start_ns + 1}, "/younger");
  InProc(kA, {50, 0}, "/old");
  EXPECT_EQ(Touch(kA)->parent, (ProcessKey{50, 0}));
}

TEST_F(Tree, GoneBeforeItCouldBeReadIsAskedForOnce) {
  auto info = Touch(kA);
  ASSERT_TRUE(info);
  EXPECT_EQ(info->key, kA);
  EXPECT_EQ(info->exe, "");
  EXPECT_EQ(info->uid, 1000u);
  EXPECT_EQ(info->cgroup, "/seven");
  Touch(kB);
  EXPECT_EQ(Touch(kA), info);
  EXPECT_EQ(reads_, 2);
  EXPECT_EQ(tree_->stats().reads_failed, 2u);
  EXPECT_EQ(tree_->stats().exited, 2u);
  // But the records that tell of it are believed.
  EXPECT_EQ(Exec(kA, "/late")->exe, "/late");
  EXPECT_EQ(Touch(kA)->exe, "/late");
}

TEST_F(Tree, RecordsOfTheChildBeforeItsFork) {
  Exec(kA, "/bin/sh");
  auto guess = Touch(kB);  // gone by the time of reading
  EXPECT_EQ(guess->exe, "");
  Fork(kA, kB);
  EXPECT_EQ(Touch(kB)->exe, "/bin/sh");
  EXPECT_EQ(Touch(kB)->parent, kA);
  InProc(kC, {100, 0}, "/already/execed");
  Touch(kC);
  Fork(kA, kC);
  EXPECT_EQ(Touch(kC)->exe, "/already/execed");
  EXPECT_EQ(Touch(kC)->parent, kA);
}

TEST_F(Tree, ScanDoesNotUndoALaterExec) {
  auto execed = Exec(kA, "/new");
  now_ -= kSecond;
  EXPECT_EQ(Exec(kA, "/old", {1, 1}, Kind::kScan), execed);
  now_ += kSecond;
  EXPECT_EQ(Touch(kA), execed);
  auto scanned = Exec(kB, "/scanned", {1, 1}, Kind::kScan);
  EXPECT_EQ(Touch(kB), scanned);
}

// Records made in user space know start times to a clock tick.
TEST_F(Tree, StartTimeCutToATickFindsTheProcess) {
  auto exact = Exec(kA, "/exact");
  EXPECT_EQ(Touch({100, 5'000'000'000}), exact);
  EXPECT_EQ(last_.process, kA) << "corrected";
  Touch({100, 4'990'000'000});
  EXPECT_EQ(last_.process, (ProcessKey{100, 4'990'000'000})) << "a tick off is another";
  EXPECT_EQ(Touch({100, 5'000'000'002})->exe, "") << "not cut, so meant";
}

TEST_F(Tree, CgroupMoves) {
  Exec(kA, "/a");
  auto moved = Touch(kA, 8);
  EXPECT_EQ(moved->cgroup_id, 8u);
  EXPECT_EQ(moved->cgroup, "/eight");
  EXPECT_EQ(moved->exe, "/a");
  EXPECT_EQ(Touch(kA, 8), moved);
  // Totals tell of the past, a thread of itself: neither moves the process.
  Event totals = Make(Kind::kNetClose, kA, 7);
  tree_->Apply(totals);
  EXPECT_EQ(totals.header.info, moved);
  Event thread = Make(Kind::kFileOpen, kA, 7);
  thread.header.tid = 999;
  tree_->Apply(thread);
  EXPECT_EQ(thread.header.info, moved);
}

TEST_F(Tree, UnknownCgroupIsAskedForAgainButNotOften) {
  Exec(kA, "/a");
  Touch(kA, 9);
  int before = cgroup_reads_;
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(Touch(kA, 9)->cgroup, "");
  }
  EXPECT_EQ(cgroup_reads_, before);
  cgroups_[9] = "/nine";
  now_ += kSecond;
  EXPECT_EQ(Touch(kA, 9)->cgroup, "/nine");
  EXPECT_EQ(cgroup_reads_, before + 1);
}

TEST_F(Tree, ExitedAreForgottenAfterTheirGrace) {
  Exec(kA, "/a");
  Exit(kA);
  now_ += 64 * kSecond;
  EXPECT_EQ(Touch(kA)->exe, "/a");
  now_ += 2 * kSecond;
  Exec(kB, "/b");
  EXPECT_EQ(tree_->Find(kA), nullptr);
  EXPECT_EQ(tree_->stats().exited, 0u);
  EXPECT_EQ(tree_->stats().evicted_exited, 0u) << "not before its time";
  Exit(kB);
  EXPECT_EQ(Exit(kB)->exe, "/b") << "told twice, once in the queue";
  now_ += 66 * kSecond;
  Touch(kC);
  EXPECT_EQ(tree_->Find(kB), nullptr);
  EXPECT_EQ(tree_->stats().exited, 1u);
}

TEST_F(Tree, BoundOnExited) {
  Rebuild({.max_exited = 10});
  for (uint32_t pid = 1; pid <= 30; ++pid) {
    Exec({pid, pid}, "/x");
    Exit({pid, pid});
  }
  EXPECT_EQ(tree_->stats().exited, 10u);
  EXPECT_EQ(tree_->stats().evicted_exited, 20u);
  EXPECT_EQ(tree_->Find({20, 20}), nullptr);
  EXPECT_NE(tree_->Find({21, 21}), nullptr);
}

TEST_F(Tree, BoundOnProcesses) {
  Rebuild({.max_processes = 100});
  for (uint32_t pid = 1; pid <= 60; ++pid) {
    Exec({pid, pid}, "/exited");
    Exit({pid, pid});
  }
  for (uint32_t pid = 1001; pid <= 1150; ++pid) {
    Exec({pid, pid}, "/live");
    ASSERT_LE(tree_->stats().live + tree_->stats().exited, 100u);
  }
  ProcessTreeStats stats = tree_->stats();
  EXPECT_EQ(stats.evicted_exited, 60u) << "the dead go first";
  EXPECT_EQ(stats.evicted_live, 50u);
  EXPECT_EQ(stats.live, 100u);
  EXPECT_NE(tree_->Find({1150, 1150}), nullptr);
}

TEST_F(Tree, BoundOnBytes) {
  Rebuild({.max_bytes = 1 << 20});
  for (uint32_t pid = 1; pid <= 1000; ++pid) {
    Exec({pid, pid}, "/x", {1, 1}, Kind::kExec, 10'000);
    ASSERT_LE(tree_->stats().bytes, size_t{1} << 20);
  }
  EXPECT_GT(tree_->stats().live, 90u);
  EXPECT_GT(tree_->stats().evicted_live, 800u);
  // A small process that becomes a large one counts too.
  Rebuild({.max_bytes = 1 << 20});
  for (uint32_t pid = 1; pid <= 200; ++pid) {
    Exec({pid, pid}, "/x");
  }
  for (uint32_t pid = 1; pid <= 200; ++pid) {
    Exec({pid, pid}, "/x", {1, 1}, Kind::kExec, 10'000);
    ASSERT_LE(tree_->stats().bytes, size_t{1} << 20);
  }
}

TEST_F(Tree, ProcIsNotReadWithoutEnd) {
  Rebuild({.reads_per_second = 5});
  for (uint32_t pid = 1; pid <= 20; ++pid) {
    EXPECT_EQ(Touch({pid, 77}) != nullptr, pid <= 5) << pid;
  }
  EXPECT_EQ(reads_, 5);
  EXPECT_EQ(tree_->stats().reads_deferred, 15u);
  now_ += kSecond;
  EXPECT_NE(Touch({20, 77}), nullptr) << "later it is";
}

// The table against std::map, in a small space of pids so that runs of one pid and holes are common.
TEST(ProcessTable, IsAMap) {
  std::mt19937 random(7);
  ProcessTable table;
  std::map<ProcessKey, uint64_t> model;
  auto info = std::make_shared<const Process>();
  for (uint64_t round = 0; round < 60'000; ++round) {
    // Growing, then shrinking.
    ProcessKey key{static_cast<uint32_t>(random() % 700), random() % 4};
    ProcessTable::Slot* slot = table.Find(key);
    ASSERT_EQ(slot != nullptr, model.contains(key));
    if (slot) {
      ASSERT_EQ(slot->learnt_ns, model[key]);
      if (random() % 3 == 0) {
        table.Erase(slot);
        model.erase(key);
      }
    } else {
      ProcessTable::Slot& fresh = table.Insert(key);
      fresh.info = info;
      fresh.learnt_ns = model[key] = round;
    }
    ASSERT_EQ(table.size(), model.size());
    if (round % 1000 == 0) {
      for (auto& [k, value] : model) {
        ASSERT_NE(table.Find(k), nullptr);
        ASSERT_EQ(table.Find(k)->learnt_ns, value);
      }
      std::set<ProcessKey> swept;
      for (size_t i = 0; i < model.size(); ++i) {
        swept.insert(table.Sweep([](const auto&) { return true; })->key);
      }
      ASSERT_EQ(swept.size(), model.size()) << "a round of the sweep meets each once";
    }
    ProcessTable::Slot* youngest = table.FindPid(key.pid, [](const auto&) { return true; });
    auto above = model.lower_bound({key.pid + 1, 0});
    if (above != model.begin() && std::prev(above)->first.pid == key.pid) {
      ASSERT_NE(youngest, nullptr);
      ASSERT_EQ(youngest->key, std::prev(above)->first);
    } else {
      ASSERT_EQ(youngest, nullptr);
    }
  }
  EXPECT_EQ(table.Sweep([](const auto&) { return false; }), nullptr);
}

}  // namespace
}  // namespace moat::enrich
