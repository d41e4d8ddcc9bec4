// SPDX-License-Identifier: Apache-2.0
// Accelerator opens and ioctls, with /dev/null as the accelerator: exact counts per process and command, and what a record says.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <thread>

#include "bpf/abi/label.h"
#include "tests/bpf/inspect.h"

namespace moat::test {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;
using namespace std::chrono_literals;

constexpr uint32_t kNull = 1 << 20 | 3;  // the device number of /dev/null
constexpr uint32_t kAttach = _IOC(_IOC_READ | _IOC_WRITE, 'F', 0x2a, 16);
constexpr uint32_t kAlloc = _IOC(_IOC_READ | _IOC_WRITE, 'F', 0x2b, 32);
constexpr uint32_t kOtherMagic = _IOC(_IOC_NONE, 'G', 0x2a, 0);  // the number of kAttach
constexpr int kTimes = 23;

int MustOpen(const char* path, int flags = O_RDWR) {
  const int fd = open(path, flags);
  MOAT_CHILD_CHECK(fd >= 0);
  return fd;
}

// /dev/null knows no command: each of these fails with ENOTTY, and is seen all the same.
void Ioctl(int fd, uint32_t command, const void* arg, int times = 1) {
  for (int i = 0; i < times; ++i) {
    MOAT_CHILD_CHECK(ioctl(fd, command, arg) == -1 && errno == ENOTTY);
  }
}

// A message that carries one descriptor.
struct Passing {
  char byte = 'x';
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  iovec part{&byte, 1};
  msghdr message{};
  Passing() {
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    *CMSG_FIRSTHDR(&message) = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
  }
  int& fd() { return *reinterpret_cast<int*>(CMSG_DATA(CMSG_FIRSTHDR(&message))); }
};

class GpuBpfTest : public BpfTest {
 protected:
  void SetUp() override {
    BpfTest::SetUp();
    config().process = config().file = config().net = false;
    config().devices = {{.path = "/dev/null", .device_class = "other"}};
  }
  std::vector<moat_gpu_ioctl> Ioctls(pid_t pid = 0) { return Of<moat_gpu_ioctl>(MOAT_KIND_GPU_IOCTL, pid); }

  // Calls per command, as the kernel has counted them for a process.
  static std::map<uint32_t, uint64_t> Counts(pid_t pid, __u64 moat_gpu_val::* field = &moat_gpu_val::count) {
    std::map<uint32_t, uint64_t> counts;
    for (const auto& [key, value] : MapRows<moat_gpu_key, moat_gpu_val>("moat_gpu_calls")) {
      if (key.pid == static_cast<uint32_t>(pid)) {
        EXPECT_EQ(key.rdev, kNull);
        counts[key.cmd] += value.*field;
      }
    }
    return counts;
  }
};

using Call = std::pair<const uint32_t, uint64_t>;

TEST_F(GpuBpfTest, EveryOpenByEveryVariant) {
  Start();
  Shared<int> fd;
  const pid_t pid = RunInside([&] {
    for (int i = 0; i < kTimes; ++i) {
      open_how how{.flags = O_WRONLY, .mode = 0, .resolve = 0};
      close(*fd = static_cast<int>(syscall(SYS_open, "/dev/null", O_RDWR | O_CLOEXEC)));
      close(static_cast<int>(syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY)));
      close(static_cast<int>(syscall(SYS_openat2, AT_FDCWD, "/dev/null", &how, sizeof(how))));
      close(static_cast<int>(syscall(SYS_creat, "/dev/null", 0)));
      close(MustOpen("/dev/zero"));  // the same major
      close(MustOpen("/proc/self/status", O_RDONLY));
      MOAT_CHILD_CHECK(open("/dev/null/nothing", O_RDONLY) == -1);
    }
  });
  const auto opens = Of<moat_gpu_open>(MOAT_KIND_GPU_OPEN, pid);
  ASSERT_EQ(opens.size(), 4u * kTimes) << Summary();
  for (size_t i = 0; i < opens.size(); ++i) {
    constexpr uint32_t kAccess[] = {O_RDWR, O_RDONLY, O_WRONLY, O_WRONLY};
    EXPECT_EQ(opens[i].rdev, kNull);
    EXPECT_EQ(opens[i].class_id, uint32_t{MOAT_GPU_OTHER});
    EXPECT_EQ(opens[i].open_flags & O_ACCMODE, kAccess[i % 4]);
    EXPECT_EQ(opens[i].fd, Backend("gpu.open") == "sys_exit" ? static_cast<uint32_t>(*fd) : MOAT_NO_FD);
    EXPECT_EQ(opens[i].hdr.cgroup_id, cgroup_id());
    EXPECT_EQ(opens[i].hdr.uid, getuid());
  }
  EXPECT_EQ(Count(MOAT_KIND_GPU_OPEN), opens.size());
}

