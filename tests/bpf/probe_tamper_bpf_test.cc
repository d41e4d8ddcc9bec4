// SPDX-License-Identifier: Apache-2.0
// Renames, removals, links, replacements and truncations of asset files: each told exactly once, with who did it, by the kernel's
// security checks or by fanotify; and what comes to be, or is no more, an asset's file by them.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <thread>

#include "tests/bpf/fixture.h"
#include "tests/bpf/inspect.h"

namespace moat::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

class TamperTest : public BpfTest {
 protected:
  void SetUp() override {
    BpfTest::SetUp();
    char name[] = "/var/tmp/moat-tamper-XXXXXX";  // /tmp may be a tmpfs, which has no file system id before 5.13
    ASSERT_NE(mkdtemp(name), nullptr);
    root_ = name;
    fs::create_directories(root_ + "/asset/sub");
    fs::create_directories(root_ + "/beside");
    for (const char* file : {"/asset/a", "/asset/b", "/asset/sub/c", "/beside/single", "/beside/other", "/beside/stranger"}) {
      std::ofstream(root_ + file) << std::string(1000, 'x');
    }
    config().gpu = config().net = false;
    config().assets = {{.name = "dir", .asset_class = "weights", .paths = {root_ + "/asset"}},
                       {.name = "file", .asset_class = "secret", .paths = {root_ + "/beside/single"}}};
  }
  void TearDown() override {
    BpfTest::TearDown();
    if (!root_.empty()) {
      fs::remove_all(root_);
    }
  }

  uint64_t InodeOf(const std::string& path) const {
    struct stat info{};
    return stat((root_ + path).c_str(), &info) == 0 ? info.st_ino : 0;
  }
  // What the kernel side or fanotify said of one operation.
  std::vector<moat_file_tamper> Told(moat_tamper_op op, pid_t pid = 0) {
    std::vector<moat_file_tamper> out;
    for (const auto& record : Of<moat_file_tamper>(MOAT_KIND_FILE_TAMPER, pid)) {
      if (record.op == op) {
        out.push_back(record);
      }
    }
    return out;
  }
  // A truncation waits for the kernel side's own word, and a program's word that files change for the change.
  void Settle() {
    std::this_thread::sleep_for(150ms);
    DrainAll();
  }
  // What user space does after a program's word: soon, and not at all times.
  bool Settles(const std::function<bool()>& done) {
    for (int i = 0; i < 200 && !done(); ++i) {
      std::this_thread::sleep_for(50ms);
      DrainAll();
    }
    return done();
  }
  std::string Backend(std::string_view event) {
    for (const DomainStatus& domain : probe().Domains()) {
      for (const HookStatus& hook : domain.hooks) {
        if (hook.event == event) {
          return hook.attached ? hook.backend : "";
        }
      }
    }
    return "";
  }
  bool Notices() { return Backend("file.rename") == "fanotify"; }
  // In the kernel's table of files: label, or -1.
  int EntryOf(uint64_t inode) {
    for (const auto& [key, value] : MapRows<moat_inode_key, moat_inode_val>("moat_inodes")) {
      if (key.inode == inode) {
        return static_cast<int>(value.asset);
      }
    }
    return -1;
  }
  // Opens by a process: asset of each.
  std::vector<uint32_t> Opened(pid_t pid) {
    std::vector<uint32_t> assets;
    for (const auto& open : Of<moat_file_open>(MOAT_KIND_FILE_OPEN, pid)) {
      assets.push_back(open.asset);
    }
    return assets;
  }
  std::string At(const char* name) const { return root_ + name; }

  std::string root_;
};

// By each way that the kernel has: the better ones are avoided one after another.
class TamperBackendTest : public TamperTest, public ::testing::WithParamInterface<const char*> {
 protected:
  // Empty: started, and GetParam() is the way. Else why not.
  std::string StartWith() {
    for (const char* backend : {"lsm", "fmod_ret", "fentry", "kprobe"}) {
      if (std::string_view(backend) == GetParam()) {
        break;
      }
      config().avoid.emplace_back(backend);
    }
    Start();
    const std::string backend = Backend("file.rename");
    return backend == GetParam() ? "" : "file.rename is seen by " + (backend.empty() ? "nobody" : backend) + " here";
  }
  void EachOnce();
  void Exchange();
};

