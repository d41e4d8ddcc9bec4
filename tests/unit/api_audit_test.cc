// SPDX-License-Identifier: Apache-2.0
// The lines of the audit, and the file that they go to.
#include "agent/api/audit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

namespace moat::api {
namespace {

using nlohmann::json;

class AuditFile : public testing::Test {
 protected:
  void SetUp() override {
    std::string path = testing::TempDir() + "/moat-audit-XXXXXX";
    ASSERT_NE(mkdtemp(path.data()), nullptr);
    directory_ = path;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::vector<std::string> Lines(const std::string& name) const {
    std::ifstream file(directory_ + "/" + name);
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) {
      lines.push_back(line);
    }
    return lines;
  }
  std::string directory_;
};

TEST(AuditJson, SaysWhoWhatAndHowItEnded) {
  const json line = json::parse(ToJson({.event = AuditLine::Event::kCall,
                                        .decision = AuditLine::Decision::kDenied,
                                        .unix_ns = 1'700'000'000'123'456'789,
                                        .peer = "10.0.0.7:51312",
                                        .identity = "spiffe://a/b",
                                        .role = "viewer",
                                        .method = "/moat.v1.Policies/Apply",
                                        .reason = "role",
                                        .code = 7,
                                        .duration_ns = 1'234'567}));
  EXPECT_EQ(line, json::parse(R"({"time":"2023-11-14T22:13:20.123456Z","event":"call","decision":"denied","peer":"10.0.0.7:51312",
    "identity":"spiffe://a/b","role":"viewer","method":"/moat.v1.Policies/Apply","reason":"role","code":"PERMISSION_DENIED",
    "duration_us":1234})"));
  const json connection = json::parse(ToJson({.event = AuditLine::Event::kConnection, .peer = "x"}));
  EXPECT_FALSE(connection.contains("code"));
  EXPECT_FALSE(connection.contains("identity"));
  EXPECT_FALSE(connection.contains("times")) << "one is one";
  EXPECT_EQ(json::parse(ToJson({.event = AuditLine::Event::kConnection, .times = 7}))["times"], 7);
}

TEST(AuditJson, HostileTextStaysOneLineOfJson) {
  const std::string hostile = std::string("/a\"b\\c\n\r\t\x1b[2J\0\x7f\xff\xc3", 17) + std::string(5000, 'x');
  const std::string text = ToJson({.method = hostile, .detail = hostile});
  EXPECT_EQ(text.find_first_of("\n\r\x1b"), std::string::npos);
  EXPECT_LT(text.size(), 2000u);
  const json line = json::parse(text);
  EXPECT_THAT(line["method"].get<std::string>(), testing::StartsWith("/a\"b\\c\n\r\t\x1b[2J"));
}

TEST(AuditJson, CodesHaveNames) {
  EXPECT_STREQ(CodeName(0), "OK");
  EXPECT_STREQ(CodeName(16), "UNAUTHENTICATED");
  EXPECT_STREQ(CodeName(17), "UNKNOWN");
  EXPECT_STREQ(CodeName(-1), "UNKNOWN");
}

TEST_F(AuditFile, RotatesBySizeAndKeepsSoMany) {
  const config::AuditLog config{.file = directory_ + "/audit", .max_bytes = 4096, .keep = 2};
  {
    auto audit = Audit::Start(config);
    ASSERT_TRUE(audit) << audit.error().message;
    for (int i = 0; i < 100; ++i) {
      (*audit)->Write({.method = "/m/" + std::to_string(i), .detail = std::string(200, 'd')});
    }
  }  // what waits is written
  EXPECT_LE(std::filesystem::file_size(config.file), 4096u);
  EXPECT_LE(std::filesystem::file_size(config.file + ".1"), 4096u);
  EXPECT_LE(std::filesystem::file_size(config.file + ".2"), 4096u);
  EXPECT_FALSE(std::filesystem::exists(config.file + ".3"));
  const auto lines = Lines("audit");
  ASSERT_FALSE(lines.empty());
  EXPECT_EQ(json::parse(lines.back())["method"], "/m/99");
  const auto before = Lines("audit.1");
  EXPECT_EQ(std::stoi(json::parse(before.back())["method"].get<std::string>().substr(3)) + 1,
            std::stoi(json::parse(lines.front())["method"].get<std::string>().substr(3)))
      << "no line is lost between two files";
  const auto mode = std::filesystem::status(config.file).permissions();
  EXPECT_EQ(mode & std::filesystem::perms::others_all, std::filesystem::perms::none);
}

TEST_F(AuditFile, GoesOnAfterARestart) {
  const config::AuditLog config{.file = directory_ + "/audit", .max_bytes = 1 << 20, .keep = 2};
  for (int i = 0; i < 2; ++i) {
    auto audit = Audit::Start(config);
    ASSERT_TRUE(audit);
    (*audit)->Write({.method = "/m"});
  }
  EXPECT_EQ(Lines("audit").size(), 2u);
}

TEST_F(AuditFile, MovedAwayIsMadeAnew) {
  const config::AuditLog config{.file = directory_ + "/audit", .max_bytes = 1 << 20, .keep = 2};
  auto audit = Audit::Start(config);
  ASSERT_TRUE(audit);
  const auto written = [&](uint64_t lines) {
    for (int i = 0; i < 1000 && (*audit)->Counts().written < lines; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return (*audit)->Counts().written == lines;
  };
  (*audit)->Write({.method = "/before"});
  ASSERT_TRUE(written(1));
  std::filesystem::rename(config.file, config.file + ".moved");
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // it looks once a second
  (*audit)->Write({.method = "/after"});
  ASSERT_TRUE(written(2));
  EXPECT_EQ(Lines("audit.moved").size(), 1u);
  ASSERT_EQ(Lines("audit").size(), 1u);
  EXPECT_EQ(json::parse(Lines("audit")[0])["method"], "/after");
}

TEST_F(AuditFile, AFullDiskLeavesNoHalfLine) {
  const config::AuditLog config{.file = directory_ + "/audit", .max_bytes = 1 << 20, .keep = 2};
  std::ofstream(config.file) << "{\"half\"";
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    // A limit on the size of files stands for a full disk: it fails in the middle of a write, too.
    const auto limit = [](rlim_t bytes) {
      const rlimit limits{.rlim_cur = bytes, .rlim_max = RLIM_INFINITY};
      setrlimit(RLIMIT_FSIZE, &limits);
    };
    const auto write = [&](const std::string& method) {
      auto audit = Audit::Start(config);
      (*audit)->Write({.method = method});
      audit->reset();
    };
    write("/first");
    {
      auto audit = Audit::Start(config);
      limit(std::filesystem::file_size(config.file) + 10);
      (*audit)->Write({.method = "/lost"});
      for (int i = 0; i < 1000 && (*audit)->Counts().failed == 0; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
      limit(RLIM_INFINITY);
      (*audit)->Write({.method = "/last"});
    }
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  const auto lines = Lines("audit");
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0], "{\"half\"");
  EXPECT_EQ(json::parse(lines[1])["method"], "/first");
  EXPECT_EQ(json::parse(lines[2])["method"], "/last");
}

TEST_F(AuditFile, APlaceThatCannotBeWrittenIsTold) {
  EXPECT_FALSE(Audit::Start({.file = directory_ + "/no/such/audit"}));
  EXPECT_FALSE(Audit::Start({.file = directory_}));
  std::filesystem::create_symlink("/etc/passwd", directory_ + "/link");
  EXPECT_FALSE(Audit::Start({.file = directory_ + "/link"}));
}

TEST_F(AuditFile, WhatTheQueueCannotHoldIsCounted) {
  constexpr uint64_t kLines = 200'000;
  const config::AuditLog config{.file = directory_ + "/audit", .max_bytes = 1 << 30, .keep = 1};
  auto audit = Audit::Start(config);
  ASSERT_TRUE(audit);
  for (uint64_t i = 0; i < kLines; ++i) {
    (*audit)->Write({.method = "/m"});
  }
  const uint64_t dropped = (*audit)->Counts().dropped;
  audit->reset();
  EXPECT_EQ(Lines("audit").size() + dropped, kLines) << "each is written or counted";
}

}  // namespace
}  // namespace moat::api
