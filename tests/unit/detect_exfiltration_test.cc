// SPDX-License-Identifier: Apache-2.0
// What of an asset was read against what left.
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

constexpr uint64_t kPercent = kWeightBytes / 100;  // the default limit

class Exfiltration : public testing::Test, public DetectKit {
 protected:
  Exfiltration() { detector = MakeExfiltration({}); }
  void TearDown() override {
    for (const Draft& draft : raised) {
      EXPECT_EQ(Unfit(draft), "");
    }
  }
  const event::Endpoints outside_ = To("203.0.113.9");
};

TEST_F(Exfiltration, AttackReaderSends) {
  const auto thief = Process("/usr/bin/python3");
  Io(thief, kWeightBytes);
  Send(thief, outside_, 2 * kPercent);
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].kind, event::FindingKind::kWeightExfiltration);
  EXPECT_EQ(raised[0].severity, Severity::kHigh);
  EXPECT_EQ(raised[0].process, thief->key);
  EXPECT_THAT(raised[0].assets, ElementsAre("llama-70b"));
  EXPECT_THAT(raised[0].peers, ElementsAre("203.0.113.9:443"));
  EXPECT_THAT(raised[0].title, HasSubstr("204.8 MiB (2 % of its size)"));
}

TEST_F(Exfiltration, AttackOfAllIsCritical) {
  const auto thief = Process("/usr/bin/python3");
  Map(thief, kWeightBytes);
  Send(thief, outside_, kWeightBytes);
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].severity, Severity::kCritical);
}

TEST_F(Exfiltration, AttackByAChildInAnotherCgroup) {
  const auto reader = Process("/usr/bin/python3", "/a");
  Io(reader, kWeightBytes);
  const auto child = Process("/usr/bin/curl", "/b", reader);
  Send(child, outside_, 2 * kPercent);
  EXPECT_THAT(raised, SizeIs(1));
}

TEST_F(Exfiltration, AttackInSmallPiecesToManyPeers) {
  const auto thief = Process("/usr/bin/python3");
  Io(thief, kWeightBytes);
  for (int i = 0; i < 99; ++i) {
    Send(thief, To("203.0.113." + std::to_string(i + 1)), kPercent / 100);
    now += kS;
  }
  EXPECT_THAT(raised, IsEmpty());
  Send(thief, outside_, kPercent / 100 + 100);
  EXPECT_THAT(raised, SizeIs(1));
}

TEST_F(Exfiltration, AttackACopyIsSentByAnother) {
  const auto cp = Process("/usr/bin/cp", "/session");
  Io(cp, kWeightBytes, kWeights, /*last=*/true);
  now += kMinute;
  const auto curl = Process("/usr/bin/curl", "/session");
  Send(curl, outside_, kWeightBytes / 4, /*labels=*/0);
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].severity, Severity::kMedium);
  EXPECT_THAT(raised[0].title, HasSubstr("copy"));
}

TEST_F(Exfiltration, AttackThroughAnAcceptedConnection) {
  const auto server = Process("/usr/bin/python3");
  Io(server, kWeightBytes);
  Send(server, outside_, 21 * kPercent, 1, /*passive=*/true);
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].severity, Severity::kMedium);
}

TEST_F(Exfiltration, JustBelowAndJustAbove) {
  const auto thief = Process("/usr/bin/python3");
  Io(thief, kWeightBytes);
  Send(thief, outside_, kPercent - 1);
  EXPECT_THAT(raised, IsEmpty());
  Send(thief, outside_, 1);
  EXPECT_THAT(raised, SizeIs(1));
}

TEST_F(Exfiltration, OfASmallAssetTheLeastAmountCounts) {
  const auto thief = Process("/usr/bin/python3");
  Io(thief, kAdapterBytes, kAdapter);
  Send(thief, outside_, 32 * kMiB - 1, 1 << kAdapter);
  EXPECT_THAT(raised, IsEmpty());
  Send(thief, outside_, 1, 1 << kAdapter);
  EXPECT_THAT(raised, SizeIs(1));
}