void TamperBackendTest::EachOnce() {
  const uint64_t a = InodeOf("/asset/a"), b = InodeOf("/asset/b"), c = InodeOf("/asset/sub/c"),
                 single = InodeOf("/beside/single");
  const pid_t pid = RunInside([this] {
    MOAT_CHILD_CHECK(link(At("/asset/a").c_str(), At("/beside/link-to-a").c_str()) == 0);
    MOAT_CHILD_CHECK(rename(At("/asset/b").c_str(), At("/asset/b2").c_str()) == 0);
    MOAT_CHILD_CHECK(truncate(At("/asset/sub/c").c_str(), 10) == 0);
    MOAT_CHILD_CHECK(rename(At("/beside/other").c_str(), At("/beside/single").c_str()) == 0);
    MOAT_CHILD_CHECK(unlink(At("/asset/a").c_str()) == 0);
    MOAT_CHILD_CHECK(mkdir(At("/asset/empty").c_str(), 0700) == 0 && rmdir(At("/asset/empty").c_str()) == 0);
  });
  Settle();
  const auto links = Told(MOAT_TAMPER_LINK, pid), renames = Told(MOAT_TAMPER_RENAME, pid), cuts = Told(MOAT_TAMPER_TRUNCATE, pid),
             replaced = Told(MOAT_TAMPER_REPLACE, pid), unlinks = Told(MOAT_TAMPER_UNLINK, pid);
  ASSERT_EQ(links.size(), 1u) << Summary();
  EXPECT_EQ(links[0].inode, a);
  ASSERT_EQ(renames.size(), 1u) << Summary();
  EXPECT_EQ(renames[0].inode, b);
  EXPECT_STREQ(renames[0].name, "b");
  ASSERT_EQ(cuts.size(), 1u) << Summary();
  EXPECT_EQ(cuts[0].inode, c);
  EXPECT_EQ(cuts[0].bytes, 10u);
  ASSERT_EQ(replaced.size(), 1u) << Summary();
  EXPECT_EQ(replaced[0].inode, single);
  EXPECT_STREQ(replaced[0].name, "single");
  EXPECT_EQ(replaced[0].asset, 1u);
  // A directory that came and went before the notice of its coming was read was never known to be the asset's; one whose notice was read in
  // between was.
  ASSERT_GE(unlinks.size(), Notices() ? 1u : 2u) << Summary();
  ASSERT_LE(unlinks.size(), 2u) << Summary();
  EXPECT_EQ(unlinks[0].inode, a);
  EXPECT_EQ(Count(MOAT_KIND_FILE_TAMPER), 4 + unlinks.size()) << Summary();
  const auto exits = Of<moat_exit>(MOAT_KIND_EXIT, pid);
  ASSERT_EQ(exits.size(), 1u);
  for (const auto& record : Of<moat_file_tamper>(MOAT_KIND_FILE_TAMPER)) {
    EXPECT_EQ(record.hdr.start_ns, exits[0].hdr.start_ns);
    EXPECT_EQ(record.hdr.cgroup_id, cgroup_id());
    EXPECT_EQ(record.hdr.flags, Notices() || record.op == MOAT_TAMPER_TRUNCATE ? 0u : MOAT_F_NO_RESULT) << record.op;
  }
}

// Two names change places: the asset's file has another, and its name leads to another file.
void TamperBackendTest::Exchange() {
  const uint64_t ours = InodeOf("/asset/b2"), other = InodeOf("/beside/stranger");
  const pid_t pid = RunInside([this] {
    MOAT_CHILD_CHECK(renameat2(AT_FDCWD, At("/asset/b2").c_str(), AT_FDCWD, At("/beside/stranger").c_str(), RENAME_EXCHANGE) ==
                     0);
  });
  Settle();
  const auto renamed = Told(MOAT_TAMPER_RENAME, pid);
  ASSERT_EQ(renamed.size(), 1u) << Summary();
  EXPECT_EQ(renamed[0].inode, ours);
  EXPECT_STREQ(renamed[0].name, "b2");
  // Where other -> ours is told before ours -> other, other is the asset's already when its name is given away. A notice says of the second
  // half only that a file nobody knew has come.
  std::map<uint64_t, std::string> replaced;
  for (const auto& record : Told(MOAT_TAMPER_REPLACE, pid)) {
    EXPECT_TRUE(replaced.emplace(record.inode, record.name).second);
  }
  EXPECT_EQ(replaced.contains(ours), !Notices());
  EXPECT_EQ(replaced.size(), replaced.count(ours) + (Notices() ? 0 : replaced.count(other)));
  EXPECT_EQ(Count(MOAT_KIND_FILE_TAMPER), 1 + replaced.size()) << Summary();
  EXPECT_EQ(EntryOf(ours), 0) << "it stays the asset's";
  EXPECT_EQ(EntryOf(other), 0) << "and so is what has its place now";
}

TEST_P(TamperBackendTest, TellsEachOperationOnceWithItsProcess) {
  if (const std::string why = StartWith(); !why.empty()) {
    GTEST_SKIP() << why;
  }
  EachOnce();
  Clear();
  Exchange();
}

