// SPDX-License-Identifier: Apache-2.0
// Opens that are all there is to do: capabilities of NVIDIA's driver and vfio groups. The drivers are files below a directory of the test's,
// and the devices are those of memory: null, zero, full, random, urandom.
#include <gmock/gmock.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>

#include "tests/bpf/enforce_kit.h"
#include "tests/bpf/gpu_kit.h"

namespace moat::test {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kUrgentOpens = 16;  // MOAT_GPU_URGENT_OPENS

// Files as NVIDIA's driver and vfio have them.
class FakeDrivers {
 public:
  FakeDrivers() {
    char name[] = "/tmp/moat-drivers-XXXXXX";
    EXPECT_NE(mkdtemp(name), nullptr);
    root_ = name;
  }
  ~FakeDrivers() { fs::remove_all(root_); }
  FakeDrivers(const FakeDrivers&) = delete;
  FakeDrivers& operator=(const FakeDrivers&) = delete;

  const std::string& root() const { return root_; }
  void Write(const std::string& path, const std::string& text) const {
    fs::create_directories(fs::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text << "\n";
  }
  // /dev/null is the right to partition, /dev/zero to look at all partitions, /dev/full to use one.
  void Capabilities() const {
    Write("/proc/devices", "Character devices:\n  1 nvidia-caps\n");
    Write("/proc/driver/nvidia/capabilities/mig/config", "DeviceFileMinor: 3");
    Write("/proc/driver/nvidia/capabilities/mig/monitor", "DeviceFileMinor: 5");
    Write("/proc/driver/nvidia/capabilities/gpu0/mig/gi1/access", "DeviceFileMinor: 7");
  }
  // /dev/random is the group of a GPU, /dev/urandom that of a network card.
  void Groups() const {
    Write("/proc/devices", "Character devices:\n  1 mem\n");
    Write("/sys/class/vfio/7/dev", "1:8");
    Write("/sys/kernel/iommu_groups/7/devices/0000:81:00.0/class", "0x030200");
    Write("/sys/class/vfio/8/dev", "1:9");
    Write("/sys/kernel/iommu_groups/8/devices/0000:02:00.0/class", "0x020000");
  }

 private:
  std::string root_;
};

void Open(const char* path, int times, int expected = 0) {
  for (int i = 0; i < times; ++i) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    MOAT_CHILD_CHECK(expected == 0 ? fd >= 0 : fd == -1 && errno == expected);
    close(fd);
  }
}

class GpuOpenBpfTest : public BpfTest {
 protected:
  void SetUp() override {
    BpfTest::SetUp();
    config().process = config().file = config().net = false;
    config().gpu_root = drivers_.root();
  }
  // Categories of the opens of a device of memory.
  std::vector<uint32_t> Categories(pid_t pid, uint32_t least, uint32_t class_id) {
    std::vector<uint32_t> out;
    for (const moat_gpu_open& open : Of<moat_gpu_open>(MOAT_KIND_GPU_OPEN, pid)) {
      if (open.rdev == (1u << 20 | least)) {
        EXPECT_EQ(open.class_id, class_id);
        out.push_back(open.categories);
      }
    }
    return out;
  }
  FakeDrivers drivers_;
};

TEST_F(GpuOpenBpfTest, ACapabilityMeansWhatTheDriverCallsIt) {
  drivers_.Capabilities();
  Start();
  const pid_t pid = RunInside([] {
    Open("/dev/null", 3);
    Open("/dev/zero", 2);
    Open("/dev/full", 4);
    Open("/dev/urandom", 1);  // a minor that the driver does not name
    Open("/proc/self/status", 1);
  });
  EXPECT_EQ(Categories(pid, 3, MOAT_GPU_NVIDIA_CAPS), std::vector<uint32_t>(3, kReconfigure));
  EXPECT_EQ(Categories(pid, 5, MOAT_GPU_NVIDIA_CAPS), std::vector<uint32_t>(2, kProfile));
  EXPECT_EQ(Categories(pid, 7, MOAT_GPU_NVIDIA_CAPS), std::vector<uint32_t>(4, 0)) << "a workload's way to its part of a GPU";
  EXPECT_EQ(Categories(pid, 9, MOAT_GPU_NVIDIA_CAPS), std::vector<uint32_t>(1, 0));
  EXPECT_EQ(Count(MOAT_KIND_GPU_OPEN, pid), 10u) << Summary();
}

TEST_F(GpuOpenBpfTest, AVfioGroupOfAGpuIsRawAccessAndThatOfANetworkCardIsNothing) {
  drivers_.Groups();
  Start();
  const pid_t pid = RunInside([] {
    Open("/dev/random", 3);
    Open("/dev/urandom", 4);
    Open("/dev/null", 1);
  });
  EXPECT_EQ(Categories(pid, 8, MOAT_GPU_VFIO), std::vector<uint32_t>(3, kRaw));
  EXPECT_EQ(Count(MOAT_KIND_GPU_OPEN, pid), 3u) << Summary();
}

// The urgent ring is drained after the bulk ring: what came by it is behind what did not.
TEST_F(GpuOpenBpfTest, WhoOpensAgainAndAgainDoesNotFillTheRingOfVerdicts) {
  drivers_.Capabilities();
  Start();
  const pid_t pid = Spawn([] {
    Open("/dev/null", kUrgentOpens + 5);
    Open("/dev/full", 2);
  });
  siginfo_t info{};
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);
  Finish(pid);
  const auto opens = Of<moat_gpu_open>(MOAT_KIND_GPU_OPEN, pid);
  ASSERT_EQ(opens.size(), kUrgentOpens + 7) << Summary();
  const auto behind =
      std::ranges::find_if(opens, [&](const moat_gpu_open& open) { return open.hdr.time_ns < opens[0].hdr.time_ns; });
  EXPECT_EQ(behind - opens.begin(), 7) << "five of one that was opened too often, two that mean nothing";
}

