// SPDX-License-Identifier: Apache-2.0
// Workloads that leave their world.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>

#include <algorithm>
#include <cerrno>

#include "tests/unit/detect_kit.h"

namespace moat::detect {
namespace {

using event::PrivilegeOp;
using event::Severity;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr const char* kPod = "/kubepods.slice/pod1/c1";
constexpr uint32_t kHostMount = 0xeffffff8, kOwnMount = 0xf0000123, kHostPid = 0xeffffffc, kHostUser = 0xeffffffd;

template <size_t N>
void Fill(event::FixedString<N>& to, const std::string& from) {
  to.length = static_cast<uint16_t>(std::min(from.size(), N - 1));
  std::copy_n(from.begin(), to.length, to.bytes.begin());
}

class NamespaceEscape : public testing::Test, public DetectKit {
 protected:
  NamespaceEscape() {
    detector = MakeNamespaceEscape();
    Work(kPod, {.pod_namespace = "prod", .pod_name = "vllm-0", .pod_uid = "u", .pod_container = "vllm", .container_id = "c1"});
    Work("/kubepods.slice/pod1", {.pod_uid = "u"});
    Work("/system.slice/containerd.service", {.unit = "containerd.service"});
    Work("/system.slice/cron.service", {.unit = "cron.service"});
    Work("/job", {.slurm_job = "7"});
    Work("/user.slice/session-3.scope", {.unit = "session-3.scope"});
  }
  void TearDown() override {
    for (const Draft& draft : raised) {
      EXPECT_EQ(Unfit(draft), "");
    }
  }
  struct Call {
    PrivilegeOp op;
    uint64_t flags = 0;
    int64_t result = 0;
    std::string target{}, source{}, type{};
    uint32_t mount_ns = kOwnMount, pid_ns = 0xf0000124, user_ns = kHostUser;
    uint64_t inode = 0;
  };
  void Does(const Who& who, const Call& call, uint64_t labels = 0) {
    event::Privilege body{.result = call.result,
                          .flags = call.flags,
                          .inode = call.inode,
                          .mount_ns = call.mount_ns,
                          .pid_ns = call.pid_ns,
                          .user_ns = call.user_ns,
                          .op = call.op,
                          .target = {},
                          .source = {},
                          .type = {}};
    Fill(body.target, call.target);
    Fill(body.source, call.source);
    Fill(body.type, call.type);
    Happens(event::Kind::kPrivilege, who, body, labels);
  }
  // What runc's init becomes: the first program of a container, by a path of the container's own.
  Who Starts(const Who& runtime, const std::string& exe, const std::string& cgroup = kPod) {
    return Exec(Process("/usr/bin/runc", cgroup, runtime, 0), exe);
  }
  static Call Proc() { return {.op = PrivilegeOp::kMount, .target = "/proc", .source = "proc", .type = "proc"}; }
  Who shim_ = Process("/usr/bin/containerd-shim-runc-v2", "/system.slice/containerd.service", nullptr, 0);
  Who thief_ = Process("/usr/bin/python3", kPod, nullptr, 0);
};

TEST_F(NamespaceEscape, AttackIntoTheHost) {
  Does(thief_, {.op = PrivilegeOp::kSetns, .flags = CLONE_NEWNS, .mount_ns = kHostMount});
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].kind, event::FindingKind::kNamespaceEscape);
  EXPECT_EQ(raised[0].severity, Severity::kCritical);
  EXPECT_THAT(raised[0].title, HasSubstr("in pod prod/vllm-0 (vllm) joined the mount namespace of the host"));
  EXPECT_EQ(raised[0].techniques[0].id, "AML.T0105");
  EXPECT_EQ(raised[0].techniques[1].id, "T1611");
  Does(thief_, {.op = PrivilegeOp::kSetns, .pid_ns = kHostPid, .inode = kHostPid});  // without saying of what type it is
  ASSERT_THAT(raised, SizeIs(2));
  EXPECT_EQ(raised[1].severity, Severity::kCritical);
  Does(thief_, {.op = PrivilegeOp::kSetns, .flags = CLONE_NEWNS});  // another container's
  ASSERT_THAT(raised, SizeIs(3));
  EXPECT_EQ(raised[2].severity, Severity::kHigh);
  Does(thief_, {.op = PrivilegeOp::kSetns, .flags = CLONE_NEWNS, .result = -EPERM});
  ASSERT_THAT(raised, SizeIs(4));
  EXPECT_EQ(raised[3].severity, Severity::kMedium);
  EXPECT_NE(raised[3].cause, raised[2].cause);
}

