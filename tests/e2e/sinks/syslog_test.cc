// SPDX-License-Identifier: Apache-2.0
// Findings arrive at syslog-ng and rsyslog, and only there, whatever ends in between.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <random>
#include <set>
#include <thread>
#include <tuple>

#include "agent/sink/sinks.h"
#include "agent/sink/syslog.h"
#include "tests/e2e/sinks/receivers.h"
#include "tests/unit/sink_tools.h"

namespace moat::e2e {
namespace {

using namespace std::chrono_literals;
using Kind = Receiver::Kind;

constexpr uint64_t kFindings = 100'000;
const sink::Origin kOrigin{.hostname = "node-1", .version = "1"};

class SyslogReceiver : public testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    ::signal(SIGPIPE, SIG_IGN);  // as moatd
    if (const std::string why = Receiver::WhyNot(GetParam()); !why.empty()) {
      GTEST_SKIP() << why;
    }
    const Status made = MakeCertificates(directory_.path());
    ASSERT_TRUE(made) << made.error().message;
  }
  std::string Folder(const std::string& name) const {
    std::filesystem::create_directories(directory_ / name);
    return directory_ / name;
  }
  std::unique_ptr<Receiver> Make(const std::string& certificate = "server") const {
    return std::make_unique<Receiver>(GetParam(), Folder("receiver"), directory_.path(), certificate);
  }
  // Of one message; empty: delivered.
  std::string SendOne(const config::SyslogSink& config) const {
    sink::Syslog syslog(config, kOrigin, Folder("window"));
    const sink::Message message = test::MakeMessage(1);
    const sink::Delivery delivery = syslog.Send({&message, 1});
    EXPECT_EQ(delivery.delivered, delivery.outcome == sink::Outcome::kDelivered ? 1 : 0);
    EXPECT_EQ(delivery.why.empty(), delivery.outcome == sink::Outcome::kDelivered);
    return delivery.why;
  }
  static bool Arrives(const Receiver& receiver, uint64_t count) {
    uint64_t lines = 0;
    return test::Until([&] {
      const std::string all = ReadAll(receiver.output());
      lines = static_cast<uint64_t>(std::ranges::count(all, '\n'));
      return lines >= count;
    });
  }

  const test::TempDir directory_;
};

TEST_P(SyslogReceiver, RefusesWhoHasNoCertificateOfItsCa) {
  const auto receiver = Make();
  ASSERT_TRUE(receiver->Start());
  EXPECT_EQ(SendOne(receiver->Sink()), "");
  ASSERT_TRUE(Arrives(*receiver, 1));
  const std::string none = SendOne(receiver->Sink("")), foreign = SendOne(receiver->Sink("foreign"));
  std::cout << "no certificate: " << none << "\nforeign certificate: " << foreign << '\n';
  EXPECT_NE(none, "");
  EXPECT_NE(foreign, "");
  std::this_thread::sleep_for(300ms);
  EXPECT_EQ(test::LinesOf(ReadAll(receiver->output())).size(), 1u);
}

TEST_P(SyslogReceiver, IsRefusedWhenItIsNotTheOne) {
  const auto receiver = Make();
  ASSERT_TRUE(receiver->Start());
  config::SyslogSink config = receiver->Sink();
  EXPECT_EQ(SendOne(config), "");
  config.tls.ca = directory_ / "foreign-ca.pem";
  const std::string ca = SendOne(config);
  config = receiver->Sink();
  config.tls.server_name = "elsewhere.example";
  const std::string name = SendOne(config);
  config.tls.server_name = "192.0.2.1";
  const std::string address = SendOne(config);
  std::cout << ca << '\n' << name << '\n' << address << '\n';
  EXPECT_NE(ca.find("certificate is not accepted"), std::string::npos) << ca;
  EXPECT_NE(name.find("ostname mismatch"), std::string::npos) << name;
  EXPECT_NE(address.find("IP address mismatch"), std::string::npos) << address;
  config.tls.server_name = "localhost";
  EXPECT_EQ(SendOne(config), "");
  receiver->Kill(SIGTERM);
  EXPECT_EQ(test::LinesOf(ReadAll(receiver->output())).size(), 2u);
}