class GpuOpenEnforceBpfTest : public EnforceBpfTest {
 protected:
  void SetUp() override {
    EnforceBpfTest::SetUp();
    config().gpu = true;
    config().gpu_root = drivers_.root();
  }
  bool StartedOrSkipped() {
    Start(/*expect_all=*/false);
    return Exposed("enforce.gpu_open").empty();
  }
  void ExpectVerdicts(pid_t pid, size_t count, moat_verdict_action action, uint32_t least, uint32_t category) {
    EXPECT_EQ(Verdicts(pid).size(), count);
    for (const moat_verdict& verdict : Verdicts(pid)) {
      EXPECT_EQ(verdict.action, action);
      EXPECT_EQ(verdict.operation, MOAT_VERDICT_GPU_OPEN);
      EXPECT_EQ(verdict.rdev, 1u << 20 | least);
      EXPECT_EQ(1u << verdict.category, category);
    }
  }
  FakeDrivers drivers_;
};

TEST_F(GpuOpenEnforceBpfTest, WhoMayNotReconfigureCannotOpenTheRightToButUsesHisPart) {
  drivers_.Capabilities();
  if (!StartedOrSkipped()) {
    GTEST_SKIP() << Exposed("enforce.gpu_open");
  }
  Enforce(PolicyOf("  gpu: {deny: [reconfigure]}\n"));
  const pid_t pid = RunInside([] {
    Open("/dev/null", 5, EPERM);
    Open("/dev/zero", 2);
    Open("/dev/full", 3);
  });
  ExpectVerdicts(pid, 5, MOAT_VERDICT_DENY, 3, kReconfigure);
  EXPECT_EQ(Of<moat_gpu_open>(MOAT_KIND_GPU_OPEN, pid).size(), 5u) << "those that came to be";
  Enforce(PolicyOf("  gpu: {deny: [export, raw-access]}\n"));
  ExpectVerdicts(RunInside([] { Open("/dev/null", 2); }), 0, MOAT_VERDICT_DENY, 0, 0);
}

TEST_F(GpuOpenEnforceBpfTest, NorCanHeTakeTheDescriptorFromAnother) {
  drivers_.Capabilities();
  if (!StartedOrSkipped() || !Exposed("enforce.gpu_receive").empty()) {
    GTEST_SKIP() << Exposed("enforce.gpu_open") << Exposed("enforce.gpu_receive");
  }
  const auto receive = [this](const char* path, bool comes) {
    int pair[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), 0);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    char byte = 'x', control[CMSG_SPACE(sizeof(int))] = {};
    iovec part{&byte, 1};
    msghdr message{.msg_name = nullptr,
                   .msg_namelen = 0,
                   .msg_iov = &part,
                   .msg_iovlen = 1,
                   .msg_control = control,
                   .msg_controllen = sizeof(control),
                   .msg_flags = 0};
    *CMSG_FIRSTHDR(&message) = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    std::memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), &fd, sizeof(fd));
    ASSERT_EQ(sendmsg(pair[0], &message, 0), 1);
    RunInside([&] {
      message.msg_controllen = sizeof(control);
      MOAT_CHILD_CHECK(recvmsg(pair[1], &message, 0) == 1);
      MOAT_CHILD_CHECK((CMSG_FIRSTHDR(&message) != nullptr) == comes);
    });
    for (const int end : {pair[0], pair[1], fd}) {
      close(end);
    }
  };
  Enforce(PolicyOf("  gpu: {deny: [reconfigure]}\n"));
  receive("/dev/null", false);
  receive("/dev/full", true);
  EXPECT_EQ(Verdicts().size(), 1u);
}

TEST_F(GpuOpenEnforceBpfTest, AGroupOfAGpuIsDeniedWithRawAccessAndWithUse) {
  drivers_.Groups();
  if (!StartedOrSkipped()) {
    GTEST_SKIP() << Exposed("enforce.gpu_open");
  }
  Enforce(PolicyOf("  gpu: {deny: [raw-access]}\n"));
  ExpectVerdicts(RunInside([] {
                   Open("/dev/random", 5, EPERM);
                   Open("/dev/urandom", 3);
                   Open("/dev/null", 3);
                 }),
                 5, MOAT_VERDICT_DENY, 8, kRaw);
  Enforce(PolicyOf("  gpu: {use: deny}\n"));
  RunInside([] {
    Open("/dev/random", 1, EPERM);
    Open("/dev/urandom", 1);
  });
}

TEST_F(GpuOpenEnforceBpfTest, InADryRunItIsOnlyTold) {
  drivers_.Capabilities();
  if (!StartedOrSkipped()) {
    GTEST_SKIP() << Exposed("enforce.gpu_open");
  }
  Enforce(PolicyOf("  gpu: {deny: [reconfigure]}\n", "dry-run"));
  ExpectVerdicts(RunInside([] {
                   Open("/dev/null", 4);
                   Open("/dev/full", 2);
                 }),
                 4, MOAT_VERDICT_WOULD_DENY, 3, kReconfigure);
}

}  // namespace
}  // namespace moat::test