TEST_F(GpuBpfTest, CountsEachCommandAndTellsTheFirst) {
  Start();
  const pid_t pid = RunInside([] {
    char block[32] = {};
    const int null = MustOpen("/dev/null"), zero = MustOpen("/dev/zero"), file = MustOpen("/proc/self/status", O_RDONLY);
    Ioctl(null, kAttach, block, kTimes);
    Ioctl(null, kAlloc, block, 7);
    Ioctl(zero, kAttach, block, kTimes);
    Ioctl(file, kAttach, block, kTimes);
    MOAT_CHILD_CHECK(ioctl(-1, kAttach, block) == -1 && ioctl(1000, kAttach, block) == -1 && errno == EBADF);
    MOAT_CHILD_CHECK(ioctl(null, FIOCLEX) == 0);
    const int path = open("/dev/null", O_PATH);
    MOAT_CHILD_CHECK(ioctl(path, kAttach, block) == -1 && errno == EBADF);  // never reaches a driver
  });
  EXPECT_THAT(Counts(pid), UnorderedElementsAre(Call(kAttach, kTimes), Call(kAlloc, 7), Call(FIOCLEX, 1)));
  const bool results = !Unseen("gpu.ioctl", "result");  // seen on the way back
  if (results) {
    EXPECT_THAT(Counts(pid, &moat_gpu_val::errors),
                UnorderedElementsAre(Call(kAttach, kTimes), Call(kAlloc, 7), Call(FIOCLEX, 0)));
  }
  const auto events = Ioctls();
  ASSERT_EQ(events.size(), 3u) << Summary();
  for (const moat_gpu_ioctl& event : events) {
    EXPECT_EQ(event.hdr.pid, static_cast<uint32_t>(pid));
    EXPECT_EQ(event.why & ~MOAT_IOCTL_FAILED, MOAT_IOCTL_FIRST);
    EXPECT_EQ(event.count, 1u);
    EXPECT_EQ(event.rdev, kNull);
    EXPECT_EQ(event.class_id, uint32_t{MOAT_GPU_OTHER});
    EXPECT_EQ(event.hdr.flags & MOAT_F_NO_RESULT, results ? 0 : MOAT_F_NO_RESULT);
  }
  EXPECT_EQ(events[0].cmd, kAttach);
  EXPECT_EQ(events[0].size, 16u);
  EXPECT_EQ(events[0].result, results ? -ENOTTY : 0);
  EXPECT_EQ(events[1].cmd, kAlloc);
  EXPECT_EQ(events[2].cmd, uint32_t{FIOCLEX});
  EXPECT_EQ(events[2].result, 0);
}

TEST_F(GpuBpfTest, ANeighbourOutsideTheScopeIsNotSeen) {
  Start();
  const pid_t outside = RunOutside([] {
    char block[32] = {};
    Ioctl(MustOpen("/dev/null"), kAttach, block, kTimes);
  });
  EXPECT_THAT(records(), IsEmpty()) << Summary();
  EXPECT_THAT(Counts(outside), IsEmpty());
  const pid_t inside = RunInside([] {
    char block[32] = {};
    Ioctl(MustOpen("/dev/null"), kAttach, block, kTimes);
  });
  EXPECT_THAT(Counts(inside), ElementsAre(Call(kAttach, kTimes)));
}

