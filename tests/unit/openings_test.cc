// SPDX-License-Identifier: Apache-2.0
// What opening a device means, read from directories like /proc and /sys of hosts with NVIDIA's driver and with vfio.
#include "agent/probe/openings.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "agent/probe/gpu_rows.h"

namespace moat::probe {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint32_t kProfile = 2, kReconfigure = 16, kCaps = 238;

class OpeningsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/moat-openings-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    root_ = name;
  }
  void TearDown() override { fs::remove_all(root_); }
  void Write(const std::string& path, const std::string& text) const {
    fs::create_directories(fs::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }
  void Capability(const std::string& path, uint32_t least) const {
    Write("/proc/driver/" + path, "DeviceFileMinor: " + std::to_string(least) + "\nDeviceFileMode: 256\nDeviceFileModify: 1\n");
  }
  void Group(const std::string& name, const std::string& number, const std::string& dev) const {
    Write("/sys/class/vfio/" + name + "/dev", dev + "\n");
    fs::create_directories(root_ + "/sys/kernel/iommu_groups/" + number + "/devices");
  }
  void Member(const std::string& group, const std::string& address, const std::string& pci_class) const {
    Write("/sys/kernel/iommu_groups/" + group + "/devices/" + address + "/class", pci_class + "\n");
  }
  std::string root_;
};

Opening Cap(uint32_t least, uint32_t categories, const char* object) {
  return {kCaps << 20 | least, MOAT_GPU_NVIDIA_CAPS, categories, object, "/dev/nvidia-caps/nvidia-cap" + std::to_string(least)};
}

TEST_F(OpeningsTest, CapabilitiesByTheirMinors) {
  Capability("nvidia/capabilities/mig/config", 1);
  Capability("nvidia/capabilities/mig/monitor", 2);
  Capability("nvidia/capabilities/gpu0/mig/gi1/access", 12);
  Capability("nvidia/capabilities/gpu0/mig/gi1/ci0/access", 13);
  Capability("nvidia/capabilities/fabric-imex-mgmt", 3);
  Capability("nvidia/capabilities/newer/thing", 99);
  Capability("nvidia-nvlink/capabilities/fabric-mgmt", 0);
  EXPECT_THAT(FindOpenings(root_, kCaps),
              ElementsAre(Cap(0, kReconfigure, "fabric-mgmt"), Cap(1, kReconfigure, "mig/config"),
                          Cap(2, kProfile, "mig/monitor"), Cap(3, kReconfigure, "fabric-imex-mgmt"),
                          Cap(12, 0, "gpu0/mig/gi1/access"), Cap(13, 0, "gpu0/mig/gi1/ci0/access"), Cap(99, 0, "newer/thing")));
  EXPECT_THAT(FindOpenings(root_, 0), IsEmpty()) << "the module that makes the nodes is not loaded";
}

TEST_F(OpeningsTest, WhatIsNoCapabilityFileIsLeftOut) {
  Write("/proc/driver/nvidia/capabilities/mig/config", "DeviceFileMode: 256\n");
  Write("/proc/driver/nvidia/capabilities/mig/monitor", "DeviceFileMinor: two\n");
  Write("/proc/driver/nvidia/capabilities/fabric-imex-mgmt", "DeviceFileMinor: 99999999999\n");
  Write("/proc/driver/nvidia/capabilities/empty", "");
  EXPECT_THAT(FindOpenings(root_, kCaps), IsEmpty());
}

TEST_F(OpeningsTest, VfioGroupsThatHoldAnAccelerator) {
  Group("7", "7", "511:0");  // the node's number is not the group's
  Member("7", "0000:81:00.1", "0x040300");
  Member("7", "0000:81:00.0", "0x030200");
  Group("8", "8", "511:1");
  Member("8", "0000:02:00.0", "0x020000");  // a network card
  Group("noiommu-9", "9", "511:2");
  Member("9", "0000:c1:00.0", "0x120000");
  Group("10", "10", "511:3");  // nothing in it
  Group("11", "11", "nonsense");
  Member("11", "0000:03:00.0", "0x030000");
  Group("12", "12", "511:4");
  Member("12", "0000:04:00.0", "");
  EXPECT_THAT(FindOpenings(root_, 0),
              ElementsAre(Opening{511u << 20, MOAT_GPU_VFIO, MOAT_GPU_RAW_ACCESS, "0000:81:00.0", "/dev/vfio/7"},
                          Opening{511u << 20 | 2, MOAT_GPU_VFIO, MOAT_GPU_RAW_ACCESS, "0000:c1:00.0", "/dev/vfio/noiommu-9"}));
}

TEST_F(OpeningsTest, VfioDevicesWithoutAGroup) {
  Write("/sys/devices/pci0000:80/0000:81:00.0/class", "0x030200\n");
  Write("/sys/devices/pci0000:80/0000:82:00.0/class", "0x010802\n");
  for (const auto& [name, address] : {std::pair("vfio0", "0000:81:00.0"), std::pair("vfio1", "0000:82:00.0")}) {
    Write(std::string("/sys/class/vfio-dev/") + name + "/dev", std::string("510:") + name[4] + "\n");
    fs::create_directory_symlink(root_ + "/sys/devices/pci0000:80/" + address, root_ + "/sys/class/vfio-dev/" + name + "/device");
  }
  EXPECT_THAT(FindOpenings(root_, 0),
              ElementsAre(Opening{510u << 20, MOAT_GPU_VFIO, MOAT_GPU_RAW_ACCESS, "0000:81:00.0", "/dev/vfio/devices/vfio0"}));
}

TEST_F(OpeningsTest, ThoseThatMeanSomethingAreRowsOfTheKernelsTable) {
  const std::vector<Opening> openings = {Cap(1, kReconfigure, "mig/config"), Cap(12, 0, "gpu0/mig/gi1/access")};
  const GpuRows plain = MakeGpuRows({}), rows = MakeGpuRows({}, openings);
  ASSERT_EQ(rows.size(), plain.size() + 1);
  const auto row = rows.find({MOAT_GPU_NVIDIA_CAPS, MOAT_GPU_OPEN, kCaps << 20 | 1, MOAT_GPU_BY_DETAIL});
  ASSERT_NE(row, rows.end());
  EXPECT_EQ(row->second.categories, kReconfigure);
}

}  // namespace
}  // namespace moat::probe
