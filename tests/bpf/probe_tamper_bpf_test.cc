// SPDX-License-Identifier: Apache-2.0
// Renames, removals, links, replacements and truncations of asset files: told by fanotify, each exactly once, with who did it.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/bpf/fixture.h"

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
    for (const char* file : {"/asset/a", "/asset/b", "/asset/sub/c", "/beside/single", "/beside/other"}) {
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
  // A truncation waits for the kernel side's own word.
  void Settle() {
    std::this_thread::sleep_for(150ms);
    DrainAll();
  }

  std::string root_;
};

TEST_F(TamperTest, TellsEachOperationOnceWithItsProcess) {
  Start();
  if (const std::string why = Exposed("file.tamper"); !why.empty()) {
    GTEST_SKIP() << why;
  }
  const uint64_t a = InodeOf("/asset/a"), b = InodeOf("/asset/b"), c = InodeOf("/asset/sub/c"),
                 single = InodeOf("/beside/single");
  const pid_t pid = RunInside([this] {
    MOAT_CHILD_CHECK(link((root_ + "/asset/a").c_str(), (root_ + "/beside/link-to-a").c_str()) == 0);
    MOAT_CHILD_CHECK(rename((root_ + "/asset/b").c_str(), (root_ + "/asset/b2").c_str()) == 0);
    MOAT_CHILD_CHECK(truncate((root_ + "/asset/sub/c").c_str(), 10) == 0);
    MOAT_CHILD_CHECK(rename((root_ + "/beside/other").c_str(), (root_ + "/beside/single").c_str()) == 0);
    MOAT_CHILD_CHECK(unlink((root_ + "/asset/a").c_str()) == 0);
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
  EXPECT_EQ(replaced[0].asset, 1u);
  ASSERT_EQ(unlinks.size(), 1u) << Summary();
  EXPECT_EQ(unlinks[0].inode, a);
  EXPECT_EQ(Count(MOAT_KIND_FILE_TAMPER), 5u) << Summary();
  const auto exits = Of<moat_exit>(MOAT_KIND_EXIT, pid);
  ASSERT_EQ(exits.size(), 1u);
  for (const auto& record : Of<moat_file_tamper>(MOAT_KIND_FILE_TAMPER)) {
    EXPECT_EQ(record.hdr.start_ns, exits[0].hdr.start_ns);
    EXPECT_EQ(record.hdr.cgroup_id, cgroup_id());
    EXPECT_EQ(record.hdr.flags, 0u);
  }
}

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
  if (const std::string why = Exposed("file.tamper"); !why.empty()) {
    GTEST_SKIP() << why;
  }
  const uint64_t before = probe().Assets()[0].bytes;
  RunInside([this] {
    MOAT_CHILD_CHECK(mkdir((root_ + "/asset/new").c_str(), 0755) == 0);
    const int fd = open((root_ + "/asset/new/file").c_str(), O_WRONLY | O_CREAT, 0644);
    MOAT_CHILD_CHECK(fd >= 0 && write(fd, "12345", 5) == 5);
  });
  Settle();
  Clear();
  // Moved out afterwards: the kernel's walk up the directories no longer leads to the asset, only the inode itself does.
  fs::rename(root_ + "/asset/new/file", root_ + "/beside/escaped");
  const pid_t pid = RunInside([this] { MOAT_CHILD_CHECK(open((root_ + "/beside/escaped").c_str(), O_RDONLY) >= 0); });
  const auto opens = Of<moat_file_open>(MOAT_KIND_FILE_OPEN, pid);
  ASSERT_EQ(opens.size(), 1u) << Summary();
  EXPECT_EQ(opens[0].asset, 0u);
  const auto assets = probe().Assets();
  EXPECT_EQ(assets[0].files.size(), 7u);  // asset, sub, a, b, c; new; new/file, which stays by identity
  EXPECT_GE(assets[0].bytes, before);
}

TEST_F(TamperTest, AProcessThatNobodyKnewIsToldWithoutOwner) {
  config().process = false;  // no exit record, no scan: nothing tells who it was
  Start();
  if (const std::string why = Exposed("file.tamper"); !why.empty()) {
    GTEST_SKIP() << why;
  }
  RunInside([this] { MOAT_CHILD_CHECK(unlink((root_ + "/asset/a").c_str()) == 0); });
  Settle();
  const auto unlinks = Told(MOAT_TAMPER_UNLINK);
  ASSERT_EQ(unlinks.size(), 1u) << Summary();
  EXPECT_EQ(unlinks[0].hdr.flags, MOAT_F_NO_OWNER);
  EXPECT_EQ(unlinks[0].hdr.pid, 0u);
}

}  // namespace
}  // namespace moat::test
