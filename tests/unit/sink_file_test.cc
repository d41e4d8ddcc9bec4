// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/sink/transports.h"
#include "tests/unit/sink_tools.h"

namespace moat::sink {
namespace {

using test::MakeMessage;
using test::ReadAll;
using ::testing::HasSubstr;

class SinkFileTest : public ::testing::Test {
 protected:
  std::unique_ptr<Transport> Make(uint32_t max_bytes = 1 << 20, uint32_t keep = 2) {
    return *MakeFile({.path = path_, .max_bytes = max_bytes, .keep = keep});
  }
  static void Send(Transport& file, uint64_t from, uint64_t to, size_t bytes = 9) {
    std::vector<Message> messages;
    for (; from < to; ++from) {
      messages.push_back(MakeMessage(from, bytes));
    }
    const Delivery delivery = file.Send(messages);
    EXPECT_EQ(delivery.outcome, Outcome::kDelivered) << delivery.why;
    EXPECT_EQ(delivery.delivered, messages.size());
  }

  test::TempDir dir_;
  const std::string path_ = dir_ / "logs/findings.json";
};

TEST_F(SinkFileTest, ALineForEachAlsoAfterARestart) {
  ::umask(0);
  Send(*Make(), 0, 2);
  ::umask(022);
  Send(*Make(), 2, 3);
  EXPECT_EQ(ReadAll(path_), "0:xxxxxxx\n1:xxxxxxx\n2:xxxxxxx\n");
  struct stat stat{};
  ASSERT_EQ(::stat(path_.c_str(), &stat), 0);
  EXPECT_EQ(stat.st_mode & 07777, 0640u);
}

TEST_F(SinkFileTest, GrowsNoLargerAndKeepsSoMany) {
  auto file = Make(50, 2);  // five lines
  Send(*file, 0, 3);
  Send(*file, 3, 7);
  EXPECT_EQ(test::LinesOf(ReadAll(path_ + ".1")).size(), 5u);
  EXPECT_EQ(ReadAll(path_), "5:xxxxxxx\n6:xxxxxxx\n");
  Send(*file, 7, 18);
  EXPECT_EQ(ReadAll(path_).substr(0, 2), "15");
  EXPECT_EQ(ReadAll(path_ + ".1").substr(0, 2), "10");
  EXPECT_EQ(ReadAll(path_ + ".2").substr(0, 2), "5:");
  EXPECT_FALSE(std::filesystem::exists(path_ + ".3"));
  Send(*file, 18, 19, 200);  // larger than a file: a file of its own
  EXPECT_EQ(ReadAll(path_).size(), 201u);
  Send(*file, 19, 20);
  EXPECT_EQ(ReadAll(path_), "19:xxxxxx\n");
}

TEST_F(SinkFileTest, KeepsNoOlderOnesWhenTold) {
  auto file = Make(50, 0);
  Send(*file, 0, 12);
  EXPECT_EQ(ReadAll(path_), "10:xxxxxx\n11:xxxxxx\n");
  EXPECT_FALSE(std::filesystem::exists(path_ + ".1"));
}

TEST_F(SinkFileTest, MovedAwayIsMadeAnew) {
  auto file = Make();
  Send(*file, 0, 1);
  std::filesystem::rename(path_, path_ + ".moved");
  Send(*file, 1, 2);
  std::filesystem::remove(path_);
  Send(*file, 2, 3);
  EXPECT_EQ(ReadAll(path_ + ".moved"), "0:xxxxxxx\n");
  EXPECT_EQ(ReadAll(path_), "2:xxxxxxx\n");
}

TEST_F(SinkFileTest, HalfALineIsEnded) {
  std::filesystem::create_directories(dir_ / "logs");
  test::WriteAll(path_, "whole\nhalf a li");
  Send(*Make(), 0, 1);
  EXPECT_EQ(ReadAll(path_), "whole\nhalf a li\n0:xxxxxxx\n");
  Send(*Make(), 1, 2);
  EXPECT_EQ(ReadAll(path_), "whole\nhalf a li\n0:xxxxxxx\n1:xxxxxxx\n");
}

TEST_F(SinkFileTest, WhatIsNoFileIsSaidAndTriedAgain) {
  std::filesystem::create_directories(path_);
  const Message message = MakeMessage(0, 9);
  auto file = Make();
  Delivery delivery = file->Send({&message, 1});
  EXPECT_EQ(delivery.outcome, Outcome::kRetry);
  EXPECT_EQ(delivery.delivered, 0u);
  EXPECT_THAT(delivery.why, HasSubstr("findings.json cannot be opened: Is a directory"));
  std::filesystem::remove(path_);
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  delivery = file->Send({&message, 1});
  EXPECT_THAT(delivery.why, HasSubstr("findings.json is not a regular file"));
  std::filesystem::remove(path_);
  test::WriteAll(dir_ / "other", "other's\n");
  std::filesystem::create_symlink(dir_ / "other", path_);
  delivery = file->Send({&message, 1});
  EXPECT_EQ(delivery.outcome, Outcome::kRetry);
  EXPECT_EQ(ReadAll(dir_ / "other"), "other's\n");
  std::filesystem::remove(path_);
  Send(*file, 0, 1);
  EXPECT_EQ(ReadAll(path_), "0:xxxxxxx\n");
}

TEST_F(SinkFileTest, AFullDiskGluesNothingToAHalfLine) {
  std::filesystem::create_directories(dir_ / "logs");
  test::WriteAll(path_, "half a line");
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    auto file = Make();
    rlimit limit{.rlim_cur = 11, .rlim_max = RLIM_INFINITY};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const Message message = MakeMessage(0, 9);
    const Delivery full = file->Send({&message, 1});
    limit.rlim_cur = RLIM_INFINITY;
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const Delivery then = file->Send({&message, 1});
    ::_exit(full.outcome == Outcome::kRetry && then.delivered == 1 ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(ReadAll(path_), "half a line\n0:xxxxxxx\n");
}

TEST_F(SinkFileTest, AFullDiskNeverMakesTheFileLonger) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    auto file = Make();
    const Message messages[] = {MakeMessage(0, 9), MakeMessage(1, 9)};
    file->Send(messages);
    std::filesystem::resize_file(path_, 5);  // as logrotate's copytruncate does, and then the disk is full
    const rlimit limit{.rlim_cur = 8, .rlim_max = 8};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    ::_exit(file->Send(messages).outcome == Outcome::kRetry ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_LE(ReadAll(path_).size(), 8u);
}

TEST_F(SinkFileTest, AFullDiskLeavesNoHalfLine) {
  // A limit on the size of files stands for a full disk: it fails in the middle of a write, too.
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    auto file = Make();
    const Message message = MakeMessage(0, 9);
    file->Send({&message, 1});
    const rlimit limit{.rlim_cur = 25, .rlim_max = 25};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const Message more[] = {MakeMessage(1, 9), MakeMessage(2, 9)};
    const Delivery delivery = file->Send(more);
    ::_exit(delivery.outcome == Outcome::kRetry && delivery.delivered == 0 ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(ReadAll(path_), "0:xxxxxxx\n");
}

}  // namespace
}  // namespace moat::sink
