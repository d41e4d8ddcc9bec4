// SPDX-License-Identifier: Apache-2.0
// Syslog without a receiver: the message's form, what is kept of delivered ones, and receivers that hang. With real ones: tests/e2e/sinks.
#include "agent/sink/syslog.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <cstdlib>

#include "agent/sink/window.h"
#include "tests/unit/sanitizer.h"
#include "tests/unit/sink_tools.h"

namespace moat {
namespace {

using namespace std::chrono_literals;
using sink::FormatSyslog;
using sink::Window;
using test::MakeMessage;

TEST(Syslog, MessageIsRfc5424) {
  sink::Message message = MakeMessage(7);
  message.time_unix_ns = 1'790'000'005'012'345'678;
  message.text = R"({"a":"\"]"})";
  EXPECT_EQ(FormatSyslog(message, 13, "node-1", "42"),
            "<107>1 2026-09-21T14:13:25.012345Z node-1 moatd 42 canary-touched [moat@32473 id=\"id-7\" revision=\"7\" "
            "kind=\"canary-touched\" severity=\"high\"] {\"a\":\"\\\"]\"}");
  const std::pair<event::Severity, const char*> priorities[] = {{event::Severity::kInfo, "<134>"},
                                                                {event::Severity::kLow, "<133>"},
                                                                {event::Severity::kMedium, "<132>"},
                                                                {event::Severity::kHigh, "<131>"},
                                                                {event::Severity::kCritical, "<130>"}};
  for (const auto& [severity, priority] : priorities) {
    message.severity = severity;
    EXPECT_TRUE(FormatSyslog(message, 16, "h", "1").starts_with(priority));
  }
}

