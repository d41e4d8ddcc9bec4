// SPDX-License-Identifier: Apache-2.0
#include "agent/app/mount_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace moat::app {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr const char* kTable =
    "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
    "22 21 0:5 / /proc rw,nosuid shared:2 - proc proc rw\n"
    "23 21 0:40 / /models rw shared:3 - nfs4 nas:/models rw\n"
    "24 23 0:41 / /models/llama\\040two rw - tmpfs tmpfs rw\n"
    "25 21 0:42 / /models2 rw - tmpfs tmpfs rw\n"
    "broken line\n"
    "26 21 0:43 /";

constexpr const char* kNfs = "23 0:40 / /models nfs4 nas:/models";
constexpr const char* kBelow = "24 0:41 / /models/llama\\040two tmpfs tmpfs";

TEST(MountWatch, KnowsWhichMountsDecideWhatLiesAtAPath) {
  EXPECT_THAT(MountsAt(kTable, {"/models/llama two/a.gguf"}), ElementsAre(kNfs, kBelow));
  EXPECT_THAT(MountsAt(kTable, {"/models"}), ElementsAre(kNfs, kBelow));
  EXPECT_THAT(MountsAt(kTable, {"/models/other"}), ElementsAre(kNfs));
  EXPECT_THAT(MountsAt(kTable, {"/models2/x", "/srv"}), ElementsAre("25 0:42 / /models2 tmpfs tmpfs"));
  EXPECT_THAT(MountsAt(kTable, {"/mode"}), IsEmpty());
  EXPECT_THAT(MountsAt(kTable, {}), IsEmpty());
  EXPECT_EQ(MountsAt(kTable, {"/"}).size(), 4u) << "all but the root itself";
}

// With real mounts: tests/e2e/lifecycle_test.cc.
TEST(MountWatch, NothingChangesByLooking) {
  auto watch = MountWatch::Open();
  ASSERT_TRUE(watch) << watch.error().message;
  EXPECT_FALSE(watch->Take({"/proc"}));
  EXPECT_FALSE(watch->Take({"/proc"})) << "where others mount things, nobody is to be disturbed: not asked of \"/\"";
}

}  // namespace
}  // namespace moat::app
