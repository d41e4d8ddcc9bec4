// SPDX-License-Identifier: Apache-2.0
// Weights changed by those who are not their writers.
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

class TamperTest : public testing::Test, public DetectKit {
 protected:
  TamperTest() { detector = MakeTamper(); }
  void TearDown() override {
    for (const Draft& draft : raised) {
      EXPECT_EQ(Unfit(draft), "");
    }
  }
};

using event::TamperOp;

TEST_F(TamperTest, AttackWriterThatPoliciesDeny) {
  write = [](auto&, auto) { return Declared::kDenied; };
  const auto thief = Process("/usr/bin/python3");
  Tamper(thief, TamperOp::kWrite);
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].kind, event::FindingKind::kWeightTamper);
  EXPECT_EQ(raised[0].severity, Severity::kHigh);
  EXPECT_THAT(raised[0].title, HasSubstr("wrote to a file of llama-70b: /models/llama/model.bin"));
}

TEST_F(TamperTest, AttackOfEachSort) {
  const auto thief = Process("/usr/bin/python3");
  for (const TamperOp op : {TamperOp::kWrite, TamperOp::kTruncate, TamperOp::kRename, TamperOp::kUnlink, TamperOp::kMapWrite,
                            TamperOp::kReplace, TamperOp::kLink}) {
    raised.clear();
    Tamper(thief, op);
    ASSERT_THAT(raised, SizeIs(1)) << event::TamperOpName(op);
    EXPECT_EQ(raised[0].severity, op == TamperOp::kLink ? Severity::kLow : Severity::kMedium);
  }
}

TEST_F(TamperTest, AttackReplacesByAFileOfItsOwn) {
  const auto thief = Process("/usr/bin/python3");
  Open(thief, kWeights, O_CREAT | O_WRONLY, 0, 200);
  Tamper(thief, TamperOp::kWrite, kWeights, 200);
  EXPECT_THAT(raised, IsEmpty());
  Tamper(thief, TamperOp::kReplace, kWeights, 100);
  EXPECT_THAT(raised, SizeIs(1));
}

TEST_F(TamperTest, BenignDeclaredWriter) {
  write = [](auto&, auto) { return Declared::kAllowed; };
  Tamper(Process("/usr/bin/python3"), TamperOp::kWrite);
  Tamper(Process("/usr/bin/rm"), TamperOp::kUnlink);
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(TamperTest, BenignDownload) {
  const auto hub = Process("/usr/bin/python3"), helper = Process("/usr/bin/mv");
  Open(hub, kWeights, O_CREAT | O_WRONLY | O_TRUNC, 0, 200);
  Tamper(hub, TamperOp::kWrite, kWeights, 200);
  Tamper(hub, TamperOp::kTruncate, kWeights, 200);
  Tamper(helper, TamperOp::kRename, kWeights, 200);  // of the same workload
  EXPECT_THAT(raised, IsEmpty());
  Tamper(Process("/usr/bin/python3", "/b"), TamperOp::kWrite, kWeights, 200);  // of another
  EXPECT_THAT(raised, SizeIs(1));
}

TEST_F(TamperTest, OpeningAFileThatIsThereIsNotMakingIt) {
  const auto thief = Process("/usr/bin/python3");
  Open(thief, kWeights, O_CREAT | O_WRONLY, kGiB, 100);
  Tamper(thief, TamperOp::kWrite);
  EXPECT_THAT(raised, SizeIs(1));
}

TEST_F(TamperTest, CanariesAreNotItsMatter) {
  Tamper(Process("/usr/bin/python3"), TamperOp::kWrite, kWeights, 100, event::kFlagCanary);
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(TamperTest, WhoseItIsComesLater) {
  Declared answer = Declared::kUnknown;
  write = [&](auto&, auto) { return answer; };
  Tamper(Process("/usr/bin/python3"), TamperOp::kWrite);
  now += kS;
  detector->OnTime(*this, *this);
  EXPECT_THAT(raised, IsEmpty());
  answer = Declared::kAllowed;
  now += kS;
  detector->OnTime(*this, *this);
  answer = Declared::kUnknown;
  Tamper(Process("/usr/bin/python3"), TamperOp::kWrite);
  now += 9 * kS;
  detector->OnTime(*this, *this);
  EXPECT_THAT(raised, IsEmpty());
  now += 2 * kS;  // nobody knows
  detector->OnTime(*this, *this);
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_LE(raised[0].confidence, 40);
}

TEST_F(TamperTest, AMillionWaitAndAMillionCreate) {
  write = [](auto&, auto) { return Declared::kUnknown; };
  const auto one = Process("/usr/bin/python3");
  for (uint32_t i = 0; i < 1'000'000; ++i) {
    Open(one, kWeights, O_CREAT | O_WRONLY, 0, i);
    Tamper(one, TamperOp::kWrite, kWeights, i);
    if (raised.size() > 100'000) {
      raised.clear();
    }
  }
  raised.clear();
  now += 11 * kS;
  detector->OnTime(*this, *this);
  EXPECT_THAT(raised, SizeIs(256));  // those for whom there was room; the others were told before
}

}  // namespace
}  // namespace moat::detect
