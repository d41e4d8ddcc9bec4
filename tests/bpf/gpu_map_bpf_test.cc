// SPDX-License-Identifier: Apache-2.0
// Resources of PCI devices, mapped: of a display, which the guests of tests/vm have with --gpu, and of a network card. Nothing is read from
// them or written to them.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/pci.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <filesystem>
#include <fstream>

#include "tests/bpf/enforce_kit.h"
#include "tests/bpf/gpu_kit.h"

namespace moat::test {
namespace {

namespace fs = std::filesystem;
using ::testing::IsEmpty;

constexpr int kTimes = 7;
constexpr size_t kPage = 4096;

struct Pci {
  std::string address;
  uint32_t pci_class = 0;
  uint64_t start = 0;  // of resource0
  std::string Resource(const std::string& suffix = "") const { return "/sys/bus/pci/devices/" + address + "/resource0" + suffix; }
};

// The first device of a base class that has memory behind resource0; empty: there is none.
Pci Find(uint32_t base) {
  constexpr uint64_t kMemory = 0x200;  // IORESOURCE_MEM
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/sys/bus/pci/devices", error)) {
    Pci found{.address = entry.path().filename()};
    uint64_t end = 0, flags = 0;
    std::ifstream(entry.path() / "class") >> std::hex >> found.pci_class;
    std::ifstream(entry.path() / "resource") >> std::hex >> found.start >> end >> flags;
    if (found.pci_class >> 16 == base && (flags & kMemory) != 0 && end - found.start + 1 >= kPage &&
        access(found.Resource().c_str(), F_OK) == 0) {
      return found;
    }
  }
  return {};
}

// errno of a mapping; 0: it was made.
int Map(const std::string& path, size_t length = kPage) {
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  MOAT_CHILD_CHECK(fd >= 0);
  void* at = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  const int error = at == MAP_FAILED ? errno : 0;
  if (error == 0) {
    munmap(at, length);
  }
  close(fd);
  return error;
}

void MapTimes(const std::string& path, int expected = 0) {
  for (int i = 0; i < kTimes; ++i) {
    MOAT_CHILD_CHECK(Map(path) == expected);
  }
}

// By each backend that the kernel has.
class GpuMapBpfTest : public BpfTest, public ::testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    BpfTest::SetUp();
    config().process = config().file = config().net = false;
    for (const char* backend : {"fentry", "kprobe"}) {
      if (std::string_view(GetParam()) == backend) {
        break;
      }
      config().avoid.emplace_back(backend);
    }
  }
  bool StartedOrSkipped() {
    Start();
    return Backend("gpu.map") == GetParam();
  }
  std::vector<moat_gpu_map> Maps(pid_t pid) { return Of<moat_gpu_map>(MOAT_KIND_GPU_MAP, pid); }

  const Pci display_ = Find(0x03), network_ = Find(0x02);
};