TEST_P(SyslogReceiver, SeesNoErrorWhenTheAgentTakesItsLeave) {
  const auto receiver = Make();
  ASSERT_TRUE(receiver->Start());
  EXPECT_EQ(SendOne(receiver->Sink()), "");
  ASSERT_TRUE(Arrives(*receiver, 1));
  receiver->Kill(SIGTERM);
  std::string log = receiver->Log();
  std::cout << log;
  std::ranges::transform(log, log.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  EXPECT_EQ(log.find("unexpected eof"), std::string::npos);
}

TEST_P(SyslogReceiver, CertificatesAreReadAnewWhenTheyChange) {
  const auto receiver = Make();
  ASSERT_TRUE(receiver->Start());
  config::SyslogSink config = receiver->Sink();
  config.tls.cert = directory_ / "current.pem";
  config.tls.key = directory_ / "current.key";
  const auto use = [&](const std::string& name) {
    for (const char* ending : {".pem", ".key"}) {
      std::filesystem::copy_file(directory_ / (name + ending), directory_ / (std::string("next") + ending),
                                 std::filesystem::copy_options::overwrite_existing);
      std::filesystem::rename(directory_ / (std::string("next") + ending), directory_ / (std::string("current") + ending));
    }
  };
  use("client");
  sink::Syslog syslog(config, kOrigin, Folder("window"));
  const sink::Message message = test::MakeMessage(1);
  EXPECT_EQ(syslog.Send({&message, 1}).delivered, 1u);
  use("foreign");
  EXPECT_EQ(syslog.Send({&message, 1}).delivered, 0u) << "the old certificate is still used";
  use("client");
  EXPECT_EQ(syslog.Send({&message, 1}).delivered, 1u);
  EXPECT_EQ(syslog.stats().resent, 0u) << "an orderly change loses nothing";
  EXPECT_TRUE(Arrives(*receiver, 2));
  receiver->Kill(SIGTERM);
  EXPECT_EQ(test::LinesOf(ReadAll(receiver->output())).size(), 2u);
}

TEST_P(SyslogReceiver, MayHangAndGetsAllWhenItGoesOn) {
  const auto receiver = Make();
  ASSERT_TRUE(receiver->Start());
  config::SyslogSink config = receiver->Sink();
  config.timeout_ms = 1000;
  sink::Syslog syslog(config, kOrigin, Folder("window"));
  uint64_t sent = 0;
  const auto send = [&] {
    std::vector<sink::Message> messages;
    for (int i = 0; i < 100; ++i) {
      messages.push_back(test::MakeMessage(sent + static_cast<uint64_t>(i), 10'000));
    }
    const auto began = std::chrono::steady_clock::now();
    const sink::Delivery delivery = syslog.Send(messages);
    EXPECT_LT(std::chrono::steady_clock::now() - began, 3s);
    sent += delivery.delivered;
    return delivery;
  };
  EXPECT_EQ(send().delivered, 100u);
  receiver->Signal(SIGSTOP);
  sink::Delivery delivery;
  for (int i = 0; i < 100 && delivery.outcome == sink::Outcome::kDelivered; ++i) {
    delivery = send();
  }
  EXPECT_EQ(delivery.outcome, sink::Outcome::kRetry);
  EXPECT_NE(delivery.why, "");
  delivery = send();
  EXPECT_EQ(delivery.outcome, sink::Outcome::kRetry);
  std::cout << "after " << sent << ": " << delivery.why << '\n';
  receiver->Signal(SIGCONT);
  ASSERT_TRUE(test::Until([&] { return send().delivered > 0; }));
  EXPECT_GT(syslog.stats().resent, 0u);
  const auto distinct = [&] {
    std::set<std::string> ids;
    for (const std::string& line : test::LinesOf(ReadAll(receiver->output()))) {
      ids.insert(line.substr(0, line.find("\" revision")));
    }
    return ids.size();
  };
  EXPECT_TRUE(test::Until([&] { return distinct() >= sent; })) << distinct() << " of " << sent;
}

TEST_P(SyslogReceiver, GetsAHundredThousandOnceAndInOrder) {
  const auto receiver = Make();
  ASSERT_TRUE(receiver->Start());
  config::Sink config{.name = "siem",
                      .kinds = {},
                      .events = {},
                      .spool = {.path = directory_ / "spool", .max_bytes = 512u << 20},
                      .transport = receiver->Sink()};
  auto sinks = sink::Sinks::Create({config}, kOrigin);
  ASSERT_TRUE(sinks) << sinks.error().message;
  const auto began = std::chrono::steady_clock::now();
  const auto pattern = test::MakeFinding();
  for (uint64_t number = 0; number < kFindings; ++number) {
    auto finding = std::make_shared<event::Finding>(*pattern);
    finding->id = NumberToId(number);
    finding->revision = 1;
    (*sinks)->OnFinding(finding);
    if (number % 2048 == 2047) {
      ASSERT_TRUE((*sinks)->Flush(60s));
    }
  }
  ASSERT_TRUE((*sinks)->Flush(60s));
  for (int i = 0; i < 24'000 && (*sinks)->stats()[0].spool.depth > 0; ++i) {
    std::this_thread::sleep_for(5ms);
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  (*sinks)->Stop(5s);
  const sink::SinkStats stats = (*sinks)->stats()[0];
  EXPECT_EQ(stats.delivered, kFindings) << stats.last_error;
  EXPECT_EQ(stats.queue_full + stats.spool.dropped_by_cap, 0u);
  // What is in its socket it has still to read: rsyslog does not when it is told to end.
  for (int i = 0; i < 60 && ReadArrivals(receiver->output(), kFindings).distinct < kFindings; ++i) {
    std::this_thread::sleep_for(500ms);
  }
  receiver->Kill(SIGTERM);
  const Arrivals arrivals = ReadArrivals(receiver->output(), kFindings);
  EXPECT_EQ(arrivals.distinct, kFindings);
  EXPECT_EQ(arrivals.duplicates, 0u);
  EXPECT_EQ(arrivals.jumps + arrivals.gaps, 0u);
  EXPECT_EQ(arrivals.foreign, 0u) << arrivals.first_foreign;
  std::cout << Receiver::Name(GetParam()) << ": " << kFindings << " findings in " << took.count() << " s, "
            << std::filesystem::file_size(receiver->output()) / kFindings << " bytes each\n";
}

TEST_P(SyslogReceiver, LosesNothingWhenItAndTheAgentAreKilled) {
  constexpr int kAgentKills = 20, kReceiverEnds = 6;
  const auto receiver = Make();
  ASSERT_TRUE(receiver->Start());
  const std::string log = directory_ / "feeder.log";
  const auto feed = [&] {
    return std::make_unique<Program>(
        std::vector<std::string>{std::string(MOAT_BINARY_DIR) + "/bin/moat_sink_feeder", std::to_string(receiver->port()),
                                 directory_.path(), directory_ / "spool", directory_ / "progress", std::to_string(kFindings)},
        std::vector<std::string>{}, log);
  };
  const auto size = [&] {
    std::error_code none;
    const auto bytes = std::filesystem::file_size(receiver->output(), none);
    return none ? 0 : bytes;
  };
  const auto grows = [&] { return test::Until([&, from = size()] { return size() > from + (3u << 20); }); };
  std::minstd_rand random(6);
  int receiver_ends = 0;
  for (int kill = 0; kill < kAgentKills; ++kill) {
    const auto feeder = feed();
    if (kill % 3 == 1 && receiver_ends < kReceiverEnds) {
      ASSERT_TRUE(grows()) << ReadAll(log);
      receiver->Kill(receiver_ends++ % 2 == 0 ? SIGKILL : SIGTERM);
      std::this_thread::sleep_for(std::chrono::milliseconds(random() % 400));
      if (receiver_ends > kReceiverEnds / 2) {
        EXPECT_EQ(feeder->End(SIGKILL), 128 + SIGKILL) << "while the receiver is away";
        ASSERT_TRUE(receiver->Start());
        continue;
      }
      ASSERT_TRUE(receiver->Start());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50 + random() % 250));
    EXPECT_EQ(feeder->End(SIGKILL), 128 + SIGKILL) << "it had ended before, " << kill << " kills: " << ReadAll(log);
  }
  EXPECT_EQ(feed()->Wait(300), 0) << ReadAll(log);
  receiver->Kill(SIGTERM);
  const Arrivals arrivals = ReadArrivals(receiver->output(), kFindings);
  EXPECT_EQ(arrivals.distinct, kFindings);
  // A line that was being written when the receiver was killed is cut, and the next one stands behind it.
  EXPECT_LE(arrivals.foreign, kReceiverEnds) << arrivals.first_foreign;
  EXPECT_LE(arrivals.jumps, 2u * (kAgentKills + kReceiverEnds)) << "duplicates apart from faults";
  EXPECT_LE(arrivals.longest_jump, 16384u);
  std::cout << Receiver::Name(GetParam()) << ": " << kAgentKills << " kills of the agent, " << receiver_ends
            << " ends of the receiver: " << arrivals.distinct << " of " << kFindings << " arrived, " << arrivals.duplicates
            << " of them twice in " << arrivals.jumps << " places, at most " << arrivals.longest_jump << " back; "
            << arrivals.foreign << " cut\n";
}

TEST(SyslogVersion, Tls12IsTheLeast) {
  const test::TempDir directory;
  ASSERT_TRUE(MakeCertificates(directory.path()));
  std::filesystem::create_directory(directory / "window");
  config::SyslogSink config;
  config.host = config.tls.server_name = "127.0.0.1";
  config.tls.ca = directory / "ca.pem";
  const sink::Message message = test::MakeMessage(1);
  for (const auto& [version, certificate, taken] : {std::tuple{"-tls1_2", "client", true},
                                                    {"-tls1_2", "", false},
                                                    {"-tls1_2", "foreign", false},
                                                    {"-tls1_3", "client", true},
                                                    {"-tls1_1", "client", false}}) {
    config.port = FreePort();
    config.tls.cert = *certificate ? directory / (certificate + std::string(".pem")) : "";
    config.tls.key = *certificate ? directory / (certificate + std::string(".key")) : "";
    const std::string log = (directory / "log") + std::to_string(config.port);
    const Program server({"/usr/bin/openssl", "s_server", "-accept", "127.0.0.1:" + std::to_string(config.port), "-cert",
                          directory / "server.pem", "-key", directory / "server.key", "-CAfile", directory / "ca.pem", "-Verify",
                          "1", "-verify_return_error", "-quiet", version, "-cipher", "ALL:@SECLEVEL=0"},
                         {}, log);
    ASSERT_TRUE(test::Until([&] { return IsListening(config.port); })) << ReadAll(log);
    sink::Delivery delivery;
    {
      sink::Syslog syslog(config, kOrigin, directory / "window");
      delivery = syslog.Send({&message, 1});
    }
    EXPECT_EQ(delivery.outcome == sink::Outcome::kDelivered, taken) << version << " " << certificate << ": " << delivery.why;
    const auto arrived = [&] { return ReadAll(log).find("[moat@32473 id=\"id-1\"") != std::string::npos; };
    EXPECT_EQ(taken ? test::Until(arrived) : arrived(), taken) << ReadAll(log);
    std::cout << version << " " << certificate << ": " << delivery.why << '\n';
  }
}

INSTANTIATE_TEST_SUITE_P(Real, SyslogReceiver, testing::Values(Kind::kSyslogNg, Kind::kRsyslog),
                         [](const auto& one) { return one.param == Kind::kSyslogNg ? "SyslogNg" : "Rsyslog"; });

}  // namespace
}  // namespace moat::e2e
