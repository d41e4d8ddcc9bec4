// SPDX-License-Identifier: Apache-2.0
#include "agent/decode/tables/tables.h"

#include <gmock/gmock.h>

#include <set>
#include <tuple>

namespace moat::tables {
namespace {

constexpr Version k515 = 515'043'004, k535 = 535'104'005, k550 = 550'054'014, k580 = 580'159'004, k595 = kNewestNvidia,
                  k999 = 999'001'000;

uint32_t At(const char* structure, const char* field, Version version, uint32_t size = 0) {
  const auto found = FindField(structure, field, version, size);
  return found ? found->offset : 0xffffffff;
}
constexpr uint32_t kNowhere = 0xffffffff;

TEST(GpuTables, Versions) {
  EXPECT_EQ(ParseVersion("580.159.04\n"), 580'159'004u);
  EXPECT_EQ(ParseVersion("1.17"), 1'017'000u);
  EXPECT_EQ(ParseVersion("595"), 595'000'000u);
  for (const char* bad : {"", "x", "1.", "1.2.3.4", "1000000.1.1", "5.1000.1", "-1.2", "1.2 3"}) {
    EXPECT_EQ(ParseVersion(bad), 0u) << bad;
  }
  EXPECT_LT(k550, k580);
}

TEST(GpuTables, CallsByNumber) {
  EXPECT_EQ(FindEscape(42)->name, "NV_ESC_RM_CONTROL");
  EXPECT_EQ(FindEscape(1), nullptr);
  EXPECT_EQ(FindClass(0x83de)->name, "GT200_DEBUGGER");
  EXPECT_EQ(FindClass(0xffffffff), nullptr);
  EXPECT_EQ(FindControl(0x83de0315)->name, "NV83DE_CTRL_CMD_DEBUG_READ_MEMORY");
  EXPECT_EQ(FindControl(0x2080018d)->use, kCompute);
  EXPECT_EQ(FindControl(0xdeadbeef), nullptr);
  EXPECT_EQ(FindLegacy(0x2080d012)->name, "CLK");
  EXPECT_EQ(FindUvm(0x30000001)->name, "UVM_INITIALIZE");
  EXPECT_TRUE(FindUvm(56)->tools);
  EXPECT_EQ(FindKfd(0x26)->name, "AMDKFD_IOC_DBG_TRAP");
  EXPECT_EQ(FindDrm("amdgpu", 0x40)->name, "DRM_AMDGPU_GEM_CREATE");
  EXPECT_EQ(FindDrm("xe", 0x40)->name, "DRM_XE_DEVICE_QUERY") << "numbers from 0x40 are the driver's own";
  EXPECT_EQ(FindDrm("", 0x40), nullptr);
  EXPECT_EQ(FindDrm("", 0x2d)->name, "DRM_IOCTL_PRIME_HANDLE_TO_FD");
  EXPECT_EQ(FindOther("neuron", 102, 48)->name, "NEURON_IOCTL_MEM_ALLOC_V2MT") << "by the size";
  EXPECT_EQ(FindOther("neuron", 102, 56)->name, "NEURON_IOCTL_MEM_ALLOC_V2MT64");
}

TEST(GpuTables, CapabilitiesByTheirNames) {
  constexpr uint32_t kProfile = 2, kReconfigure = 16;
  EXPECT_EQ(CapabilityCategories("mig/config"), kReconfigure);
  EXPECT_EQ(CapabilityCategories("mig/monitor"), kProfile);
  EXPECT_EQ(CapabilityCategories("fabric-mgmt"), kReconfigure);
  EXPECT_EQ(CapabilityCategories("fabric-imex-mgmt"), kReconfigure);
  EXPECT_EQ(CapabilityCategories("profiler-device"), kProfile);
  for (const char* none : {"gpu0/mig/gi1/access", "gpu7/mig/gi2/ci0/access", "", "config", "gpu0/mig/config", "mig/config/x"}) {
    EXPECT_EQ(CapabilityCategories(none), 0u) << none;
  }
}

TEST(GpuTables, AsManyAsThereAre) {
  EXPECT_EQ(Controls().size(), 1622u);
  EXPECT_EQ(Fields().size(), 1396u);
  std::set<std::tuple<std::string_view, std::string_view, uint32_t, Version, uint32_t>> seen;
  for (const Field& field : Fields()) {
    EXPECT_TRUE(field.size == 0 || field.offset + field.bytes <= field.size) << field.structure << "." << field.field;
    EXPECT_TRUE(seen.emplace(field.structure, field.field, field.size, field.first, field.offset).second)
        << field.structure << "." << field.field << " is there twice";
  }
}

// The layouts that changed, at the versions that changed them.
TEST(GpuTables, FieldsOfEachVersion) {
  EXPECT_EQ(At("NVOS21_PARAMETERS", "status", k515, 32), 24u);
  EXPECT_EQ(At("NVOS21_PARAMETERS", "status", k535, 32), 28u);
  EXPECT_EQ(At("NVOS64_PARAMETERS", "status", k515, 40), 32u);
  EXPECT_EQ(At("NVOS64_PARAMETERS", "status", 525'060'013, 40), 36u);
  EXPECT_EQ(At("NVOS64_PARAMETERS", "status", k535, 48), 40u);
  EXPECT_EQ(At("NVOS54_PARAMETERS", "status", k515), 28u);
  EXPECT_EQ(At("NVOS54_PARAMETERS", "status", k595), 28u);
  EXPECT_EQ(At("UVM_MAP_EXTERNAL_ALLOCATION", "hMemory", 550'040'007), 1192u);
  EXPECT_EQ(At("UVM_MAP_EXTERNAL_ALLOCATION", "hMemory", k550), 9256u);
  EXPECT_EQ(At("UVM_FREE", "rmStatus", k580), 16u);
  EXPECT_EQ(At("UVM_FREE", "rmStatus", 590'044'001), 8u);
  EXPECT_EQ(At("UVM_FREE", "length", k595), kNowhere);
  EXPECT_EQ(At("UVM_FREE", "rmStatus", 585'001'000), kNowhere) << "between two layouts, of a branch that nobody read";
  EXPECT_EQ(At("UVM_MAP_EXTERNAL_ALLOCATION", "hMemory", 550'045'000), kNowhere) << "the branch changed it after 550.40.07";
  EXPECT_EQ(At("NV_MEMORY_ALLOCATION_PARAMS", "size", k515), 64u);
  EXPECT_EQ(At("NV_MEMORY_ALLOCATION_PARAMS", "size", k595), 64u);
}

TEST(GpuTables, OfAnUnknownVersionOnlyWhatNeverChanged) {
  for (const Version unknown : {k999, Version{0}, Version{470'001'000}}) {
    EXPECT_EQ(At("NVOS54_PARAMETERS", "cmd", unknown, 32), 8u);
    EXPECT_EQ(At("NVOS64_PARAMETERS", "hClass", unknown, 48), 12u) << "it lies there in all layouts";
    EXPECT_EQ(At("NVOS64_PARAMETERS", "status", unknown, 48), kNowhere);
    EXPECT_EQ(At("UVM_FREE", "rmStatus", unknown), kNowhere);
    EXPECT_EQ(At("NVOS54_PARAMETERS", "cmd", unknown, 40), kNowhere) << "a size that no layout has";
  }
  EXPECT_EQ(At("NVOS64_PARAMETERS", "status", k535, 56), kNowhere);
  EXPECT_EQ(At("NVOS64_PARAMETERS", "nonsense", k535), kNowhere);
  EXPECT_EQ(At("NONSENSE", "status", k535), kNowhere);
}

TEST(GpuTables, MeaningsNameWhatThereIs) {
  for (const Meaning& meaning : Meanings()) {
    EXPECT_LT(meaning.category, 7);
    if (meaning.device == "nvidia") {
      EXPECT_NE(FindEscape(meaning.call), nullptr) << meaning.call;
      if (meaning.call == 42) {
        EXPECT_TRUE(meaning.pattern ? FindLegacy(meaning.detail) != nullptr : FindControl(meaning.detail) != nullptr)
            << std::hex << meaning.detail;
      } else if (meaning.call == 43) {
        EXPECT_NE(FindClass(meaning.detail), nullptr) << std::hex << meaning.detail;
      }
    } else if (meaning.device == "nvidia-uvm") {
      EXPECT_NE(FindUvm(meaning.call), nullptr) << meaning.call;
    } else if (meaning.device == "kfd") {
      EXPECT_NE(FindKfd(meaning.call), nullptr) << meaning.call;
    } else {
      EXPECT_TRUE(FindDrm(meaning.device, meaning.call) != nullptr || FindOther(meaning.device, meaning.call, 0) != nullptr)
          << meaning.device << " " << meaning.call;
    }
  }
}

}  // namespace
}  // namespace moat::tables