TEST_F(GpuBpfTest, EveryCallOfAWatchedWord) {
  config().watch = {{.device_class = "", .command = kAttach, .whole = true}};
  Start();
  RunInside([] {
    char block[32] = {};
    const int null = MustOpen("/dev/null");
    for (int i = 0; i < kTimes; ++i) {
      Ioctl(null, kAttach, block);
      Ioctl(null, kOtherMagic, block);
    }
  });
  uint64_t calls = 0, others = 0;
  for (const moat_gpu_ioctl& event : Ioctls()) {
    if (event.cmd == kOtherMagic) {
      ++others;
      EXPECT_EQ(event.why & ~MOAT_IOCTL_FAILED, MOAT_IOCTL_FIRST);
      continue;
    }
    EXPECT_EQ(event.count, ++calls);
    EXPECT_EQ(event.why & ~MOAT_IOCTL_FAILED, MOAT_IOCTL_WATCHED | (calls == 1 ? MOAT_IOCTL_FIRST : 0));
  }
  EXPECT_EQ(calls, uint64_t{kTimes});
  EXPECT_EQ(others, 1u);
}

TEST_F(GpuBpfTest, AWatchedNumberWhateverItsMagicButOnlyOfItsClass) {
  config().watch = {{.device_class = "other", .command = 0x2a, .whole = false},
                    {.device_class = "nvidia", .command = 0x2b, .whole = false}};
  Start();
  RunInside([] {
    char block[32] = {};
    const int null = MustOpen("/dev/null");
    Ioctl(null, kAttach, block, kTimes);
    Ioctl(null, kOtherMagic, block, kTimes);
    Ioctl(null, kAlloc, block, kTimes);
  });
  std::map<uint32_t, int> events;
  for (const moat_gpu_ioctl& event : Ioctls()) {
    ++events[event.cmd];
  }
  EXPECT_EQ(events[kAttach], kTimes);
  EXPECT_EQ(events[kOtherMagic], kTimes);
  EXPECT_EQ(events[kAlloc], 1);
}

TEST_F(GpuBpfTest, AWatchThatChangesIsAskedAgain) {
  Start(/*expect_all=*/true, Share::kNever);
  Signal before, after;
  const pid_t pid = Spawn([&] {
    char block[32] = {};
    const int null = MustOpen("/dev/null");
    Ioctl(null, kAttach, block, kTimes);
    before.Give();
    after.Take();
    Ioctl(null, kAttach, block, 7);
  });
  before.Take();
  const moat_watch_key key{.class_id = 0, .cmd = kAttach, .whole = 1, .pad = 0};
  const uint32_t one = 1;
  ASSERT_EQ(bpf_map_update_elem(OwnMap("moat_watch"), &key, &one, BPF_ANY), 0);
  const size_t length = (sizeof(moat_control) + 4095) & ~size_t{4095};
  void* page = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, OwnMap("moat_control"), 0);
  ASSERT_NE(page, MAP_FAILED);
  static_cast<moat_control*>(page)->watch_epoch++;
  munmap(page, length);
  after.Give();
  Finish(pid);
  const auto events = Ioctls();
  ASSERT_EQ(events.size(), 8u) << Summary();
  EXPECT_EQ(events[0].why & ~MOAT_IOCTL_FAILED, MOAT_IOCTL_FIRST);
  for (uint64_t i = 1; i < events.size(); ++i) {
    EXPECT_EQ(events[i].why, MOAT_IOCTL_WATCHED);
    EXPECT_EQ(events[i].count, kTimes + i);
  }
}

