// SPDX-License-Identifier: Apache-2.0
// Calls that change the world that a process lives in, or the kernel below it: each once, with its arguments and what came of it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include "agent/base/fd.h"
#include "bpf/abi/privilege.h"
#include "tests/bpf/fixture.h"
#include "tests/bpf/workload.h"

namespace moat::test {
namespace {

uint32_t Namespace(const char* name) {
  struct stat info{};
  EXPECT_EQ(stat((std::string("/proc/self/ns/") + name).c_str(), &info), 0);
  return static_cast<uint32_t>(info.st_ino);
}

// A mount namespace of its own, whose changes nobody else sees.
void Alone() {
  MOAT_CHILD_CHECK(unshare(CLONE_NEWNS) == 0);
  MOAT_CHILD_CHECK(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
}

class PrivilegeBpfTest : public BpfTest {
 protected:
  // Those of one operation.
  std::vector<moat_privilege> Told(uint32_t op) {
    std::vector<moat_privilege> out;
    for (const moat_privilege& one : Of<moat_privilege>(MOAT_KIND_PRIVILEGE)) {
      if (one.operation == op) {
        out.push_back(one);
      }
    }
    return out;
  }
};

TEST_F(PrivilegeBpfTest, NewNamespacesAndTheWayBack) {
  const Fd before(open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC));
  const uint32_t mount_ns = Namespace("mnt"), net_ns = Namespace("net"), user_ns = Namespace("user"),
                 pid_ns = Namespace("pid_for_children");
  Start();
  RunInside([&] {
    for (int i = 0; i < 23; ++i) {
      MOAT_CHILD_CHECK(unshare(CLONE_NEWNS | CLONE_NEWUTS) == 0);
      MOAT_CHILD_CHECK(setns(before.get(), CLONE_NEWNS) == 0);
      // Look-alikes: what is shared between threads is no namespace.
      MOAT_CHILD_CHECK(unshare(CLONE_FILES) == 0 && unshare(CLONE_FS) == 0);
    }
  });
  const auto left = Told(MOAT_PRIVILEGE_UNSHARE), back = Told(MOAT_PRIVILEGE_SETNS);
  ASSERT_EQ(left.size(), 23u);
  ASSERT_EQ(back.size(), 23u);
  EXPECT_EQ(Count(MOAT_KIND_PRIVILEGE), 46u);
  for (const moat_privilege& one : left) {
    EXPECT_EQ(one.flags, uint64_t{CLONE_NEWNS | CLONE_NEWUTS});
    EXPECT_EQ(one.result, 0);
    EXPECT_NE(one.mount_ns, mount_ns);
    EXPECT_EQ(one.net_ns, net_ns);
    EXPECT_EQ(one.user_ns, user_ns);
    EXPECT_EQ(one.pid_ns, pid_ns);
    EXPECT_EQ(one.inode, 0u);
  }
  for (const moat_privilege& one : back) {
    EXPECT_EQ(one.flags, uint64_t{CLONE_NEWNS});
    EXPECT_EQ(one.mount_ns, mount_ns) << "it is back where it was";
    EXPECT_EQ(one.inode, mount_ns) << "by the descriptor of that namespace";
    EXPECT_STREQ(one.target, "");
  }
}

TEST_F(PrivilegeBpfTest, MountsSayWhatAndWhere) {
  const TempDir dir;
  ASSERT_EQ(mkdir(dir.File("a").c_str(), 0755), 0);
  ASSERT_EQ(mkdir(dir.File("b").c_str(), 0755), 0);
  Start();
  RunInside([&] {
    Alone();
    MOAT_CHILD_CHECK(mount("moat-test", dir.File("a").c_str(), "tmpfs", MS_NOSUID, nullptr) == 0);
    MOAT_CHILD_CHECK(mount(dir.File("a").c_str(), dir.File("b").c_str(), nullptr, MS_BIND, nullptr) == 0);
    MOAT_CHILD_CHECK(mount("none", dir.File("none").c_str(), "tmpfs", 0, nullptr) == -1 && errno == ENOENT);
    const int tree = static_cast<int>(syscall(SYS_open_tree, AT_FDCWD, dir.File("a").c_str(), 1 /* OPEN_TREE_CLONE */));
    MOAT_CHILD_CHECK(tree >= 0);
    MOAT_CHILD_CHECK(syscall(SYS_move_mount, tree, "", AT_FDCWD, dir.File("b").c_str(), 4 /* MOVE_MOUNT_F_EMPTY_PATH */) == 0);
    // A look-alike: without OPEN_TREE_CLONE it is an open with O_PATH.
    MOAT_CHILD_CHECK(syscall(SYS_open_tree, AT_FDCWD, dir.File("a").c_str(), 0) >= 0);
    MOAT_CHILD_CHECK(syscall(SYS_pivot_root, dir.File("a").c_str(), dir.File("b").c_str()) == -1);
    MOAT_CHILD_CHECK(chroot(dir.File("a").c_str()) == 0);
  });
  // Refused ones come by the other ring, later or earlier than the rest.
  auto mounts = Told(MOAT_PRIVILEGE_MOUNT);
  ASSERT_EQ(mounts.size(), 4u);
  const auto refused = std::ranges::stable_partition(mounts, [](const moat_privilege& one) { return one.result >= 0; });
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_EQ(refused.front().result, -ENOENT);
  EXPECT_EQ(refused.front().target, dir.File("none"));
  EXPECT_EQ(mounts[0].target, std::string("/"));
  EXPECT_EQ(mounts[1].target, dir.File("a"));
  EXPECT_STREQ(mounts[1].source, "moat-test");
  EXPECT_STREQ(mounts[1].type, "tmpfs");
  EXPECT_EQ(mounts[1].flags, uint64_t{MS_NOSUID});
  EXPECT_EQ(mounts[1].result, 0);
  EXPECT_EQ(mounts[2].source, dir.File("a"));
  EXPECT_EQ(mounts[2].target, dir.File("b"));
  EXPECT_EQ(mounts[2].flags, uint64_t{MS_BIND});
  EXPECT_STREQ(mounts[2].type, "");
  const auto trees = Told(MOAT_PRIVILEGE_OPEN_TREE), moves = Told(MOAT_PRIVILEGE_MOVE_MOUNT);
  ASSERT_EQ(trees.size(), 1u);
  EXPECT_EQ(trees[0].target, dir.File("a"));
  EXPECT_GE(trees[0].result, 0);
  ASSERT_EQ(moves.size(), 1u);
  EXPECT_EQ(moves[0].target, dir.File("b"));
  EXPECT_EQ(moves[0].flags, 4u);
  const auto pivots = Told(MOAT_PRIVILEGE_PIVOT_ROOT), roots = Told(MOAT_PRIVILEGE_CHROOT);
  ASSERT_EQ(pivots.size(), 1u);
  EXPECT_EQ(pivots[0].target, dir.File("a"));
  EXPECT_EQ(pivots[0].source, dir.File("b"));
  EXPECT_LT(pivots[0].result, 0);
  ASSERT_EQ(roots.size(), 1u);
  EXPECT_EQ(roots[0].target, dir.File("a"));
  EXPECT_EQ(roots[0].result, 0);
  EXPECT_EQ(Count(MOAT_KIND_PRIVILEGE), 9u) << "and the unshare";
}

// What may come of it depends on the kernel; all of it is refused, for it is nonsense.
TEST_F(PrivilegeBpfTest, ModulesAndKernelsAreToldAlsoWhereTheyAreRefused) {
  const TempDir dir;
  WriteFile(dir.File("rootkit.ko"), std::string(4096, 'x'));
  Start();
  const bool all = Exposed("process.kexec_load").empty() && Exposed("process.kexec_file_load").empty() &&
                   Exposed("process.init_module").empty() && Exposed("process.finit_module").empty();
  RunInside([&] {
    const int fd = open(dir.File("rootkit.ko").c_str(), O_RDONLY);
    MOAT_CHILD_CHECK(fd >= 0);
    const char nonsense[64] = "no module";
    MOAT_CHILD_CHECK(syscall(SYS_init_module, nonsense, sizeof(nonsense), "") == -1);
    MOAT_CHILD_CHECK(syscall(SYS_finit_module, fd, "", 0) == -1);
    MOAT_CHILD_CHECK(syscall(SYS_kexec_load, 0, 0, nullptr, 0xfff0ul) == -1);
    MOAT_CHILD_CHECK(syscall(SYS_kexec_file_load, fd, -1, 0, "", 0xfff0ul) == -1);
  });
  if (!all) {
    GTEST_SKIP() << "this kernel lacks some of the calls";
  }
  const auto init = Told(MOAT_PRIVILEGE_INIT_MODULE), finit = Told(MOAT_PRIVILEGE_FINIT_MODULE);
  const auto kexec = Told(MOAT_PRIVILEGE_KEXEC_LOAD), kexec_file = Told(MOAT_PRIVILEGE_KEXEC_FILE_LOAD);
  ASSERT_EQ(init.size(), 1u);
  EXPECT_EQ(init[0].flags, 64u);
  EXPECT_LT(init[0].result, 0);
  ASSERT_EQ(finit.size(), 1u);
  EXPECT_STREQ(finit[0].target, "rootkit.ko");
  EXPECT_LT(finit[0].result, 0);
  ASSERT_EQ(kexec.size(), 1u);
  EXPECT_EQ(kexec[0].flags, 0xfff0u);
  ASSERT_EQ(kexec_file.size(), 1u);
  EXPECT_STREQ(kexec_file[0].target, "rootkit.ko");
  EXPECT_EQ(Count(MOAT_KIND_PRIVILEGE), 4u);
}

TEST_F(PrivilegeBpfTest, WhatCannotBeReadIsFlaggedAndWhatIsCutToo) {
  const std::string longer(500, 'x');
  Start();
  RunInside([&] {
    MOAT_CHILD_CHECK(mount("none", reinterpret_cast<const char*>(8), "tmpfs", 0, nullptr) == -1 && errno == EFAULT);
    MOAT_CHILD_CHECK(mount("none", longer.c_str(), "tmpfs", 0, nullptr) == -1);
  });
  const auto mounts = Told(MOAT_PRIVILEGE_MOUNT);
  ASSERT_EQ(mounts.size(), 2u);
  EXPECT_EQ(mounts[0].hdr.flags, uint32_t{MOAT_F_UNREADABLE});
  EXPECT_STREQ(mounts[0].target, "");
  EXPECT_EQ(mounts[1].hdr.flags, uint32_t{MOAT_F_TRUNCATED});
  EXPECT_EQ(mounts[1].target, std::string(MOAT_PRIVILEGE_TARGET_LEN - 1, 'x'));
}

TEST_F(PrivilegeBpfTest, TheNewerWayToMountTellsItsFileSystem) {
  Start();
  if (const std::string why = Exposed("process.fsopen"); !why.empty()) {
    GTEST_SKIP() << why;
  }
  RunInside([] {
    const int context = static_cast<int>(syscall(SYS_fsopen, "tmpfs", 1));
    MOAT_CHILD_CHECK(context >= 0 && close(context) == 0);
    MOAT_CHILD_CHECK(syscall(SYS_fsopen, "nosuchfs", 0) == -1);
  });
  const auto told = Told(MOAT_PRIVILEGE_FSOPEN);
  ASSERT_EQ(told.size(), 2u);
  EXPECT_STREQ(told[0].type, "tmpfs");
  EXPECT_GE(told[0].result, 0);
  EXPECT_STREQ(told[1].type, "nosuchfs");
  EXPECT_LT(told[1].result, 0);
}

TEST_F(PrivilegeBpfTest, OutsideTheScopeNothingIsTold) {
  Start();
  RunOutside([] { Alone(); });
  EXPECT_EQ(Count(MOAT_KIND_PRIVILEGE), 0u);
}

}  // namespace
}  // namespace moat::test
