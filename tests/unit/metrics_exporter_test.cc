// SPDX-License-Identifier: Apache-2.0
// The exporter among clients that mean it no good: after each of them it answers.
#include "agent/metrics/exporter.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <thread>

#include "agent/base/fd.h"
#include "tests/unit/sanitizer.h"

namespace moat::metrics {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using namespace std::chrono_literals;

class MetricsExporterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    MOAT_SKIP_UNDER_TSAN(
        "civetweb is not built for ThreadSanitizer: two of its threads write libc's static tm for a header's date");
    auto started = Exporter::Start("127.0.0.1:0", [this] {
      ++asked_;
      return Input{.version = "test"};
    });
    ASSERT_TRUE(started) << started.error().message;
    exporter_ = std::move(*started);
    ASSERT_NE(exporter_->port(), 0);
  }

  Fd Connect() const {
    Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const timeval limit{10, 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(exporter_->port());
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof(to)), 0);
    return fd;
  }

  static std::string ReadAll(const Fd& fd) {
    std::string text;
    char chunk[4096];
    for (ssize_t got; (got = ::recv(fd.get(), chunk, sizeof(chunk), 0)) > 0;) {
      text.append(chunk, static_cast<size_t>(got));
    }
    return text;
  }

  std::string Ask(const std::string& request) const {
    const Fd fd = Connect();
    ::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL);
    return ReadAll(fd);
  }

  void ExpectAnswers() const {
    EXPECT_THAT(Ask(kScrape), AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("moat_build_info{version=\"test\"")));
  }

  static constexpr const char* kScrape = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
  std::atomic<int> asked_ = 0;
  std::unique_ptr<Exporter> exporter_;
};

TEST_F(MetricsExporterTest, AnswersAScrape) {
  const std::string answer = Ask(kScrape);
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(answer, HasSubstr("Content-Type: text/plain"));
  EXPECT_THAT(answer, HasSubstr("moat_build_info{version=\"test\",kernel=\"\"} 1\n"));
  EXPECT_EQ(asked_, 1);
}

TEST_F(MetricsExporterTest, NothingElseIsServed) {
  for (const char* line : {"GET / HTTP/1.1", "GET /../../etc/passwd HTTP/1.1", "GET /..%2f..%2fetc/passwd HTTP/1.1",
                           "POST /metrics HTTP/1.1", "PUT /x HTTP/1.1", "DELETE /metrics HTTP/1.1", "OPTIONS /metrics HTTP/1.1",
                           "PROPFIND / HTTP/1.1", "TRACE /metrics HTTP/1.1", "CONNECT 127.0.0.1:80 HTTP/1.1"}) {
    const std::string answer = Ask(std::string(line) + "\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    EXPECT_THAT(answer, Not(HasSubstr("moat_build_info"))) << line;
    EXPECT_THAT(answer, Not(HasSubstr("root:"))) << line;
  }
  EXPECT_EQ(asked_, 0);
  ExpectAnswers();
}

TEST_F(MetricsExporterTest, GarbageIsRefused) {
  std::string deep = "GET /";
  deep.append(20'000, 'a');
  const std::string zeros(5000, '\0');
  for (const std::string& request :
       {std::string("\r\n\r\n"), std::string("GET"), std::string("\x16\x03\x01\x02\x00\x01\x00", 7), zeros,
        deep + " HTTP/1.1\r\n\r\n", std::string("GET /metrics HTTP/9.9\r\n\r\n"),
        "GET /metrics HTTP/1.1\r\nX: " + std::string(20'000, 'h') + "\r\n\r\n",
        std::string("GET /metrics HTTP/1.1\r\nContent-Length: -1\r\n\r\n"), std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")}) {
    const Fd fd = Connect();
    ::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL);
    ::shutdown(fd.get(), SHUT_WR);
    ReadAll(fd);
  }
  ExpectAnswers();
}

// More than there are threads, each silent or one byte at a time: they have three seconds, the next in line is then served.
TEST_F(MetricsExporterTest, SlowClientsDoNotHoldIt) {
  std::vector<Fd> silent;
  for (int i = 0; i < 4; ++i) {
    silent.push_back(Connect());
    ::send(silent.back().get(), "GET /metr", 9, MSG_NOSIGNAL);
  }
  const auto began = std::chrono::steady_clock::now();
  std::jthread drip([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      for (const Fd& fd : silent) {
        ::send(fd.get(), "i", 1, MSG_NOSIGNAL);
      }
      std::this_thread::sleep_for(200ms);
    }
  });
  ExpectAnswers();
  EXPECT_LT(std::chrono::steady_clock::now() - began, 9s);
}

// A crowd costs it no descriptors beyond its threads and its short queue.
TEST_F(MetricsExporterTest, ACrowdWaitsOutside) {
  const auto descriptors = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator());
  };
  const auto before = descriptors();
  {
    std::vector<Fd> crowd;
    for (int i = 0; i < 100; ++i) {
      crowd.push_back(Connect());
    }
    std::this_thread::sleep_for(300ms);
    EXPECT_LE(descriptors() - before, 100 + 12);
  }
  ExpectAnswers();
}

TEST_F(MetricsExporterTest, EndsAmongClientsThatSayNothing) {
  const Fd one = Connect(), two = Connect(), three = Connect();
  std::this_thread::sleep_for(100ms);
  const auto began = std::chrono::steady_clock::now();
  exporter_.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - began, 4s);
}

TEST_F(MetricsExporterTest, APortInUseIsAnError) {
  const std::string address = "127.0.0.1:" + std::to_string(exporter_->port());
  const auto second = Exporter::Start(address, [] { return Input{}; });
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kUnavailable);
  EXPECT_THAT(second.error().message, HasSubstr(address));
  ExpectAnswers();
}

}  // namespace
}  // namespace moat::metrics
