// SPDX-License-Identifier: Apache-2.0
#include "agent/sink/shrink.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/unit/sink_tools.h"

namespace moat::sink {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

const Origin kOrigin{.hostname = "node", .version = "1"};

std::shared_ptr<event::Finding> WithLabels(event::Finding finding, size_t bytes) {
  auto workload = std::make_shared<event::Workload>(*finding.workload);
  for (size_t i = 0; i * 64 < bytes; ++i) {
    workload->pod_labels["label-" + std::to_string(i)] = std::string(52, 'v');
    workload->container_labels["label-" + std::to_string(i)] = std::string(52, 'v');
  }
  finding.workload = std::move(workload);
  return std::make_shared<event::Finding>(std::move(finding));
}

TEST(SinkShrinkTest, WhatFitsStaysAsItIs) {
  const auto finding = test::MakeFinding();
  for (const auto& encoding : {MakeOcsf(kOrigin), MakeCef(kOrigin)}) {
    EXPECT_EQ(EncodeBounded(*encoding, *finding), encoding->Encode(*finding));
  }
}

TEST(SinkShrinkTest, LabelsAloneCostNoEvidence) {
  const auto finding = WithLabels(*test::MakeFinding(), 64u << 10);
  const std::string text = EncodeBounded(*MakeOcsf(kOrigin), *finding);
  EXPECT_LE(text.size(), kMaxText);
  const json parsed = json::parse(text);
  EXPECT_EQ(parsed["evidences"].size(), json::parse(MakeOcsf(kOrigin)->Encode(*test::MakeFinding()))["evidences"].size());
  const size_t labels = finding->workload->pod_labels.size() + finding->workload->container_labels.size();
  EXPECT_EQ(parsed["unmapped"]["moat"]["omitted"], finding->omitted + labels - 32);
}

TEST(SinkShrinkTest, ControlCharactersAndLabelsEndBelowTheBound) {
  event::Finding finding = *test::MakeFinding();
  finding.lineage.assign(event::kMaxLineage, {{42, 1000}, 0, "/bin/x", std::vector<std::string>(1, std::string(1024, '\x1b'))});
  const auto large = WithLabels(finding, 64u << 10);
  ASSERT_GT(MakeOcsf(kOrigin)->Encode(*large).size(), kMaxMessage);
  ASSERT_GT(MakeCef(kOrigin)->Encode(*large).size(), kMaxText);
  const std::string ocsf = EncodeBounded(*MakeOcsf(kOrigin), *large), cef = EncodeBounded(*MakeCef(kOrigin), *large);
  EXPECT_LE(ocsf.size(), kMaxText);
  EXPECT_LE(cef.size(), kMaxText);
  EXPECT_GT(json::parse(ocsf)["unmapped"]["moat"]["omitted"].get<uint64_t>(), finding.omitted);
  EXPECT_THAT(cef, HasSubstr("cn3Label=omitted cn3="));
}

// All that anyone may choose as large as it can be and of what becomes longest.
TEST(SinkShrinkTest, TheLargestFindingFits) {
  for (const std::string& unit : {std::string("\x1b"), std::string("\\\x1b"), std::string("\xff"), std::string("\xe2\x80\xae"),
                                  std::string("\""), std::string("=")}) {
    std::string text;
    while (text.size() < event::kMaxFindingText) {
      text += unit;
    }
    event::Finding finding = *test::MakeFinding(event::FindingKind::kCanaryTouched, text);
    finding.lineage.assign(event::kMaxLineage,
                           {{42, 1000}, 0, text, std::vector<std::string>(event::kMaxFindingArgs, text.substr(0, 256))});
    finding.evidence.assign(event::kMaxEvidence, text);
    finding.assets.assign(event::kMaxNamed, text);
    finding.devices.assign(event::kMaxNamed, text);
    finding.peers.assign(event::kMaxNamed, text);
    for (const auto& encoding : {MakeOcsf(kOrigin), MakeCef(kOrigin)}) {
      const std::string encoded = EncodeBounded(*encoding, finding);
      EXPECT_LE(encoded.size(), kMaxText) << encoding->name();
      EXPECT_THAT(encoded, HasSubstr(finding.id));
      if (encoding->name() == std::string_view("ocsf")) {
        EXPECT_FALSE(json::parse(encoded, nullptr, false).is_discarded());
      }
    }
  }
}

}  // namespace
}  // namespace moat::sink
