// SPDX-License-Identifier: Apache-2.0
// Who looks around from here.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/detect_kit.h"

namespace moat::detect {
namespace {

using event::Severity;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class Lateral : public testing::Test, public DetectKit {
 protected:
  Lateral() { detector = MakeLateral({}); }
  void TearDown() override {
    for (const Draft& draft : raised) {
      EXPECT_EQ(Unfit(draft), "");
    }
  }
};

std::string Peer(int i) { return "10.7." + std::to_string(i / 250) + "." + std::to_string(i % 250 + 1); }

TEST_F(Lateral, AttackFanOutToPeers) {
  const auto worm = Process("/usr/bin/python3");
  for (int i = 0; i < 49; ++i) {
    Connect(worm, To(Peer(i), 22));
  }
  EXPECT_THAT(raised, IsEmpty());
  Connect(worm, To(Peer(0), 22));  // known already
  EXPECT_THAT(raised, IsEmpty());
  Connect(worm, To(Peer(49), 22));
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].kind, event::FindingKind::kLateralMovement);
  EXPECT_EQ(raised[0].severity, Severity::kMedium);
  EXPECT_THAT(raised[0].title, HasSubstr("50 internal peers that it had not called before within 60 s"));
}

TEST_F(Lateral, AttackScanOfPortsByAProcessEach) {
  for (uint16_t i = 0; i <= 49; ++i) {
    Connect(Process("/usr/bin/nc"), To("10.7.0.1", static_cast<uint16_t>(1000 + i)));
  }
  EXPECT_THAT(raised, IsEmpty());
  Connect(Process("/usr/bin/nc"), To("10.7.0.1", 2000));
  EXPECT_THAT(raised, SizeIs(1));
}

TEST_F(Lateral, AttackBurstOfRefusals) {
  const auto scanner = Process("/usr/bin/python3");
  for (int i = 0; i < 19; ++i) {
    Refused(scanner, To(Peer(i), 8080));
  }
  EXPECT_THAT(raised, IsEmpty());
  Refused(scanner, To(Peer(19), 8080));
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].severity, Severity::kHigh);
}

TEST_F(Lateral, AttackIpv6AndDatagrams) {
  const auto scanner = Process("/usr/bin/python3");
  for (int i = 1; i <= 25; ++i) {
    Connect(scanner, To("fd00::7:" + std::to_string(i), 22));
    Connect(scanner, To("fe80::7:" + std::to_string(i), 161, 17), 0, event::Kind::kNetSend);
  }
  EXPECT_THAT(raised, SizeIs(1));
}

TEST_F(Lateral, BenignSlowly) {
  const auto monitor = Process("/usr/bin/monitor");
  for (int i = 0; i < 1000; ++i) {
    Connect(monitor, To(Peer(i), 9100));
    now += 2 * kS;
  }
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(Lateral, BenignClientThatLostItsServer) {
  const auto client = Process("/usr/bin/client");
  for (int i = 0; i < 1000; ++i) {
    Refused(client, To("10.7.0.1", 5432));
  }
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(Lateral, BenignAllowedOutsideAndHere) {
  const auto job = Process("/usr/bin/python3");
  send = [](auto&, auto, const event::Endpoints& ep) {
    return ep.remote.bytes[1] == 7 ? Declared::kAllowed : Declared::kNothing;
  };
  for (int i = 0; i < 200; ++i) {
    Connect(job, To(Peer(i), 29500));
    Refused(job, To(Peer(i), 29501));
    Connect(job, To("203.0.113." + std::to_string(i)));  // a crawler
    Connect(job, To("127.0.0." + std::to_string(i + 1)));
  }
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(Lateral, BenignPrometheusKnowsItsTargets) {
  const auto prometheus = Process("/usr/bin/prometheus");
  for (int i = 0; i < 400; ++i) {
    Connect(prometheus, To(Peer(i), 9100));
    now += 2 * kS;  // found one by one
  }
  for (int round = 0; round < 10; ++round) {
    for (int i = 0; i < 400; ++i) {
      Connect(prometheus, To(Peer(i), 9100));
    }
  }
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(Lateral, AttackMetadata) {
  Work("/pod", {.pod_name = "nb-0", .container_id = "1"});
  const auto thief = Process("/usr/bin/curl", "/pod", nullptr, 0);
  Connect(thief, To("169.254.169.254", 80));
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].kind, event::FindingKind::kMetadataAccess);
  EXPECT_EQ(raised[0].severity, Severity::kMedium);
  Connect(thief, To("fd00:ec2::254", 80), /*labels=*/1);
  ASSERT_THAT(raised, SizeIs(2));
  EXPECT_EQ(raised[1].severity, Severity::kHigh);
  Work("/ssh", {.unit = "ssh.service"});
  Connect(Process("/usr/bin/curl", "/ssh", nullptr, 0), To("169.254.169.254", 80));  // a person, not a service
  EXPECT_THAT(raised, SizeIs(3));
}

TEST_F(Lateral, BenignMetadata) {
  Work("/agent", {.unit = "amazon-ssm-agent.service"});
  Connect(Process("/usr/bin/amazon-ssm-agent", "/agent", nullptr, 0), To("169.254.169.254", 80));
  Connect(Process("/usr/bin/python3"), To("169.254.169.254", 53, 17), 0, event::Kind::kNetSend);  // DNS of a cloud
  send = [](auto&, auto, auto&) { return Declared::kAllowed; };
  Connect(Process("/usr/bin/aws"), To("169.254.169.254", 80));
  EXPECT_THAT(raised, IsEmpty());
  send = [](auto&, auto, auto&) { return Declared::kDenied; };
  Connect(Process("/usr/bin/amazon-ssm-agent", "/agent", nullptr, 0), To("169.254.169.254", 80));
  EXPECT_THAT(raised, SizeIs(1));
}

TEST_F(Lateral, AMillionProcessesAndStillAwake) {
  const auto one = Process("/usr/bin/python3");
  for (uint32_t i = 0; i < 1'000'000; ++i) {
    event::Process other = *one;
    other.key = {i + 1000, i};
    other.cgroup_id = i + 1;
    Connect(std::make_shared<const event::Process>(other), To("10.7.0.1", 22));
  }
  EXPECT_THAT(raised, IsEmpty());
  for (int i = 0; i < 50; ++i) {
    Connect(one, To(Peer(i), 22));
  }
  EXPECT_THAT(raised, SizeIs(1));
}

}  // namespace
}  // namespace moat::detect
