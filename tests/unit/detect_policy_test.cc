// SPDX-License-Identifier: Apache-2.0
// Verdicts and losses as findings.
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

class PolicyDetector : public testing::Test, public DetectKit {
 protected:
  PolicyDetector() { detector = MakePolicy(); }
  void TearDown() override {
    for (const Draft& draft : raised) {
      EXPECT_EQ(Unfit(draft), "");
    }
  }
};

using event::FindingKind;
using event::VerdictAction;
using event::VerdictOperation;

class PolicyVerdicts : public PolicyDetector {
 protected:
  static event::Verdict Of(VerdictAction action, VerdictOperation operation) {
    event::Verdict verdict{
        .action = action, .operation = operation, .category = event::kNoCategory, .rule = 7, .ep = {}, .name = {}};
    const bool net = operation <= VerdictOperation::kSocket;
    verdict.has_ep = net;
    verdict.ep = net ? To("203.0.113.9") : event::Endpoints{};
    if (operation >= VerdictOperation::kRead && operation <= VerdictOperation::kTruncate) {
      verdict.asset = kWeights;
      verdict.inode = 100;
      verdict.dev = 8;
    } else if (!net && operation != VerdictOperation::kGuard) {
      verdict.rdev = 195U << 20;
    }
    return verdict;
  }
  void Decide(const Who& who, const event::Verdict& verdict, uint64_t labels = 0) {
    Happens(event::Kind::kVerdict, who, verdict, labels);
  }
};

TEST_F(PolicyVerdicts, AttackThatWasRefused) {
  const auto thief = Process("/usr/bin/python3");
  Decide(thief, Of(VerdictAction::kDeny, VerdictOperation::kConnect), 1);
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].kind, FindingKind::kPolicyDenial);
  EXPECT_EQ(raised[0].severity, Severity::kHigh);  // it holds weights
  EXPECT_THAT(raised[0].peers, ElementsAre("203.0.113.9:443"));
  EXPECT_THAT(raised[0].assets, ElementsAre("llama-70b"));
  EXPECT_THAT(raised[0].explanation, HasSubstr("Policy closed, egress.default: deny (closed.yaml:3:5) refused it."));
  Decide(thief, Of(VerdictAction::kDeny, VerdictOperation::kConnect));
  EXPECT_EQ(raised[1].severity, Severity::kMedium);
}

TEST_F(PolicyVerdicts, EachOperationHasItsWords) {
  const auto who = Process("/usr/bin/python3");
  size_t operations = 0;
  for (uint8_t i = 1; i < 64; ++i) {
    const auto operation = static_cast<VerdictOperation>(i);
    if (event::VerdictOperationName(operation) != nullptr) {
      ++operations;
      Decide(who, Of(VerdictAction::kDeny, operation));
      Decide(who, Of(VerdictAction::kWouldDeny, operation));
    }
  }
  EXPECT_THAT(raised, SizeIs(2 * operations));
}

TEST_F(PolicyVerdicts, DryRunIsLow) {
  Decide(Process("/usr/bin/python3"), Of(VerdictAction::kWouldDeny, VerdictOperation::kRead));
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].kind, FindingKind::kPolicyWouldDeny);
  EXPECT_EQ(raised[0].severity, Severity::kLow);
}

TEST_F(PolicyVerdicts, AttackUsesUpItsBudget) {
  event::Verdict verdict = Of(VerdictAction::kDeny, VerdictOperation::kPacket);
  verdict.why = event::VerdictWhy::kBudget;
  Decide(Process("/usr/bin/python3"), verdict, 1);
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].kind, FindingKind::kBudgetExhausted);
  EXPECT_EQ(raised[0].severity, Severity::kHigh);
}

TEST_F(PolicyVerdicts, AttackOnMoat) {
  Decide(Process("/usr/sbin/bpftool"), Of(VerdictAction::kDeny, VerdictOperation::kGuard));
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].kind, FindingKind::kAgentTampering);
  EXPECT_EQ(raised[0].severity, Severity::kCritical);
}