TEST_F(GpuBpfTest, ProcessesAreCountedApartAndThreadsTogether) {
  Start();
  constexpr int kThreads = 4, kCalls = 1000;
  Shared<pid_t> child;
  const pid_t parent = RunInside([&] {
    const int null = MustOpen("/dev/null");
    InChild([&] {  // the parent's descriptor
      char block[32] = {};
      *child = getpid();
      Ioctl(null, kAttach, block, kTimes);
    });
    std::vector<std::jthread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([null] {
        char block[32] = {};
        Ioctl(null, kAttach, block, kCalls);
      });
    }
  });
  const auto counts = Counts(parent);
  ASSERT_EQ(counts.size(), 1u);
  ExpectCounted(counts.at(kAttach), kThreads * kCalls, MOAT_KIND_GPU_IOCTL);  // a thread may be preempted inside the program
  EXPECT_THAT(Counts(*child), ElementsAre(Call(kAttach, kTimes)));
  // Of threads that fail at once for the first time each may find that the call before did not: told as that, not as a first sight.
  const auto told = Ioctls();
  EXPECT_EQ(std::ranges::count_if(told, [](const auto& call) { return (call.why & MOAT_IOCTL_FIRST) != 0; }), 2);
  EXPECT_LE(told.size(), 1u + kThreads);
}

TEST_F(GpuBpfTest, ADescriptorFromElsewhereIsStillTheDevice) {
  Start();
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  const int ours = open("/dev/null", O_RDWR);  // by this test, outside the scope
  const pid_t pid = Spawn([&] {
    char block[32] = {};
    Passing passing;
    Ioctl(ours, kAttach, block, 10);  // inherited
    Ioctl(dup(ours), kAttach, block, 10);  // copied
    MOAT_CHILD_CHECK(recvmsg(pair[1], &passing.message, 0) == 1);
    Ioctl(passing.fd(), kAlloc, block, 3);  // handed over
  });
  Passing passing;
  passing.fd() = ours;
  EXPECT_EQ(sendmsg(pair[0], &passing.message, 0), 1);
  Finish(pid);
  for (const int fd : {pair[0], pair[1], ours}) {
    close(fd);
  }
  EXPECT_THAT(Counts(pid), UnorderedElementsAre(Call(kAttach, 20), Call(kAlloc, 3)));
  EXPECT_EQ(Count(MOAT_KIND_GPU_OPEN), 0u);
}

TEST_F(GpuBpfTest, RowsOfEndedProcessesAreRemoved) {
  Start();
  const pid_t pid = RunInside([] {
    char block[32] = {};
    Ioctl(MustOpen("/dev/null"), kAttach, block, kTimes);
  });
  ASSERT_THAT(Counts(pid), ElementsAre(Call(kAttach, kTimes)));
  for (int i = 0; i < 100 && !Counts(pid).empty(); ++i) {
    Sums();
  }
  EXPECT_THAT(Counts(pid), IsEmpty());
}

TEST_F(GpuBpfTest, AFullTableReportsEveryCall) {
  config().ring_bulk_bytes = 64 << 20;
  Start(/*expect_all=*/true, Share::kNever);
  constexpr uint32_t kRoom = 65536;
  RunInside([] {
    const int null = MustOpen("/dev/null");
    for (uint32_t command = 0x10000000; command < 0x10000000 + kRoom + kTimes; ++command) {
      Ioctl(null, command, nullptr);
    }
  });
  const auto events = Ioctls();
  EXPECT_EQ(events.size(), kRoom + kTimes);
  EXPECT_EQ(std::count_if(events.begin(), events.end(), [](const auto& event) { return event.count == 0; }), kTimes);
}

// While events flow the reader naps and nobody wakes it, unless a ring has a quarter of its room taken.
TEST_F(GpuBpfTest, ANapLastsUnlessARingIsFilling) {
  config().watch = {{.device_class = "", .command = 0x2a, .whole = false}};
  config().ring_bulk_bytes = 128 << 10;
  Start();
  const auto nap = [this](int ioctls, int ms) {
    const pid_t pid = Spawn([ioctls] {
      usleep(20'000);
      char arg[16] = {};
      Ioctl(MustOpen("/dev/null"), kAttach, arg, ioctls);
    });
    const auto begin = std::chrono::steady_clock::now();
    probe().Nap(ms);
    const auto lasted = std::chrono::steady_clock::now() - begin;
    Finish(pid);
    return lasted;
  };
  EXPECT_GE(nap(10, 500), 490ms);
  EXPECT_LT(nap(200, 20'000), 10s);
  EXPECT_GE(nap(10, 500), 490ms) << "what woke it is over";
  EXPECT_EQ(Ioctls().size(), 220u);
}

}  // namespace
}  // namespace moat::test