TEST_F(NamespaceEscape, AttackThatLeavesItsNamespaceFirst) {
  Does(thief_, {.op = PrivilegeOp::kUnshare, .flags = CLONE_NEWNS});
  Does(thief_, {.op = PrivilegeOp::kSetns, .flags = CLONE_NEWNS, .mount_ns = kHostMount});
  EXPECT_THAT(raised, SizeIs(1)) << "no way back leads from a container to the host";
}

TEST_F(NamespaceEscape, AttackByMounts) {
  const Call calls[] = {
      {.op = PrivilegeOp::kMount, .target = "/mnt", .source = "/dev/nvme0n1p1", .type = "ext4"},
      {.op = PrivilegeOp::kFsopen, .type = "ext4"},
      {.op = PrivilegeOp::kMount, .target = "/tmp/c", .source = "x", .type = "cgroup", .user_ns = 0xf0000200},
      {.op = PrivilegeOp::kMount, .target = "/tmp/d", .source = "x", .type = "devtmpfs"},
      {.op = PrivilegeOp::kMount, .target = "/tmp/p", .source = "x", .type = "proc", .pid_ns = kHostPid},
      {.op = PrivilegeOp::kMount, .flags = MS_BIND, .target = "/mnt", .source = "/proc/1/root"},
      {.op = PrivilegeOp::kMount, .flags = MS_REMOUNT | MS_BIND, .target = "/proc/sys"},
      {.op = PrivilegeOp::kOpenTree, .flags = 1, .target = "/proc/1/root"},
      {.op = PrivilegeOp::kChroot, .target = "/proc/1/root"},
      {.op = PrivilegeOp::kChroot, .target = "/host"},
  };
  for (Call call : calls) {
    raised.clear();
    Does(thief_, call);
    ASSERT_THAT(raised, SizeIs(1)) << call.target << " " << call.type;
    EXPECT_GE(raised[0].severity, Severity::kMedium);
    call.result = -EPERM;
    Does(thief_, call);
    ASSERT_THAT(raised, SizeIs(2));
    EXPECT_EQ(raised[1].severity, Severity::kLow);
    EXPECT_THAT(raised[1].title, HasSubstr("and was refused"));
  }
}

TEST_F(NamespaceEscape, AttackOnTheKernel) {
  for (const PrivilegeOp op :
       {PrivilegeOp::kInitModule, PrivilegeOp::kFinitModule, PrivilegeOp::kKexecLoad, PrivilegeOp::kKexecFileLoad}) {
    raised.clear();
    Does(thief_, {.op = op, .target = "rootkit.ko"});
    ASSERT_THAT(raised, SizeIs(1));
    EXPECT_EQ(raised[0].severity, Severity::kCritical);
    Does(thief_, {.op = op, .result = -EPERM});
    ASSERT_THAT(raised, SizeIs(2));
    EXPECT_EQ(raised[1].severity, Severity::kMedium);
  }
}

TEST_F(NamespaceEscape, AttackByAServiceThatHoldsWeightsAndByANameOnly) {
  const Who service = Process("/usr/bin/python3", "/system.slice/cron.service", nullptr, 0);
  Does(service, {.op = PrivilegeOp::kFinitModule}, /*labels=*/1);
  EXPECT_THAT(raised, SizeIs(1));
  const Who entry =
      Process("/bin/sh", kPod, Process("/usr/bin/containerd-shim", "/system.slice/containerd.service", nullptr, 0), 0);
  Does(Process("/usr/bin/runc", kPod, entry, 0), {.op = PrivilegeOp::kSetns, .flags = CLONE_NEWNS, .mount_ns = kHostMount});
  EXPECT_THAT(raised, SizeIs(2)) << "a file of the container's own, named as a runtime";
}