TEST_F(Exfiltration, BenignServerAnswers) {
  const auto server = Process("/usr/bin/python3");
  Io(server, kWeightBytes);
  for (int hour = 0; hour < 48; ++hour) {  // in all much more than the asset
    Send(server, To("198.51.100.7"), 15 * kPercent, 1, /*passive=*/true);
    now += 2 * 60 * kMinute;
  }
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(Exfiltration, BenignAllowedPeer) {
  const auto trainer = Process("/usr/bin/python3");
  send = [&](auto&, uint64_t labels, const event::Endpoints& ep) {
    return labels == 1 && ep.remote.port == 443 ? Declared::kAllowed : Declared::kNothing;
  };
  Io(trainer, kWeightBytes);
  Send(trainer, outside_, kWeightBytes);
  EXPECT_THAT(raised, IsEmpty());
  Send(trainer, To("203.0.113.9", 22), kWeightBytes);  // and one that is not
  EXPECT_THAT(raised, SizeIs(1));
}

TEST_F(Exfiltration, BenignToItself) {
  const auto server = Process("/usr/bin/python3");
  Io(server, kWeightBytes);
  Send(server, To("127.0.0.1"), kWeightBytes);
  Send(server, To("::1"), kWeightBytes);
  Send(server, To("10.99.0.1"), kWeightBytes);  // its own address
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(Exfiltration, BenignSideCarAndWhatWasOpenBefore) {
  const auto shipper = Process("/usr/bin/fluent-bit", "/pod");
  const auto server = Process("/usr/bin/python3", "/pod");
  Io(server, kWeightBytes);  // goes on running: no copy is left behind
  Send(shipper, outside_, kWeightBytes, /*labels=*/0);
  const auto sum = Process("/usr/bin/sha256sum", "/pod");
  Io(sum, kWeightBytes, kWeights, /*last=*/true);
  Send(shipper, outside_, kWeightBytes, /*labels=*/0);
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(Exfiltration, BenignSocketFromBeforeTheCopy) {
  const auto backup = Process("/usr/bin/restic", "/host");
  event::NetTotals totals{.cookie = 7, .ep = outside_, .bytes_out = kWeightBytes, .opened_ns = now};
  now += kMinute;
  Io(Process("/usr/bin/cp", "/host"), kWeightBytes, kWeights, /*last=*/true);
  now += kMinute;
  Happens(event::Kind::kNetClose, backup, totals);
  EXPECT_THAT(raised, IsEmpty());
  totals.cookie = 8;
  totals.opened_ns = now;
  Happens(event::Kind::kNetClose, backup, totals);
  EXPECT_THAT(raised, SizeIs(1));
}

TEST_F(Exfiltration, BenignReaderOfAnIndexOnly) {
  const auto tool = Process("/usr/bin/python3");
  Io(tool, kMiB);  // config.json and tokenizer, and then its own work
  Send(tool, outside_, kWeightBytes);
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(Exfiltration, LittleADay) {
  const auto server = Process("/usr/bin/python3");
  Io(server, kWeightBytes);
  for (int day = 0; day < 30; ++day) {
    Send(server, outside_, kPercent / 3);
    now += uint64_t{86'400} * kS;
  }
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(Exfiltration, WhoseItIsComesLater) {
  bool told = false;
  send = [&](auto&, auto, auto&) { return told ? Declared::kAllowed : Declared::kUnknown; };
  const auto server = Process("/usr/bin/python3");
  Io(server, kWeightBytes);
  event::NetTotals totals{.cookie = 9, .ep = outside_, .bytes_out = kWeightBytes};
  Happens(event::Kind::kNetFlow, server, totals, 1);
  told = true;
  Happens(event::Kind::kNetClose, server, totals, 1);
  EXPECT_THAT(raised, IsEmpty());
  told = false;
  totals.cookie = 10;
  Happens(event::Kind::kNetClose, server, totals, 1);  // never told: it counts in the end
  EXPECT_THAT(raised, SizeIs(1));
}

TEST_F(Exfiltration, AMillionProcessesAndStillAwake) {
  const auto one = Process("/usr/bin/python3");
  for (uint32_t i = 0; i < 1'000'000; ++i) {
    event::Process other = *one;
    other.key = {i + 1000, i};
    other.cgroup_id = i;
    const auto who = std::make_shared<const event::Process>(other);
    Io(who, kMiB);
    Send(who, outside_, kMiB);
  }
  EXPECT_THAT(raised, IsEmpty());
  Io(one, kWeightBytes);
  Send(one, outside_, 2 * kPercent);
  EXPECT_THAT(raised, SizeIs(1));
}

}  // namespace
}  // namespace moat::detect