INSTANTIATE_TEST_SUITE_P(Backend, TamperBackendTest, ::testing::Values("lsm", "fmod_ret", "fentry", "kprobe", "fanotify"),
                         [](const auto& one) { return std::string(one.param); });

TEST_F(TamperTest, ANeighbourIsNotReported) {
  Start();
  RunOutside([this] {
    MOAT_CHILD_CHECK(rename((root_ + "/asset/a").c_str(), (root_ + "/asset/a2").c_str()) == 0);
    MOAT_CHILD_CHECK(unlink((root_ + "/asset/b").c_str()) == 0);
  });
  Settle();
  EXPECT_EQ(Count(MOAT_KIND_FILE_TAMPER), 0u) << Summary();
}

// Both sides see these: the kernel side tells them, fanotify must not tell them again.
TEST_F(TamperTest, ATruncationThroughADescriptorIsToldOnce) {
  Start();
  const pid_t pid = RunInside([this] {
    const int fd = open((root_ + "/asset/a").c_str(), O_WRONLY);
    MOAT_CHILD_CHECK(fd >= 0 && ftruncate(fd, 100) == 0);
    const int again = open((root_ + "/asset/b").c_str(), O_WRONLY | O_TRUNC);
    MOAT_CHILD_CHECK(again >= 0);
  });
  Settle();
  EXPECT_EQ(Told(MOAT_TAMPER_TRUNCATE, pid).size(), 2u) << Summary();
}

TEST_F(TamperTest, NewFilesBelongToTheAssetAtOnce) {
  Start();
  const uint64_t before = probe().Assets()[0].bytes;
  RunInside([this] {
    MOAT_CHILD_CHECK(mkdir(At("/asset/new").c_str(), 0755) == 0);
    const int fd = open(At("/asset/new/file").c_str(), O_WRONLY | O_CREAT, 0644);
    MOAT_CHILD_CHECK(fd >= 0 && write(fd, "12345", 5) == 5);
  });
  EXPECT_TRUE(Settles([this] { return probe().Assets()[0].files.size() == 7; }));
  Clear();
  // Moved out afterwards: the kernel's walk up the directories no longer leads to the asset, only the inode itself does.
  fs::rename(root_ + "/asset/new/file", root_ + "/beside/escaped");
  const pid_t pid = RunInside([this] { MOAT_CHILD_CHECK(open(At("/beside/escaped").c_str(), O_RDONLY) >= 0); });
  EXPECT_EQ(Opened(pid), std::vector<uint32_t>{0}) << Summary();
  Settle();
  const auto assets = probe().Assets();
  EXPECT_EQ(assets[0].files.size(), 7u);  // asset, sub, a, b, c; new; new/file, which stays by identity
  EXPECT_GE(assets[0].bytes, before);
}

// What was moved or linked in before anybody opened it there; told by a program before it happens, by a notice after it has.
TEST_F(TamperTest, WhatIsMovedOrLinkedInIsTheAssets) {
  Start();
  for (const char* file : {"/beside/moved", "/beside/linked", "/beside/pointed"}) {
    std::ofstream(root_ + file) << "x";
  }
  fs::create_directories(root_ + "/beside/tree/deep");
  std::ofstream(root_ + "/beside/tree/deep/leaf") << "x";
  RunInside([this] {
    MOAT_CHILD_CHECK(rename(At("/beside/moved").c_str(), At("/asset/moved").c_str()) == 0);
    MOAT_CHILD_CHECK(link(At("/beside/linked").c_str(), At("/asset/linked").c_str()) == 0);
    MOAT_CHILD_CHECK(rename(At("/beside/tree").c_str(), At("/asset/tree").c_str()) == 0);
    MOAT_CHILD_CHECK(symlink(At("/beside/pointed").c_str(), At("/asset/pointed").c_str()) == 0);
  });
  EXPECT_EQ(Count(MOAT_KIND_FILE_TAMPER), 0u) << "no file of the asset was changed: " << Summary();
  if (!Notices()) {
    EXPECT_EQ(EntryOf(InodeOf("/asset/moved")), 0) << "at once";
    EXPECT_EQ(EntryOf(InodeOf("/beside/linked")), 0) << "at once";
  }
  EXPECT_TRUE(Settles([this] { return EntryOf(InodeOf("/beside/pointed")) == 0; }));
  const pid_t pid = RunInside([this] {
    for (const char* name : {"/asset/moved", "/beside/linked", "/asset/tree/deep/leaf", "/beside/pointed"}) {
      MOAT_CHILD_CHECK(open(At(name).c_str(), O_RDONLY) >= 0);
    }
  });
  EXPECT_EQ(Opened(pid), std::vector<uint32_t>(4, 0)) << Summary();
  for (const char* name : {"/asset/moved", "/beside/linked", "/beside/pointed", "/asset/tree/deep/leaf"}) {
    EXPECT_EQ(EntryOf(InodeOf(name)), 0) << name;
  }
  EXPECT_EQ(EntryOf(InodeOf("/beside/other")), -1) << "a neighbour is nobody's";
}