TEST_F(NamespaceEscape, AttackByRuntimesOfTheContainersOwn) {
  const Call join = {.op = PrivilegeOp::kSetns, .flags = CLONE_NEWNS, .mount_ns = kHostMount};
  const Who entry = Starts(shim_, "/usr/bin/runc");  // the image's first program has that name
  Does(entry, join);
  EXPECT_THAT(raised, SizeIs(1)) << "what came in place of the runtime";
  Does(Exec(Fork(entry), "/usr/bin/runc"), join);
  EXPECT_THAT(raised, SizeIs(2)) << "and its children";
  const Who shell = Starts(shim_, "/bin/sh");
  Does(Exec(shell, "/usr/bin/runc"), join);
  EXPECT_THAT(raised, SizeIs(3)) << "a shell that turned into one";
  const Who other = Starts(shim_, "/bin/sh");
  const Who outer = Exec(Fork(other), "/usr/bin/runc");
  const Who inner = Changed(Process("/usr/bin/runc", "/kubepods.slice/pod1/c1/own", outer, 0), [](auto&) {});
  Work(inner->cgroup, {.pod_uid = "u", .container_id = "c1"});
  Does(inner, join);
  EXPECT_THAT(raised, SizeIs(4)) << "in a cgroup of its own, by a runtime in another one";
  Does(Exec(inner, "memfd:x", {}, event::kExecMemfd), join);
  EXPECT_THAT(raised, SizeIs(5));
  const Who scanned = Process("/usr/bin/python3", kPod, nullptr, 0);
  Happens(event::Kind::kScan, scanned, event::Exec{.image = scanned});
  Does(Exec(Fork(scanned), "/usr/bin/crun"), join);
  EXPECT_THAT(raised, SizeIs(6)) << "it ran before the agent";
}

TEST_F(NamespaceEscape, AttackByWhomNobodyKnows) {
  const auto unknown = [&](uint64_t cgroup_id) {
    event::Event event;
    event.header.kind = event::Kind::kPrivilege;
    event.header.process = {.pid = 9, .start_ns = 9};
    event.header.cgroup_id = cgroup_id;
    event.body = event::Privilege{
        .flags = CLONE_NEWNS, .mount_ns = kHostMount, .op = PrivilegeOp::kSetns, .target = {}, .source = {}, .type = {}};
    detector->OnEvent(event, *this, *this);
  };
  unknown(thief_->cgroup_id);
  EXPECT_THAT(raised, IsEmpty()) << "whose cgroup is not known either";
  Starts(shim_, "/bin/sh");
  unknown(thief_->cgroup_id + 2);
  EXPECT_THAT(raised, IsEmpty());
  unknown(thief_->cgroup_id);
  EXPECT_THAT(raised, SizeIs(1));
}

TEST_F(NamespaceEscape, AttackByOtherWordsForTheSame) {
  const Call calls[] = {
      {.op = PrivilegeOp::kMount, .target = "/mnt", .source = "/tmp/disk", .type = "xfs"},  // mknod
      {.op = PrivilegeOp::kMount, .target = "/mnt", .source = "sda1", .type = "ntfs3"},
      {.op = PrivilegeOp::kMount, .target = "/mnt", .source = "x", .type = "fuseblk"},
      {.op = PrivilegeOp::kMount, .target = "/mnt", .source = "//dev/sda1", .type = "jfs"},
      {.op = PrivilegeOp::kMount, .target = "/mnt", .source = "/dev/loop0", .type = "squashfs"},
      {.op = PrivilegeOp::kMount, .flags = MS_BIND, .target = "/mnt", .source = "//proc/1/root/"},
      {.op = PrivilegeOp::kMount, .flags = MS_REMOUNT | MS_BIND, .target = "//proc/./sys"},
      {.op = PrivilegeOp::kChroot, .target = "//proc/1/root"},
      {.op = PrivilegeOp::kChroot, .target = "/tmp/../proc/1/root/etc"},
      {.op = PrivilegeOp::kChroot, .target = "proc/1/task/1/root"},
      {.op = PrivilegeOp::kChroot, .target = "/host/proc/1/root"},
      {.op = PrivilegeOp::kChroot, .target = "/host/"},
      {.op = PrivilegeOp::kMount, .target = "/tmp/p", .source = "x", .type = "proc"},  // without what the runtime hides
      {.op = PrivilegeOp::kMount, .target = "/tmp/s", .source = "x", .type = "sysfs"},
  };
  for (const Call& call : calls) {
    raised.clear();
    Does(thief_, call);
    ASSERT_THAT(raised, SizeIs(1)) << call.target << " " << call.source << " " << call.type;
  }
}

