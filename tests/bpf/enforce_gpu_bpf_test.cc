// SPDX-License-Identifier: Apache-2.0
// Accelerators: who may use them, and which calls. A call that is denied never arrives: the stand-in GPU of the guests counts what does.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <cerrno>
#include <fstream>

#include "tests/bpf/enforce_kit.h"
#include "tests/bpf/gpu_kit.h"

namespace moat::test {
namespace {

using ::testing::Contains;
using ::testing::StartsWith;

constexpr unsigned long kExport = 0xc00846d9;  // number 217, as NV_ESC_EXPORT_TO_DMABUF_FD
constexpr unsigned long kOrdinary = 0xc008462a;  // number 0x2a
constexpr unsigned long kXfer = 0xc01046d3;  // number 211: its first word is the number that is meant

class GpuEnforceBpfTest : public EnforceBpfTest {
 protected:
  void SetUp() override {
    EnforceBpfTest::SetUp();
    config().gpu = true;
    std::ifstream counter("/run/moat-gpu/ioctls");
    if (!counter) {
      GTEST_SKIP() << "no stand-in GPU: it is in the guests of tests/vm";
    }
  }
  static uint64_t Arrived(const char* what) {
    uint64_t n = 0;
    std::ifstream(std::string("/run/moat-gpu/") + what) >> n;
    return n;
  }
  bool StartedOrSkipped() {
    Start(/*expect_all=*/false);
    return Exposed("enforce.gpu_ioctl").empty();
  }
};

int Call(int fd, unsigned long command, void* params) { return ioctl(fd, command, params) == 0 ? 0 : errno; }

TEST_F(GpuEnforceBpfTest, ADeniedCallNeverArrives) {
  if (!StartedOrSkipped()) {
    GTEST_SKIP() << Exposed("enforce.gpu_ioctl");
  }
  Enforce(PolicyOf("  gpu: {deny: [export]}\n"));
  const uint64_t before = Arrived("ioctls");
  const pid_t pid = RunInside([] {
    const int fd = open("/dev/nvidia0", O_RDWR | O_CLOEXEC);
    MOAT_CHILD_CHECK(fd >= 0);
    uint32_t params[4] = {};
    for (int i = 0; i < 23; ++i) {
      MOAT_CHILD_CHECK(Call(fd, kExport, params) == EPERM);
      params[0] = 217;
      MOAT_CHILD_CHECK(Call(fd, kXfer, params) == EPERM);
      MOAT_CHILD_CHECK(Call(fd, kExport ^ 0x40000000, params) == EPERM);  // other direction bits: the driver does not care
      params[0] = 0;
    }
    for (int i = 0; i < 7; ++i) {
      MOAT_CHILD_CHECK(Call(fd, kOrdinary, params) == 0);
    }
  });
  EXPECT_EQ(Arrived("ioctls") - before, 7u) << "those that nobody denied, and no other";
  EXPECT_EQ(Verdicts(pid).size(), 69u);
  for (const moat_verdict& verdict : Verdicts(pid)) {
    EXPECT_EQ(verdict.action, MOAT_VERDICT_DENY);
    EXPECT_EQ(verdict.operation, MOAT_VERDICT_GPU_CALL);
    EXPECT_EQ(verdict.category, 3u) << "export";
  }
}

// The driver waits for a page that is not there; a program of ours cannot.
TEST_F(GpuEnforceBpfTest, ParametersOnAPageThatIsNotThereAreNoWayRound) {
  if (!StartedOrSkipped()) {
    GTEST_SKIP() << Exposed("enforce.gpu_ioctl");
  }
  const uint64_t before = Arrived("ioctls");
  const auto calls = [](int expected) {
    const int file = open("/tmp", O_TMPFILE | O_RDWR, 0600), fd = open("/dev/nvidia0", O_RDWR | O_CLOEXEC);
    const uint32_t control[8] = {0xc1d00001, 0x5c000001, 0x20800122};  // register access, by RM_CONTROL
    MOAT_CHILD_CHECK(file >= 0 && fd >= 0 && write(file, control, sizeof(control)) == sizeof(control));
    for (int i = 0; i < 5; ++i) {
      void* fresh = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
      MOAT_CHILD_CHECK(fresh != MAP_FAILED && Call(fd, 0xc020462a, fresh) == expected);
      munmap(fresh, 4096);
    }
  };
  Enforce(PolicyOf("  gpu: {deny: [raw-access]}\n"));
  RunInside([&] { calls(EPERM); });
  EXPECT_EQ(Arrived("ioctls") - before, 0u);
  Enforce(PolicyOf("  gpu: {use: allow}\n"));
  RunInside([&] { calls(0); });
  EXPECT_EQ(Arrived("ioctls") - before, 5u) << "nothing is denied to whom nothing is";
}

TEST_F(GpuEnforceBpfTest, CallsForAnothersClientAreForeignMemory) {
  if (!StartedOrSkipped()) {
    GTEST_SKIP() << Exposed("enforce.gpu_ioctl");
  }
  constexpr uint32_t kParents = 0xc1d0a001, kChilds = 0xc1d0a002;
  const auto make = [](int fd, uint32_t client) {
    return Call(fd, GpuCommand(43, 48), Alloc(0x41, nullptr, client, client).data());
  };
  const auto ask = [](int fd, uint32_t client) {
    return Call(fd, GpuCommand(42, 32), Control(0x20800101, nullptr, 0, client).data());
  };
  const auto calls = [&](int expected) {
    const int fd = open("/dev/nvidiactl", O_RDWR | O_CLOEXEC);
    MOAT_CHILD_CHECK(fd >= 0 && make(fd, kParents) == 0 && ask(fd, kParents) == 0);
    const pid_t child = fork();
    if (child == 0) {
      const int own = open("/dev/nvidiactl", O_RDWR | O_CLOEXEC);
      MOAT_CHILD_CHECK(own >= 0 && make(own, kChilds) == 0 && ask(own, kChilds) == 0);
      MOAT_CHILD_CHECK(ask(fd, kParents) == expected);
      _exit(0);
    }
    int status = 1;
    MOAT_CHILD_CHECK(waitpid(child, &status, 0) == child && status == 0);
  };
  Enforce(PolicyOf("  gpu: {deny: [foreign-memory]}\n"));
  RunInside([&] { calls(EPERM); });
  ASSERT_EQ(Verdicts().size(), 1u);
  EXPECT_EQ(Verdicts()[0].category, 2u) << "foreign-memory";
  for (int i = 0; i < 5; ++i) {
    Sums();  // the clients of processes that ended are forgotten, and their numbers are free
  }
  Enforce(PolicyOf("  gpu: {deny: [export]}\n"));
  RunInside([&] { calls(0); });
  EXPECT_EQ(Verdicts().size(), 1u);
}

TEST_F(GpuEnforceBpfTest, WhoMayNotUseADeviceCannotOpenItAndMakesNoCallOnAnOpenOne) {
  if (!StartedOrSkipped()) {
    GTEST_SKIP() << Exposed("enforce.gpu_ioctl");
  }
  Signal opened, go;
  const uint64_t before = Arrived("ioctls");
  const pid_t pid = Spawn([&] {
    const int fd = open("/dev/nvidia0", O_RDWR | O_CLOEXEC);
    uint32_t params[4] = {};
    MOAT_CHILD_CHECK(fd >= 0 && Call(fd, kOrdinary, params) == 0);
    opened.Give();
    go.Take();
    MOAT_CHILD_CHECK(Call(fd, kOrdinary, params) == EPERM);
    MOAT_CHILD_CHECK(open("/dev/nvidia0", O_RDWR | O_CLOEXEC) == -1 && errno == EPERM);
    MOAT_CHILD_CHECK(open("/dev/null", O_RDWR | O_CLOEXEC) >= 0);
  });
  opened.Take();
  Enforce(PolicyOf("  gpu: {use: deny}\n"));
  go.Give();
  Finish(pid);
  EXPECT_EQ(Arrived("ioctls") - before, 1u);
  EXPECT_EQ(Verdicts(pid).size(), 2u);
}

// Packet and vsock sockets have no address that a rule could name.
TEST_F(EnforceBpfTest, OtherFamiliesAreDeniedWhereTheDefaultIs) {
  Start(/*expect_all=*/false);
  if (const std::string why = Exposed("enforce.socket"); !why.empty()) {
    GTEST_SKIP() << why;
  }
  Enforce(PolicyOf("  egress: {default: allow}\n"));
  RunInside([] { MOAT_CHILD_CHECK(socket(AF_PACKET, SOCK_RAW, 0) >= 0); });
  Enforce(PolicyOf("  egress: {default: deny}\n"));
  RunInside([] {
    MOAT_CHILD_CHECK(socket(AF_PACKET, SOCK_RAW, 0) == -1 && errno == EPERM);
    MOAT_CHILD_CHECK(socket(AF_UNIX, SOCK_STREAM, 0) >= 0);
  });
  EXPECT_EQ(Verdicts().size(), 1u);
}

}  // namespace
}  // namespace moat::test