// A file that was named alone: whatever has its name is the asset, and what lies beside it is not.
TEST_F(TamperTest, TheNextFileOfANameIsTheAssetAgain) {
  Start();
  const pid_t made = RunInside([this] {
    MOAT_CHILD_CHECK(unlink(At("/beside/single").c_str()) == 0);
    MOAT_CHILD_CHECK(open(At("/beside/single").c_str(), O_WRONLY | O_CREAT | O_EXCL, 0600) >= 0);
    MOAT_CHILD_CHECK(open(At("/beside/neighbour").c_str(), O_WRONLY | O_CREAT | O_EXCL, 0600) >= 0);
  });
  EXPECT_EQ(Opened(made), std::vector<uint32_t>{1}) << Summary();
  EXPECT_EQ(EntryOf(InodeOf("/beside/single")), 1);
  RunInside([this] { MOAT_CHILD_CHECK(rename(At("/beside/other").c_str(), At("/beside/single").c_str()) == 0); });
  if (Notices()) {
    Settle();
  }
  EXPECT_EQ(EntryOf(InodeOf("/beside/single")), 1) << "before anybody has opened it";
  EXPECT_EQ(EntryOf(InodeOf("/beside/neighbour")), -1);
  const pid_t pid = RunInside([this] {
    MOAT_CHILD_CHECK(open(At("/beside/single").c_str(), O_RDONLY) >= 0);
    MOAT_CHILD_CHECK(open(At("/beside/neighbour").c_str(), O_RDONLY) >= 0);
  });
  EXPECT_EQ(Opened(pid), std::vector<uint32_t>{1}) << Summary();
}

// The same for a directory that was named.
TEST_F(TamperTest, TheNextDirectoryOfANameIsTheAssetAgain) {
  Start();
  fs::create_directories(root_ + "/beside/tree/deep");
  std::ofstream(root_ + "/beside/tree/deep/leaf") << "x";
  RunInside([this] {
    MOAT_CHILD_CHECK(rename(At("/asset").c_str(), At("/was").c_str()) == 0);
    MOAT_CHILD_CHECK(rename(At("/beside/tree").c_str(), At("/asset").c_str()) == 0);
  });
  if (Notices()) {
    Settle();
    Sums();
  }
  const pid_t pid = RunInside([this] {
    for (const char* name : {"/asset/deep/leaf", "/was/a"}) {
      MOAT_CHILD_CHECK(open(At(name).c_str(), O_RDONLY) >= 0);
    }
  });
  // What had the name is the asset's as long as it lives.
  EXPECT_EQ(Opened(pid), std::vector<uint32_t>(2, 0)) << Summary();
}

// An inode that has neither a name nor an open file any more leaves the table; until then it is the asset's.
TEST_F(TamperTest, WhatIsGoneLeavesTheTable) {
  Start();
  const uint64_t a = InodeOf("/asset/a"), b = InodeOf("/asset/b");
  const int held = open(At("/asset/b").c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(held, 0);
  RunInside([this] { MOAT_CHILD_CHECK(unlink(At("/asset/a").c_str()) == 0 && unlink(At("/asset/b").c_str()) == 0); });
  Settle();
  EXPECT_EQ(EntryOf(a), -1) << Backend("file.gone");
  EXPECT_EQ(EntryOf(b), 0) << "somebody has it open";
  close(held);
  Settle();
  EXPECT_EQ(EntryOf(b), -1);
  EXPECT_EQ(EntryOf(InodeOf("/asset/sub/c")), 0) << "the others stay";
}

TEST_F(TamperTest, AProcessThatNobodyKnewIsToldAllTheSame) {
  config().process = false;  // no exit record, no scan: nothing tells who it was but the record itself
  Start();
  const pid_t pid = RunInside([this] { MOAT_CHILD_CHECK(unlink(At("/asset/a").c_str()) == 0); });
  Settle();
  const auto unlinks = Told(MOAT_TAMPER_UNLINK);
  ASSERT_EQ(unlinks.size(), 1u) << Summary();
  EXPECT_EQ(unlinks[0].hdr.flags, Notices() ? MOAT_F_NO_OWNER : MOAT_F_NO_RESULT);
  EXPECT_EQ(unlinks[0].hdr.pid, Notices() ? 0u : static_cast<uint32_t>(pid));
}

}  // namespace
}  // namespace moat::test