TEST_F(NamespaceEscape, BenignWhatRuntimesDoInAContainer) {
  const Who runc = Process("/usr/bin/runc", "/system.slice/containerd.service", shim_, 0);
  const Who init = Process("/usr/bin/runc", kPod, runc, 0);
  Does(init, Proc());
  const Who newer = Changed(Process("/runc", kPod, init, 0), [](event::Process& p) { p.filename = "/proc/self/fd/7"; });
  Happens(event::Kind::kExec, newer, event::Exec{.image = newer});
  Does(newer, Proc());
  Does(newer, {.op = PrivilegeOp::kMount, .target = "/sys", .source = "sysfs", .type = "sysfs"});
  const Who hook = Exec(Fork(newer), "/usr/bin/nvidia-ctk");
  Does(hook, Proc());
  const Who conmon = Process("/usr/bin/conmon", "/kubepods.slice/pod1", Process("/usr/bin/crio", "/", nullptr, 0), 0);
  Does(Process("/usr/bin/crun", kPod, conmon, 0), Proc());
  const Who k3s =
      Process("/var/lib/rancher/k3s/data/1/bin/containerd-shim-runc-v2", "/system.slice/containerd.service", nullptr, 0);
  Does(Process("/var/lib/rancher/k3s/data/1/bin/runc", kPod, k3s, 0), Proc());
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(NamespaceEscape, BenignImagesOfJobs) {
  const Who apptainer = Changed(Process("/usr/libexec/apptainer/bin/starter-suid", "/job"),
                                [](event::Process& p) { p.exec_flags = event::kExecSetuid; });
  const Call image = {.op = PrivilegeOp::kMount, .target = "/var/apptainer/mnt", .source = "/dev/loop3", .type = "squashfs"};
  Does(apptainer, image);
  Does(apptainer, Proc());
  EXPECT_THAT(raised, IsEmpty());
  Does(apptainer, {.op = PrivilegeOp::kMount, .target = "/mnt", .source = "/dev/sda1", .type = "ext4"});
  Does(Process("/srv/starter", "/job", nullptr, 0), image);
  EXPECT_THAT(raised, SizeIs(2));
}

TEST_F(NamespaceEscape, CgroupsThatWereGoneAtOnceAreJudgedByWhoStartedThem) {
  const auto of = [&](const Who& parent) {
    return Changed(Process("/usr/bin/kmod", "gone", parent, 0), [](event::Process& p) { p.cgroup.clear(); });
  };
  const Who systemd = Process("/usr/lib/systemd/systemd", "/init.scope", nullptr, 0);
  Does(of(systemd), {.op = PrivilegeOp::kFinitModule});  // modprobe@drm.service
  EXPECT_THAT(raised, IsEmpty());
  Does(of(of(shim_)), {.op = PrivilegeOp::kFinitModule});
  Does(of(nullptr), {.op = PrivilegeOp::kFinitModule});
  EXPECT_THAT(raised, SizeIs(2));
}

TEST_F(NamespaceEscape, BenignRuntimesAndTheHost) {
  const Who runc = Process("/usr/bin/runc", "/system.slice/containerd.service", shim_, 0),
            init = Process("/usr/bin/runc", kPod, runc, 0);
  const Who copy = Changed(Process("memfd:runc_cloned:/proc/self/exe", kPod, init, 0),
                           [](event::Process& p) { p.exec_flags = event::kExecMemfd; });
  const Who systemd = Process("/usr/lib/systemd/systemd-executor", "/vllm.service", nullptr, 0);
  for (const Who& who :
       {init, copy, runc, systemd, Process("/usr/bin/python3", "/system.slice/cron.service", nullptr, 0),
        Process("/usr/bin/kmod", "/", nullptr, 0), Process("/usr/bin/mount", "/user.slice/session-3.scope", nullptr, 0)}) {
    Does(who, {.op = PrivilegeOp::kUnshare, .flags = CLONE_NEWNS});
    Does(who, {.op = PrivilegeOp::kSetns, .flags = CLONE_NEWNS, .mount_ns = kHostMount});
    Does(who, {.op = PrivilegeOp::kMount, .target = "/mnt", .source = "/dev/sda1", .type = "ext4"});
    Does(who, {.op = PrivilegeOp::kMount, .target = "/sys/fs/cgroup", .source = "x", .type = "cgroup"});
    Does(who, {.op = PrivilegeOp::kFinitModule, .target = "overlay.ko"});
  }
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(NamespaceEscape, BenignSandboxes) {
  for (const Who& who : {thief_, Process("/usr/bin/bwrap", "/work")}) {
    Does(who, {.op = PrivilegeOp::kUnshare, .flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID});
    Does(who, {.op = PrivilegeOp::kMount, .flags = MS_REC | MS_PRIVATE, .target = "/"});
    Does(who, {.op = PrivilegeOp::kMount, .target = "/tmp/new", .source = "tmpfs", .type = "tmpfs"});
    Does(who, {.op = PrivilegeOp::kMount, .flags = MS_BIND | MS_REC, .target = "/tmp/new/usr", .source = "/usr"});
    Does(who, {.op = PrivilegeOp::kMount, .flags = MS_BIND, .target = "/tmp/new/dev/null", .source = "/dev/null"});
    Does(who, {.op = PrivilegeOp::kMount, .flags = MS_BIND | MS_REMOUNT | MS_RDONLY, .target = "/proc/sys"});
    Does(who, {.op = PrivilegeOp::kMount, .target = "/proc", .source = "proc", .type = "proc", .user_ns = 0xf0000125});
    Does(who, {.op = PrivilegeOp::kChroot, .target = "/proc/self/root"});
    Does(who, {.op = PrivilegeOp::kMount, .target = "/merged", .source = "overlay", .type = "overlay"});
    Does(who, {.op = PrivilegeOp::kPivotRoot, .target = "/tmp/new", .source = "/tmp/new/old"});
    Does(who, {.op = PrivilegeOp::kChroot, .target = "/var/empty"});
    Does(who, {.op = PrivilegeOp::kSetns, .flags = CLONE_NEWNET});
    Does(who, {.op = PrivilegeOp::kFinitModule, .result = -EEXIST});
  }
  const Who wanderer = Process("/usr/bin/ip", "/work", nullptr, 0);  // there and back
  Does(wanderer, {.op = PrivilegeOp::kUnshare, .flags = CLONE_NEWNS});
  Does(wanderer, {.op = PrivilegeOp::kSetns, .flags = CLONE_NEWNS, .mount_ns = kHostMount});
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(NamespaceEscape, AMillionProcessesAndStillAwake) {
  for (uint32_t i = 0; i < 1'000'000; ++i) {
    event::Process other = *thief_;
    other.key = {i + 1000, i};
    Does(std::make_shared<const event::Process>(other), {.op = PrivilegeOp::kUnshare, .flags = CLONE_NEWNS});
  }
  EXPECT_GT(detector->forgotten(), 0u);
  Does(thief_, {.op = PrivilegeOp::kKexecLoad});
  EXPECT_THAT(raised, SizeIs(1));
}

}  // namespace
}  // namespace moat::detect
