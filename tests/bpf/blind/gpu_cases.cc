// SPDX-License-Identifier: Apache-2.0
// Ways to an accelerator's driver, with /dev/null as the accelerator: 23 opens or 23 ioctls, which it refuses (ENOTTY).
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#include "agent/base/fd.h"
#include "tests/bpf/blind/case.h"
#include "tests/bpf/blind/compat32.h"
#include "tests/bpf/blind/passing.h"
#include "tests/bpf/blind/uring.h"

namespace moat::test {
namespace {

constexpr const char* kDevice = "/dev/null";

bool IsDevice(int fd) {
  struct stat wanted{}, got{};
  return stat(kDevice, &wanted) == 0 && fstat(fd, &got) == 0 && S_ISCHR(got.st_mode) && got.st_rdev == wanted.st_rdev;
}

void Call(int fd) {
  char block[16] = {};
  for (int i = 0; i < kTimes; ++i) {
    MOAT_CHILD_CHECK(ioctl(fd, kGpuCommand, block) == -1 && errno == ENOTTY);
  }
}

void Call32Bit(Stage&) {
  const int fd = MustOpen(kDevice, O_RDWR);
  const char* block = Low(16);
  for (int i = 0; i < kTimes; ++i) {
    MOAT_CHILD_CHECK(Call32(kIoctl32, static_cast<uint32_t>(fd), kGpuCommand, Low32(block)) == -ENOTTY);
  }
}

// The descriptors are the test's, from outside the scope: they wait in a socket for the workload to take them.
auto Send(int count) {
  return [count](Stage& stage) {
    int pair[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    for (int i = 0; i < count; ++i) {
      SendFd(pair[0], MustOpen(kDevice, O_RDWR));
    }
    close(pair[0]);
    stage.peer = pair[1];
  };
}

void Receive(Stage& stage) {
  for (int i = 0; i < kTimes; ++i) {
    const int fd = ReceiveFd(stage.peer);
    MOAT_CHILD_CHECK(IsDevice(fd));
    close(fd);
  }
}

void CallInherited(Stage& stage) {
  const int fd = MustOpen(kDevice, O_RDWR);
  MOAT_CHILD_CHECK(InChild([&] {
                     *stage.actor = getpid();
                     Call(fd);
                   }) == 0);
}

void UringOpens(Stage&) {
  Uring ring;
  for (int i = 0; i < kTimes; ++i) {
    io_uring_sqe sqe = Sqe(IORING_OP_OPENAT, AT_FDCWD, kDevice, 0);
    sqe.open_flags = O_RDWR;
    const int fd = ring.Do(sqe);
    MOAT_CHILD_CHECK(fd >= 0 && IsDevice(fd));
    close(fd);
  }
}

io_uring_sqe Command(int fd) {
  io_uring_sqe sqe = Sqe(IORING_OP_URING_CMD, fd, nullptr, 0);
  sqe.cmd_op = kGpuCommand;
  return sqe;
}

// Commands to a driver need no ioctl: NVMe takes them so, and /dev/null takes any, for trials.
std::string CommandLacks() {
  std::string lacks = UringLacks({IORING_OP_URING_CMD});
  if (lacks.empty()) {
    Uring ring;
    const Fd fd(open(kDevice, O_RDWR | O_CLOEXEC));
    const int result = ring.Do(Command(fd.get()));
    lacks = result == 0 ? "" : std::string("/dev/null takes no io_uring commands: ") + std::strerror(-result);
  }
  return lacks;
}

void UringCommands(Stage&) {
  Uring ring;
  const int fd = MustOpen(kDevice, O_RDWR);
  for (int i = 0; i < kTimes; ++i) {
    MOAT_CHILD_CHECK(ring.Do(Command(fd)) == 0);
  }
}

// A node with the device's number, in a place of one's own.
void SetNode(Stage& stage) {
  struct stat st{};
  ASSERT_EQ(stat(kDevice, &st), 0);
  ASSERT_EQ(mknod(stage.Path("own").c_str(), S_IFCHR | 0600, st.st_rdev), 0) << std::strerror(errno);
  if (const Fd fd(open(stage.Path("own").c_str(), O_RDWR | O_CLOEXEC)); !fd) {
    stage.cannot = std::string("a device node below /var/tmp: ") + std::strerror(errno);  // mounted nodev
  }
}

void OpenNode(Stage& stage) {
  for (int i = 0; i < kTimes; ++i) {
    const int fd = MustOpen(stage.Path("own"), O_RDWR);
    MOAT_CHILD_CHECK(IsDevice(fd));
    close(fd);
  }
}

void ClosePeer(Stage& stage) { close(stage.peer); }

}  // namespace

void AddGpuCases(std::vector<BlindSpot>& cases) {
  const Truth opens = {.gpu_opens = kTimes}, ioctls = {.gpu_ioctls = kTimes};
  const auto add = [&](const char* name, std::vector<const char*> events, const char* exposure, std::function<void(Stage&)> act,
                       const Truth& truth, std::function<std::string()> unavailable = {},
                       std::function<void(Stage&)> setup = {}) {
    cases.push_back({.name = name,
                     .group = Group::kGpu,
                     .events = std::move(events),
                     .exposure = exposure,
                     .unavailable = std::move(unavailable),
                     .setup = std::move(setup),
                     .act = std::move(act),
                     .cleanup = ClosePeer,
                     .truth = truth});
  };
  add(
      "GPU open", {"gpu.open"}, "",
      [](Stage&) {
        for (int i = 0; i < kTimes; ++i) {
          close(MustOpen(kDevice, O_RDWR));
        }
      },
      opens);
  add("GPU open of an own node", {"gpu.open"}, "", OpenNode, opens, {}, SetNode);
  add("GPU open through io_uring", {"gpu.open"}, "io_uring", UringOpens, opens, [] { return UringLacks({IORING_OP_OPENAT}); });
  add("GPU descriptor received", {"gpu.open"}, "passed_fd", Receive, opens, {}, Send(kTimes));
  add("GPU ioctl", {"gpu.ioctl"}, "", [](Stage&) { Call(MustOpen(kDevice, O_RDWR)); }, ioctls);
  add("GPU ioctl by int 0x80", {"gpu.ioctl_compat", "gpu.ioctl"}, "compat32", Call32Bit, ioctls, Compat32Lacks);
  add("GPU ioctl on a copied descriptor", {"gpu.ioctl"}, "dup_fd", [](Stage&) { Call(dup(MustOpen(kDevice, O_RDWR))); }, ioctls);
  add(
      "GPU ioctl on a received descriptor", {"gpu.ioctl"}, "passed_fd", [](Stage& stage) { Call(ReceiveFd(stage.peer)); }, ioctls,
      {}, Send(1));
  add("GPU ioctl on an inherited descriptor", {"gpu.ioctl"}, "inherited_fd", CallInherited, ioctls);
  add("GPU command through io_uring", {"gpu.ioctl"}, "uring_cmd", UringCommands, ioctls, CommandLacks);
}

}  // namespace moat::test