TEST_P(GpuMapBpfTest, OfADisplayEachIsAnEvent) {
  if (display_.address.empty()) {
    GTEST_SKIP() << "no PCI device of class display has memory here; the guests of tests/vm have one with --gpu";
  }
  if (!StartedOrSkipped()) {
    GTEST_SKIP() << "this kernel has no " << GetParam() << " for it";
  }
  const pid_t pid = RunInside([this] {
    MapTimes(display_.Resource());
    if (Unseen("gpu.map", "result")) {
      return;
    }
    MOAT_CHILD_CHECK(Map(display_.Resource(), size_t{1} << 40) != 0);  // larger than any: not made, and no event
    MOAT_CHILD_CHECK(mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
  });
  const auto maps = Maps(pid);
  ASSERT_EQ(maps.size(), size_t{kTimes}) << Summary();
  for (const moat_gpu_map& map : maps) {
    EXPECT_EQ(map.device, display_.address);
    EXPECT_EQ(map.resource, 0u);
    EXPECT_EQ(map.pci_class, display_.pci_class);
    EXPECT_NE(map.vendor, 0u);
    EXPECT_EQ(map.length, kPage);
    EXPECT_EQ(map.prot, static_cast<uint32_t>(PROT_READ | PROT_WRITE));
    EXPECT_EQ(map.categories, kRaw);
    EXPECT_EQ(map.hdr.flags, Unseen("gpu.map", "result") ? MOAT_F_NO_RESULT : 0u);
  }
}

TEST_P(GpuMapBpfTest, TheOtherNameOfAResourceIsNoWayRound) {
  if (display_.address.empty() || access(display_.Resource("_wc").c_str(), F_OK) != 0) {
    GTEST_SKIP() << "no PCI device of class display has a resource0_wc here";
  }
  if (!StartedOrSkipped()) {
    GTEST_SKIP() << "this kernel has no " << GetParam() << " for it";
  }
  EXPECT_EQ(Maps(RunInside([this] { MapTimes(display_.Resource("_wc")); })).size(), size_t{kTimes});
}

TEST_P(GpuMapBpfTest, OfANetworkCardNoneIs) {
  if (network_.address.empty()) {
    GTEST_SKIP() << "no network card of this machine has memory behind resource0";
  }
  if (!StartedOrSkipped()) {
    GTEST_SKIP() << "this kernel has no " << GetParam() << " for it";
  }
  RunInside([this] { MapTimes(network_.Resource()); });
  EXPECT_THAT(records(), IsEmpty()) << Summary();
}

TEST_P(GpuMapBpfTest, OutsideTheScopeNoneIs) {
  if (display_.address.empty() || !StartedOrSkipped()) {
    GTEST_SKIP() << "no display here, or no " << GetParam();
  }
  RunOutside([this] { MapTimes(display_.Resource()); });
  EXPECT_THAT(records(), IsEmpty()) << Summary();
}

TEST_P(GpuMapBpfTest, TheOlderWayThroughProcIsSeenUnlessItIsSaidNotToBe) {
  const std::string path =
      "/proc/bus/pci/" + (display_.address.empty() ? "-" : display_.address.substr(5, 2) + "/" + display_.address.substr(8));
  if (access(path.c_str(), F_OK) != 0) {
    GTEST_SKIP() << "no display with a file below /proc/bus/pci here";
  }
  if (!StartedOrSkipped()) {
    GTEST_SKIP() << "this kernel has no " << GetParam() << " for it";
  }
  const pid_t pid = RunInside([&] {
    const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
    MOAT_CHILD_CHECK(fd >= 0 && ioctl(fd, PCIIOC_MMAP_IS_MEM) == 0);
    for (int i = 0; i < kTimes; ++i) {
      MOAT_CHILD_CHECK(mmap(nullptr, kPage, PROT_READ, MAP_SHARED, fd, static_cast<off_t>(display_.start)) != MAP_FAILED);
    }
  });
  EXPECT_EQ(Maps(pid).size(), Unseen("gpu.map", "proc_bus_pci") ? 0u : size_t{kTimes}) << Summary();
}

INSTANTIATE_TEST_SUITE_P(Backends, GpuMapBpfTest, ::testing::Values("fentry", "kprobe", "sys_exit"), [](const auto& backend) {
  return std::string(backend.param) == "sys_exit" ? "SysExit" : backend.param;
});

// Two domains look at mmap() when it returns: the one hands on to the other.
TEST_F(BpfTest, AMappingIsSeenBesideThoseOfAssets) {
  const Pci display = Find(0x03);
  if (display.address.empty()) {
    GTEST_SKIP() << "no PCI device of class display has memory here";
  }
  config().process = config().net = false;
  config().avoid = {"lsm", "fmod_ret", "fentry", "kprobe"};
  Start();
  ASSERT_EQ(Backend("file.map"), "sys_exit");
  const pid_t pid = RunInside([&] { MapTimes(display.Resource()); });
  EXPECT_EQ(Count(MOAT_KIND_GPU_MAP, pid), size_t{kTimes}) << Summary();
}

class GpuMapEnforceBpfTest : public EnforceBpfTest {
 protected:
  void SetUp() override {
    EnforceBpfTest::SetUp();
    config().gpu = true;
    if (display_.address.empty()) {
      GTEST_SKIP() << "no PCI device of class display has memory here; the guests of tests/vm have one with --gpu";
    }
  }
  bool StartedOrSkipped() {
    Start(/*expect_all=*/false);
    return Exposed("enforce.gpu_map").empty();
  }
  const Pci display_ = Find(0x03), network_ = Find(0x02);
};

TEST_F(GpuMapEnforceBpfTest, WhoMayNotAccessItRawCannotMapIt) {
  if (!StartedOrSkipped()) {
    GTEST_SKIP() << Exposed("enforce.gpu_map");
  }
  Enforce(PolicyOf("  gpu: {deny: [raw-access]}\n"));
  const pid_t pid = RunInside([this] {
    MapTimes(display_.Resource(), EPERM);
    if (!network_.address.empty()) {
      MapTimes(network_.Resource());
    }
  });
  EXPECT_EQ(Count(MOAT_KIND_GPU_MAP, pid), 0u);
  ASSERT_EQ(Verdicts(pid).size(), size_t{kTimes});
  for (const moat_verdict& verdict : Verdicts(pid)) {
    EXPECT_EQ(verdict.action, MOAT_VERDICT_DENY);
    EXPECT_EQ(verdict.operation, MOAT_VERDICT_GPU_MAP);
    EXPECT_EQ(verdict.name, display_.address);
    EXPECT_EQ(verdict.command, 0u);
    EXPECT_EQ(1u << verdict.category, kRaw);
  }
}

TEST_F(GpuMapEnforceBpfTest, NorWhoMayNotUseAcceleratorsAtAll) {
  if (!StartedOrSkipped()) {
    GTEST_SKIP() << Exposed("enforce.gpu_map");
  }
  Enforce(PolicyOf("  gpu: {use: deny}\n"));
  const pid_t pid = RunInside([this] { MapTimes(display_.Resource(), EPERM); });
  ASSERT_EQ(Verdicts(pid).size(), size_t{kTimes});
  EXPECT_EQ(Verdicts(pid)[0].category, MOAT_NO_CATEGORY);
}

TEST_F(GpuMapEnforceBpfTest, ToWhomItIsNotDeniedItIsTold) {
  if (!StartedOrSkipped()) {
    GTEST_SKIP() << Exposed("enforce.gpu_map");
  }
  Enforce(PolicyOf("  gpu: {deny: [export, reconfigure]}\n"));
  const pid_t allowed = RunInside([this] { MapTimes(display_.Resource()); });
  EXPECT_EQ(Count(MOAT_KIND_GPU_MAP, allowed), size_t{kTimes});
  EXPECT_THAT(Verdicts(allowed), IsEmpty());
  Enforce(PolicyOf("  gpu: {deny: [raw-access]}\n", "dry-run"));
  const pid_t tried = RunInside([this] { MapTimes(display_.Resource()); });
  EXPECT_EQ(Count(MOAT_KIND_GPU_MAP, tried), size_t{kTimes});
  ASSERT_EQ(Verdicts(tried).size(), size_t{kTimes});
  EXPECT_EQ(Verdicts(tried)[0].action, MOAT_VERDICT_WOULD_DENY);
}

}  // namespace
}  // namespace moat::test