TEST(Syslog, HeaderFieldsStayWithinTheirBounds) {
  sink::Message message = MakeMessage(1);
  message.id = "a\"b\\c]d";
  message.kind = std::string(40, 'k');
  const std::string line = FormatSyslog(message, 13, std::string(300, 'h') + "x", "");
  EXPECT_NE(line.find(" " + std::string(255, 'h') + " moatd - " + std::string(32, 'k') + " ["), std::string::npos) << line;
  EXPECT_NE(line.find(R"(id="a\"b\\c\]d")"), std::string::npos) << line;
  for (const std::string& text : test::HostileTexts()) {
    const std::string hostile = FormatSyslog(MakeMessage(1), 13, text, "1");
    const std::string head = hostile.substr(0, hostile.find(" moatd 1 canary-touched ["));
    EXPECT_EQ(std::ranges::count(head, ' '), 2) << head;
    EXPECT_TRUE(std::ranges::all_of(head, [](char c) { return c >= ' ' && c < 0x7f; })) << head;
  }
  EXPECT_NE(FormatSyslog(message, 13, "", "1").find("Z - moatd"), std::string::npos);
}

std::vector<uint64_t> Rest(Window& window, size_t portion = 1 << 20) {
  std::vector<uint64_t> numbers;
  window.Rewind();
  for (auto some = window.Next(portion); !some.empty(); some = window.Next(portion)) {
    for (const sink::Message& message : some) {
      numbers.push_back(message.revision);
    }
  }
  return numbers;
}

std::vector<uint64_t> Numbers(uint64_t from, uint64_t to) {
  std::vector<uint64_t> numbers;
  for (; from < to; ++from) {
    numbers.push_back(from);
  }
  return numbers;
}

TEST(SyslogWindow, KeepsTheNewestInOrderAndOutlivesItsProcess) {
  const test::TempDir directory;
  const sink::WindowOptions options{.bytes = 20'000, .keep_for = 1h};
  uint64_t number = 0;
  for (int run = 0; run < 5; ++run) {
    Window window(directory.path(), options);
    ASSERT_TRUE(window.Open());
    EXPECT_EQ(window.empty(), run == 0);
    for (int i = 0; i < 100; ++i, ++number) {
      const sink::Message message = MakeMessage(number, 200);
      window.Add({&message, 1});
      const auto rest = Rest(window, 1000);
      ASSERT_FALSE(rest.empty());
      ASSERT_EQ(rest, Numbers(rest.front(), number + 1)) << "in order, without a gap, the newest last";
      ASSERT_TRUE(rest.front() == 0 || rest.size() * 200 > options.bytes / 3);
      ASSERT_LE(std::filesystem::file_size(directory / "sent.0") + std::filesystem::file_size(directory / "sent.1"),
                options.bytes);
    }
  }
  Window window(directory.path(), options);
  ASSERT_TRUE(window.Open());
  window.Clear();
  EXPECT_TRUE(window.empty());
  EXPECT_TRUE(Rest(window).empty());
}

TEST(SyslogWindow, ForgetsByTimeOnlyWhatIsMoreThanAReceiverCanHoldUnread) {
  const test::TempDir directory;
  Window window(directory.path(), {.bytes = 40'000, .keep_for = 10ms});
  ASSERT_TRUE(window.Open());
  const auto add = [&](uint64_t number, size_t bytes) {
    std::this_thread::sleep_for(20ms);
    window.SeenAlive();
    const sink::Message message = MakeMessage(number, bytes);
    window.Add({&message, 1});
  };
  for (uint64_t number = 0; number < 10; ++number) {  // a receiver's kernel may have them, and the receiver none
    add(number, 20);
  }
  EXPECT_EQ(Rest(window).size(), 10u);
  add(10, 11'000);
  add(11, 11'000);
  EXPECT_EQ(Rest(window).size(), 12u) << "these are in the other file";
  add(12, 20);
  EXPECT_EQ(Rest(window), (std::vector<uint64_t>{11, 12}));
}

TEST(SyslogWindow, DamageTakesOnlyWhatItHits) {
  const test::TempDir directory;
  {
    Window window(directory.path(), {});
    ASSERT_TRUE(window.Open());
    for (uint64_t number = 0; number < 10; ++number) {
      const sink::Message message = MakeMessage(number, 100);
      window.Add({&message, 1});
    }
  }
  const std::string good = test::ReadAll(directory / "sent.0");
  ASSERT_FALSE(good.empty());
  for (size_t at = 0; at < good.size(); at += 13) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x41);
    for (const std::string& bytes : {bad, good.substr(0, at)}) {
      test::WriteAll(directory / "sent.0", bytes);
      Window window(directory.path(), {});
      ASSERT_TRUE(window.Open());
      ASSERT_EQ(Rest(window).size(), bytes.size() == bad.size() ? 9 : at * 10 / good.size());
      const sink::Message message = MakeMessage(99);
      window.Add({&message, 1});
      ASSERT_EQ(Rest(window).back(), 99u) << "after damage at " << at;
    }
  }
}

// A socket that listens, and does not accept.
struct Listener {
  explicit Listener(int backlog) : fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(fd.get(), backlog), 0);
    EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    port = ntohs(address.sin_port);
  }
  Fd fd;
  uint16_t port = 0;
};

TEST(SyslogBound, WhatNoReceiverTakesIsRefusedWithoutOne) {
  const test::TempDir directory;
  config::SyslogSink config;
  config.timeout_ms = 200;
  config.port = 1;
  config.tls.ca = directory / "none.pem";
  sink::Syslog syslog(config, {.hostname = "h", .version = "1"}, directory.path());
  const sink::Message longest = MakeMessage(1, 64u << 10);
  sink::Delivery delivery = syslog.Send({&longest, 1});
  EXPECT_EQ(delivery.outcome, sink::Outcome::kRejected);
  EXPECT_NE(delivery.why.find("longer than 64 KiB"), std::string::npos) << delivery.why;
  // What is before it comes first.
  const sink::Message messages[] = {MakeMessage(1, 60u << 10), longest};
  delivery = syslog.Send(messages);
  EXPECT_EQ(delivery.outcome, sink::Outcome::kRetry);
  EXPECT_EQ(delivery.delivered, 0u);
}

class SyslogTimeout : public ::testing::Test {
 protected:
  SyslogTimeout() {
    config_.host = config_.tls.server_name = "127.0.0.1";
    config_.port = 1;
    config_.timeout_ms = 200;
    config_.tls.ca = directory_ / "ca.pem";
  }
  void MakeCa() const {
    const std::string make =
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=ca -keyout /dev/null -out ";
    ASSERT_EQ(std::system((make + (directory_ / "ca.pem") + " 2>/dev/null").c_str()), 0);
  }
  void ExpectItSaysInTime(const char* what) const {
    sink::Syslog syslog(config_, {.hostname = "h", .version = "1"}, directory_.path());
    const sink::Message message = MakeMessage(1);
    const auto began = std::chrono::steady_clock::now();
    const sink::Delivery delivery = syslog.Send({&message, 1});
    EXPECT_LT(std::chrono::steady_clock::now() - began, 3s);
    EXPECT_EQ(delivery.outcome, sink::Outcome::kRetry);
    EXPECT_EQ(delivery.delivered, 0u);
    EXPECT_NE(delivery.why.find(what), std::string::npos) << delivery.why;
  }

  test::TempDir directory_;
  config::SyslogSink config_;
};

TEST_F(SyslogTimeout, NoReceiverHoldsItLonger) {
  ExpectItSaysInTime("ca.pem cannot be used");
  test::WriteAll(directory_ / "ca.pem", "no certificate");
  ExpectItSaysInTime("ca.pem cannot be used");
  MakeCa();
  ExpectItSaysInTime("cannot be connected to");
  const Listener silent(16);
  config_.port = silent.port;
  ExpectItSaysInTime("took too long in the handshake");
  const Listener full(0);
  std::vector<Fd> takers;
  for (int i = 0; i < 4; ++i) {  // until the kernel takes no more
    takers.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(full.port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::connect(takers.back().get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
  }
  config_.port = full.port;
  ExpectItSaysInTime("did not answer in time");
}

TEST_F(SyslogTimeout, NorANameThatNobodyKnows) {
  MOAT_SKIP_UNDER_TSAN("getaddrinfo_a starts threads within libc that ThreadSanitizer does not know, and crashes in them");
  MakeCa();
  config_.host = "no-such-host.invalid";
  ExpectItSaysInTime("no-such-host.invalid");
}

}  // namespace
}  // namespace moat
