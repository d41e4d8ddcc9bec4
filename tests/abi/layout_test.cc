// SPDX-License-Identifier: Apache-2.0
// The table of fields, as the compiler sees it: each row against offsetof and sizeof of a transcription of the drivers' own
// headers. A row that one side lacks, or that lies elsewhere, fails.
#include <gtest/gtest.h>

#include <iostream>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>

#include "agent/decode/tables/tables.h"
#include "tests/abi/layouts/drm.h"
#include "tests/abi/layouts/kfd.h"
#include "tests/abi/layouts/nvidia_alloc.h"
#include "tests/abi/layouts/nvidia_ctrl.h"
#include "tests/abi/layouts/nvidia_ioctl.h"
#include "tests/abi/layouts/nvidia_memory.h"
#include "tests/abi/layouts/nvidia_os.h"
#include "tests/abi/layouts/nvidia_share.h"
#include "tests/abi/layouts/others.h"
#include "tests/abi/layouts/uvm.h"
#include "tests/abi/layouts/uvm_setup.h"
#include "tests/abi/layouts/uvm_tools.h"

namespace moat::layouts {
namespace {

constexpr std::span<const Layout> kAll[] = {kNvidiaOs, kNvidiaIoctl, kNvidiaAlloc, kNvidiaMemory, kNvidiaShare, kNvidiaCtrl,
                                            kUvm,      kUvmSetup,    kUvmTools,    kKfd,          kDrm,         kOthers};

// It grew at its end, and the table gives no size.
constexpr std::string_view kGrows = "DRM_AMDGPU_GEM_VA";

// Structure, field, and the versions.
using Key = std::tuple<std::string_view, std::string_view, tables::Version, tables::Version>;
struct Held {
  const Layout* layout;
  const Place* place;
  bool met = false;
};

std::map<Key, Held> Transcribed() {
  std::map<Key, Held> out;
  for (const std::span<const Layout> file : kAll) {
    for (const Layout& layout : file) {
      const tables::Version first = tables::ParseVersion(layout.first), last = tables::ParseVersion(layout.last);
      EXPECT_TRUE((first != 0 || *layout.first == '\0') && (last != 0 || *layout.last == '\0')) << layout.structure;
      for (const Place& place : layout.places) {
        if (place.field != nullptr) {
          const Key key{layout.structure, place.field, first, last};
          EXPECT_TRUE(out.emplace(key, Held{&layout, &place}).second) << layout.structure << "." << place.field << " twice";
        }
      }
    }
  }
  return out;
}

TEST(Layouts, EveryRowOfTheTableIsWhereTheCompilerPutsIt) {
  std::map<Key, Held> held = Transcribed();
  std::set<std::string_view> structures, strange;
  std::set<const Layout*> layouts;
  for (const auto& [key, here] : held) {
    structures.insert(std::get<0>(key));
    layouts.insert(here.layout);
  }
  size_t rows = 0, uncovered = 0;
  for (const tables::Field& row : tables::Fields()) {
    if (!structures.contains(row.structure)) {
      strange.insert(row.structure);
      ++uncovered;
      continue;
    }
    const std::string where = std::string(row.structure) + "." + std::string(row.field) + " of " + std::to_string(row.first) +
                              " to " + std::to_string(row.last);
    const auto found = held.find({row.structure, row.field, row.first, row.last});
    if (found == held.end()) {
      ADD_FAILURE() << where << ": not transcribed";
      continue;
    }
    auto& [layout, place, met] = found->second;
    EXPECT_FALSE(met) << where << ": twice";
    EXPECT_EQ(row.offset, place->offset) << where;
    EXPECT_EQ(row.bytes, place->bytes) << where;
    EXPECT_EQ(row.size, row.structure == kGrows ? 0 : layout->size) << where;
    met = true;
    ++rows;
  }
  for (const auto& [key, here] : held) {
    EXPECT_TRUE(here.met) << here.layout->structure << "." << here.place->field << " of " << here.layout->first << " to "
                          << here.layout->last << ": the table lacks it";
  }
  for (const std::string_view structure : strange) {
    std::cout << "not transcribed: " << structure << "\n";
  }
  EXPECT_EQ(uncovered, 0u) << "rows of structures that nobody transcribed";
  std::cout << rows << " rows of " << structures.size() << " structures in " << layouts.size() << " layouts held\n";
}

}  // namespace
}  // namespace moat::layouts