TEST_F(PolicyVerdicts, BenignWhatIsAllowed) {
  Decide(Process("/usr/bin/python3"), Of(VerdictAction::kAllow, VerdictOperation::kConnect));
  Decide(Process("/usr/bin/python3"), Of(VerdictAction::kAllow, VerdictOperation::kRead));
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(PolicyVerdicts, TheSameCauseFromPortToPort) {
  const auto who = Process("/usr/bin/python3"), again = Process("/usr/bin/python3");
  event::Verdict verdict = Of(VerdictAction::kDeny, VerdictOperation::kConnect);
  Decide(who, verdict);
  verdict.ep.remote.port = 80;
  verdict.ep.local.port = 50000;
  now += kS;
  Decide(again, verdict);
  ASSERT_THAT(raised, SizeIs(2));
  EXPECT_EQ(raised[0].cause, raised[1].cause);
  verdict.ep = To("203.0.113.10");
  Decide(who, verdict);
  EXPECT_NE(raised[0].cause, raised[2].cause);
}

TEST_F(PolicyVerdicts, AFloodIsCountedExactly) {
  const auto who = Process("/usr/bin/python3");
  for (int i = 0; i < 100'000; ++i) {
    event::Verdict verdict = Of(VerdictAction::kDeny, VerdictOperation::kConnect);
    verdict.ep.remote.port = static_cast<uint16_t>(i);
    verdict.ep.remote.bytes[3] = static_cast<uint8_t>(i % 3);
    Decide(who, verdict);
    now += 10'000;  // 100,000 a second
  }
  now += kS;
  detector->OnTime(*this, *this);
  uint64_t times = 0;
  for (const Draft& draft : raised) {
    times += draft.times;
  }
  EXPECT_EQ(times, 100'000u);
  EXPECT_LE(raised.size(), 9u);
}

TEST_F(PolicyVerdicts, AMillionDifferentOnesAreAllTold) {
  event::Verdict verdict = Of(VerdictAction::kDeny, VerdictOperation::kConnect);
  const auto who = Process("/usr/bin/python3");
  uint64_t times = 0;
  for (uint32_t i = 0; i < 1'000'000; ++i) {
    verdict.ep.remote.bytes[1] = static_cast<uint8_t>(i >> 16);
    verdict.ep.remote.bytes[2] = static_cast<uint8_t>(i >> 8);
    verdict.ep.remote.bytes[3] = static_cast<uint8_t>(i);
    Decide(who, verdict);
    for (const Draft& draft : std::exchange(raised, {})) {
      times += draft.times;
    }
  }
  EXPECT_EQ(times, 1'000'000u);
}

TEST_F(PolicyVerdicts, ARuleThatNobodyKnowsAnyMore) {
  event::Verdict verdict = Of(VerdictAction::kDeny, VerdictOperation::kConnect);
  verdict.rule = 99;
  Decide(nullptr, verdict);
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_THAT(raised[0].explanation, HasSubstr("rule 99"));
}

TEST_F(PolicyVerdicts, Losses) {
  detector = MakeLosses();
  Happens(event::Kind::kGap, nullptr, event::Gap{.lost_kind = event::Kind::kFileIo, .reason = 0, .count = 5});
  Happens(event::Kind::kGap, nullptr, event::Gap{.lost_kind = event::Kind::kVerdict, .reason = 3, .count = 1});
  Happens(event::Kind::kGap, nullptr, event::Gap{.lost_kind = event::Kind::kNone, .reason = 77, .count = 1});
  Happens(event::Kind::kGap, nullptr, event::Gap{.lost_kind = event::Kind::kExec, .reason = 0, .count = 0});  // nothing
  ASSERT_THAT(raised, SizeIs(3));
  EXPECT_EQ(raised[0].kind, FindingKind::kEventsLost);
  EXPECT_EQ(raised[0].severity, Severity::kMedium);
  EXPECT_THAT(raised[0].title, HasSubstr("5 events of kind file_io lost"));
  EXPECT_EQ(raised[1].severity, Severity::kHigh);
  EXPECT_EQ(raised[0].times, 5u) << "each lost event counts";
}

TEST_F(PolicyVerdicts, WhatWasNotToldYetIsToldAtTheEnd) {
  const auto who = Process("/usr/bin/python3");
  for (int i = 0; i < 10; ++i) {
    Decide(who, Of(VerdictAction::kDeny, VerdictOperation::kConnect));
  }
  ASSERT_THAT(raised, SizeIs(1)) << "the others are held back for a second";
  detector->OnEnd(*this, *this);
  ASSERT_THAT(raised, SizeIs(2));
  EXPECT_EQ(raised[1].times, 9u);
}

TEST_F(PolicyVerdicts, AllDetectorsTakeWhatTheyAskFor) {
  std::vector<std::string> names;
  for (const auto& one : MakeAll({})) {
    EXPECT_NE(one->kinds(), 0u) << one->name();
    names.emplace_back(one->name());
  }
  EXPECT_THAT(names, testing::IsSupersetOf({"canary", "collection", "exfiltration", "tamper", "unsafe_load", "fileless", "gpu",
                                            "lateral", "policy", "losses"}));
}

}  // namespace
}  // namespace moat::detect
