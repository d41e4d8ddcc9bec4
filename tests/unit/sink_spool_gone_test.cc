// SPDX-License-Identifier: Apache-2.0
// Spools whose segments are damaged, removed or cannot be read while they are used, or when they are opened.
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "tests/unit/sink_spool_kit.h"

namespace moat::sink {
namespace {

using ::testing::HasSubstr;

TEST_F(SinkSpoolTest, DamageWhileItRuns) {
  auto spool = Open({.segment_bytes = 400});
  Append(*spool, 0, 40);
  const auto files = SegmentFiles();
  test::WriteAll(files[0], std::string(std::filesystem::file_size(files[0]), '\0'));
  test::WriteAll(files[1], "");
  const auto numbers = Drain(*spool);
  EXPECT_EQ(spool->stats().corrupt + numbers.size(), 40u);
  EXPECT_EQ(numbers.back(), 39u);
  EXPECT_GT(spool->stats().corrupt, 2u);
}

TEST_F(SinkSpoolTest, WhatIsRemovedWhileItRunsIsCountedAndItGoesOn) {
  auto spool = Open({.segment_bytes = 400});
  Append(*spool, 0, 40);
  const auto files = SegmentFiles();
  ASSERT_GT(files.size(), 3u);
  std::filesystem::remove(files[1]);
  std::filesystem::remove(files.back());  // which is still written to
  const auto numbers = Drain(*spool);
  EXPECT_EQ(spool->stats().corrupt + numbers.size(), 40u);
  EXPECT_GT(spool->stats().corrupt, 2u);
  EXPECT_EQ(spool->stats().depth, 0u);
  Append(*spool, 40, 45);
  EXPECT_EQ(Drain(*spool), Range(40, 45)) << "what comes now is in a file that is there";
}

TEST_F(SinkSpoolTest, WhatCannotBeReadNowIsToldAndComesLater) {
  auto spool = Open({.segment_bytes = 400});
  Append(*spool, 0, 20);
  const auto files = SegmentFiles();
  std::filesystem::rename(files[0], dir_ / "aside");
  std::filesystem::create_directory(files[0]);  // which opens, and cannot be read
  const auto taken = spool->Take(7, 1 << 20);
  ASSERT_FALSE(taken);
  EXPECT_THAT(taken.error().message, HasSubstr("cannot be read"));
  EXPECT_EQ(spool->stats().depth, 20u);
  std::filesystem::remove(files[0]);
  std::filesystem::rename(dir_ / "aside", files[0]);
  EXPECT_EQ(Drain(*spool), Range(0, 20));
  EXPECT_EQ(spool->stats().corrupt, 0u);
}

TEST_F(SinkSpoolTest, WhatCannotBeReadAtTheStartIsNotThrownAway) {
  Append(*Open(), 0, 5);
  const auto files = SegmentFiles();
  ASSERT_EQ(files.size(), 1u);
  const std::string bytes = test::ReadAll(files[0]);
  const pid_t child = ::fork();  // as somebody who may not read all
  ASSERT_GE(child, 0);
  if (child == 0) {
    constexpr uid_t kNobody = 65534;
    bool ready = ::geteuid() != 0 || (::chown(dir_.path().c_str(), kNobody, kNobody) == 0 &&
                                      ::chown((dir_ / "spool").c_str(), kNobody, kNobody) == 0);
    for (const char* name : {"lock", "cursor"}) {
      ready = ready && (::geteuid() != 0 || ::lchown((dir_ / "spool/" + name).c_str(), kNobody, kNobody) == 0 || errno == ENOENT);
    }
    ready = ready && ::chmod(files[0].c_str(), 0) == 0 && (::geteuid() != 0 || ::setresuid(kNobody, kNobody, kNobody) == 0);
    const auto spool = Spool::Open(dir_ / "spool", {});
    ::_exit(!ready ? 2 : !spool && spool.error().message.find("cannot be read: Permission denied") != std::string::npos ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  ::chmod(files[0].c_str(), 0600);
  EXPECT_EQ(test::ReadAll(files[0]), bytes);
}

}  // namespace
}  // namespace moat::sink
