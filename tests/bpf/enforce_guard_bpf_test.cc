// SPDX-License-Identifier: Apache-2.0
// moat's own maps, links and pins: nobody in a container touches them, whatever else that one may do.
#include <bpf/bpf.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <string>

#include "tests/bpf/enforce_kit.h"

namespace moat::test {
namespace {

class GuardBpfTest : public EnforceBpfTest {
 protected:
  void SetUp() override {
    EnforceBpfTest::SetUp();
    ASSERT_EQ(mount("bpf", bpffs().c_str(), "bpf", 0, nullptr), 0);
    config().policy_pins = bpffs() + "/moat";
  }
  void TearDown() override {
    std::filesystem::remove_all(config().policy_pins);  // before what is left behind is counted
    EnforceBpfTest::TearDown();
    EXPECT_EQ(umount2(bpffs().c_str(), 0), 0);
  }
  std::string bpffs() const { return dir_.path(); }
  std::string pins() const {
    for (const auto& entry : std::filesystem::directory_iterator(bpffs() + "/moat")) {
      return entry.path();
    }
    return "";
  }
  std::string Pin(const char* name) const { return pins() + "/" + name; }
  static uint32_t IdOf(int fd) {
    bpf_link_info info{};  // number and kind come first in that of a map, too
    uint32_t length = sizeof(info);
    return bpf_obj_get_info_by_fd(fd, &info, &length) == 0 ? info.id : 0;
  }

 private:
  TempDir dir_;
};

// 0, or the error of a call that gives -1 (libbpf: minus the error).
int ErrorOf(int result) { return result >= 0 ? 0 : errno; }

TEST_F(GuardBpfTest, NobodyInAContainerTouchesWhatIsOurs) {
  Start(/*expect_all=*/false, Share::kNever);
  for (const char* event : {"enforce.guard_map", "enforce.guard_prog", "enforce.guard_link", "enforce.guard_unlink",
                            "enforce.guard_rmdir", "enforce.guard_rename", "enforce.guard_umount"}) {
    if (const std::string why = Exposed(event); !why.empty()) {
      GTEST_SKIP() << event << ": " << why;
    }
  }
  struct stat own{};
  if (stat("/proc/self/ns/pid", &own) != 0 || own.st_ino != 0xeffffffc) {
    GTEST_SKIP() << "the tests are not in the host's pid namespace";
  }
  Enforce(PolicyOf("  egress: {default: deny}\n"));
  const Fd link(bpf_obj_get(Pin("link_enforce_connect4").c_str()));
  ASSERT_TRUE(link);
  const uint32_t link_id = IdOf(link.get());
  bpf_link_info of_link{};
  uint32_t length = sizeof(of_link);
  ASSERT_EQ(bpf_obj_get_info_by_fd(link.get(), &of_link, &length), 0);
  const uint32_t program = of_link.prog_id;
  bpf_map_info info{};
  length = sizeof(info);
  ASSERT_EQ(bpf_obj_get_info_by_fd(OwnMap("moat_pol_cgroups"), &info, &length), 0);
  const uint32_t ours = info.id;
  const auto touch = [&](int expected) {
    LIBBPF_OPTS(bpf_get_fd_by_id_opts, read_only);
    read_only.open_flags = BPF_F_RDONLY;  // enough for a program that writes
    MOAT_CHILD_CHECK(ErrorOf(bpf_map_get_fd_by_id(ours)) == expected);
    MOAT_CHILD_CHECK(ErrorOf(bpf_map_get_fd_by_id_opts(ours, &read_only)) == expected);
    MOAT_CHILD_CHECK(ErrorOf(bpf_prog_get_fd_by_id(program)) == expected);
    MOAT_CHILD_CHECK(ErrorOf(bpf_obj_get(Pin("map_moat_pol_cgroups").c_str())) == expected);
    MOAT_CHILD_CHECK(ErrorOf(bpf_link_get_fd_by_id(link_id)) == expected);
    MOAT_CHILD_CHECK(bpf_obj_get(Pin("link_enforce_connect4").c_str()) >= 0);
    // What is not ours: a map and a pin of one's own beside.
    const int map = bpf_map_create(BPF_MAP_TYPE_HASH, "other", 4, 4, 1, nullptr);
    const std::string pin = bpffs() + "/other";
    MOAT_CHILD_CHECK(map >= 0 && bpf_obj_pin(map, pin.c_str()) == 0 && bpf_obj_get(pin.c_str()) >= 0);
    MOAT_CHILD_CHECK(rename(pin.c_str(), (pin + "2").c_str()) == 0 && unlink((pin + "2").c_str()) == 0);
  };
  RunInside([&] { touch(0); });
  RunInside([&] {
    MOAT_CHILD_CHECK(unshare(CLONE_NEWPID) == 0);
    MOAT_CHILD_CHECK(
        InChild([&] {
          touch(EPERM);
          const int held = bpf_obj_get(Pin("link_enforce_connect4").c_str());
          MOAT_CHILD_CHECK(ErrorOf(bpf_link_detach(held)) == EPERM);
          MOAT_CHILD_CHECK(unlink(Pin("link_enforce_connect4").c_str()) == -1 && errno == EPERM);
          MOAT_CHILD_CHECK(unlink(Pin("map_moat_pol_peers").c_str()) == -1 && errno == EPERM);
          MOAT_CHILD_CHECK(rename(Pin("map_moat_pol_peers").c_str(), (bpffs() + "/away").c_str()) == -1 && errno == EPERM);
          MOAT_CHILD_CHECK(rename(pins().c_str(), (bpffs() + "/away").c_str()) == -1 && errno == EPERM);
          MOAT_CHILD_CHECK(rename((bpffs() + "/moat").c_str(), (bpffs() + "/away").c_str()) == -1 && errno == EPERM);
          const std::string empty = bpffs() + "/empty";
          MOAT_CHILD_CHECK(mkdir(empty.c_str(), 0700) == 0);
          const long swapped = syscall(SYS_renameat2, AT_FDCWD, empty.c_str(), AT_FDCWD, (bpffs() + "/moat").c_str(), 2u);
          MOAT_CHILD_CHECK(swapped == -1 && (errno == EPERM || errno == EINVAL));  // old bpffs does not exchange
          MOAT_CHILD_CHECK(rmdir(empty.c_str()) == 0);
          MOAT_CHILD_CHECK(rmdir(pins().c_str()) == -1 && errno == EPERM);
          MOAT_CHILD_CHECK(umount2(bpffs().c_str(), MNT_DETACH) == -1 && errno == EPERM);
          MOAT_CHILD_CHECK(TryConnect("127.0.0.1", 1) == EPERM);  // still enforced
        }) == 0);
  });
  size_t told = 0;
  for (const moat_verdict& verdict : Verdicts()) {
    if (verdict.operation == MOAT_VERDICT_GUARD && verdict.action == MOAT_VERDICT_DENY) {
      ++told;
      EXPECT_THAT(verdict.name,
                  testing::AnyOf(testing::StrEq("map"), testing::StrEq("prog"), testing::StrEq("link"), testing::StrEq("pins")));
    }
  }
  EXPECT_GE(told, 13u);  // one more where bpffs can exchange
  EXPECT_TRUE(probe().Policies()->Clear());  // the agent itself may
}

}  // namespace
}  // namespace moat::test
