// SPDX-License-Identifier: Apache-2.0
// Findings on their way to who asks: as messages, in streams, in the list of those that are remembered.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>

#include <filesystem>

#include "agent/api/encode.h"
#include "agent/api/filter.h"
#include "agent/api/finding_table.h"
#include "agent/api/server.h"
#include "agent/cli/finding_text.h"
#include "moat/v1/services.grpc.pb.h"
#include "tests/unit/api_events.h"
#include "tests/unit/sanitizer.h"

namespace moat::api {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

event::Finding MakeFinding(std::string id = "0123456789abcdef0123456789abcdef") {
  auto workload = std::make_shared<event::Workload>();
  workload->pod_namespace = "prod";
  workload->pod_name = "vllm-0";
  workload->cgroup = "/kubepods/x";
  return {.id = std::move(id),
          .revision = 3,
          .kind = event::FindingKind::kCanaryTouched,
          .severity = event::Severity::kHigh,
          .confidence = 95,
          .first_unix_ns = 1,
          .last_unix_ns = 2'000'000'000,
          .count = 7,
          .title = "title",
          .explanation = "explanation",
          .action = "action",
          .workload = workload,
          .lineage = {{{42, 7}, 1000, "/usr/bin/cat", {"cat", "a\nb", "\xff\x1b[31m"}}, {{1, 1}, 0, "", {}}},
          .assets = {"llama"},
          .devices = {"/dev/nvidia0"},
          .peers = {"203.0.113.9:443"},
          .evidence = {"opened x"},
          .omitted = 4,
          .techniques = {{"AML.T0007", "Discover AI Artifacts"}}};
}

event::Event AsEvent(event::Finding finding) {
  event::Event event = test::MakeEvent(event::Kind::kFinding, event::FindingPtr(), test::MakeProcess(42));
  event.body = std::make_shared<const event::Finding>(std::move(finding));
  return event;
}

TEST(ApiFindings, AsAnEventOfTheStream) {
  Encoder encoder;
  encoder.BeginMessage();
  ASSERT_TRUE(encoder.Add(AsEvent(MakeFinding()), nullptr));
  v1::WatchResponse response;
  ASSERT_TRUE(response.ParseFromString(std::string(encoder.EndMessage(0, "", false))));
  ASSERT_EQ(response.events_size(), 1);
  EXPECT_EQ(response.events(0).kind(), v1::KIND_FINDING);
  const v1::Finding& finding = response.events(0).finding();
  EXPECT_EQ(finding.id(), MakeFinding().id);
  EXPECT_EQ(finding.revision(), 3u);
  EXPECT_EQ(finding.kind(), "canary-touched");
  EXPECT_EQ(finding.severity(), v1::SEVERITY_HIGH);
  EXPECT_EQ(finding.confidence(), 95u);
  EXPECT_EQ(finding.count(), 7u);
  EXPECT_EQ(finding.workload().pod_name(), "vllm-0");
  ASSERT_EQ(finding.lineage_size(), 2);
  EXPECT_EQ(finding.lineage(0).args(1), "a\nb") << "control characters are still in it";
  EXPECT_EQ(finding.lineage(0).args(2), "\uFFFD\x1b[31m") << "and bad bytes are not";
  EXPECT_THAT(finding.assets(), ElementsAre("llama"));
  EXPECT_THAT(finding.peers(), ElementsAre("203.0.113.9:443"));
  EXPECT_EQ(finding.omitted(), 4u);
  EXPECT_EQ(finding.techniques(0).id(), "AML.T0007");
}

TEST(ApiFindings, AreChosenBySeverityAndKind) {
  const auto matches = [](FilterSpec spec, event::Severity severity) {
    auto filter = Filter::Make(spec, {});
    EXPECT_TRUE(filter) << filter.error().message;
    event::Finding finding = MakeFinding();
    finding.severity = severity;
    return filter->Matches(AsEvent(finding));
  };
  EXPECT_TRUE(matches({}, event::Severity::kInfo));
  EXPECT_TRUE(matches({.kinds = {"finding"}}, event::Severity::kInfo));
  EXPECT_FALSE(matches({.kinds = {"gpu"}}, event::Severity::kInfo)) << "no domain has it";
  EXPECT_TRUE(matches({.min_severity = 4}, event::Severity::kHigh));
  EXPECT_FALSE(matches({.min_severity = 4}, event::Severity::kMedium));
  EXPECT_TRUE(matches({.finding_kinds = {"weight-tamper", "canary-touched"}}, event::Severity::kLow));
  EXPECT_FALSE(matches({.finding_kinds = {"weight-tamper"}}, event::Severity::kLow));
  const auto bad = Filter::Make({.finding_kinds = {"canary-touchd"}}, {});
  ASSERT_FALSE(bad);
  EXPECT_THAT(bad.error().message, HasSubstr("did you mean 'canary-touched'"));
  auto other = Filter::Make({.min_severity = 5}, {});
  EXPECT_TRUE(other->Matches(test::MakeEvent(event::Kind::kExit, event::Exit{}, test::MakeProcess(1))))
      << "asked of findings alone";
}

event::BatchPtr Batch(std::vector<event::Event> events) {
  auto batch = std::make_shared<event::Batch>();
  batch->events = std::move(events);
  return batch;
}

TEST(ApiFindings, AreRememberedAsToldLast) {
  const auto table = FindingTable::Create(2);
  event::Finding first = MakeFinding("a"), again = MakeFinding("a");
  again.count = 9;
  table->OnBatch(Batch({AsEvent(first), AsEvent(MakeFinding("b")), AsEvent(again)}));
  FindingRows rows = table->Get();
  ASSERT_EQ(rows.rows.size(), 2u);
  EXPECT_EQ(rows.rows[0]->id, "a");
  EXPECT_EQ(rows.rows[0]->count, 9u);
  table->OnBatch(Batch({AsEvent(MakeFinding("c"))}));
  rows = table->Get();
  ASSERT_EQ(rows.rows.size(), 2u);
  EXPECT_EQ(rows.rows[0]->id, "c");
  EXPECT_EQ(rows.rows[1]->id, "a") << "the one told longest ago is forgotten";
  EXPECT_EQ(rows.forgotten, 1u);
  const auto totals = table->Totals();
  ASSERT_EQ(totals.size(), 1u);
  EXPECT_EQ(totals[0].seen, 7u + 7 + 2 + 7) << "an update adds what is new";
}

TEST(ApiFindings, ListAnswersWhatIsAsked) {
  MOAT_SKIP_WITH_GRPC_UNDER_TSAN();
  const std::string directory = testing::TempDir() + "api_findings." + std::to_string(getpid());
  std::filesystem::create_directories(directory);
  config::Config config;
  config.socket = directory + "/moat.sock";
  const auto hub = Hub::Create({});
  const auto table = FindingTable::Create(100);
  event::Finding low = MakeFinding("low");
  low.severity = event::Severity::kLow;
  low.kind = event::FindingKind::kUnsafeLoad;
  table->OnBatch(Batch({AsEvent(low), AsEvent(MakeFinding("high"))}));
  const auto serve = [&](const FindingTable* of) {
    return Server::Start(config, *hub, [] { return StatusSnapshot(); }, nullptr, {}, of);
  };
  const auto list = [&](const v1::ListFindingsRequest& request, v1::ListFindingsResponse* response) {
    const auto stub = v1::Findings::NewStub(grpc::CreateChannel("unix:" + config.socket, grpc::InsecureChannelCredentials()));
    grpc::ClientContext context;
    return stub->List(&context, request, response);
  };
  auto server = serve(table.get());
  ASSERT_TRUE(server) << server.error().message;
  v1::ListFindingsRequest request;
  v1::ListFindingsResponse response;
  ASSERT_TRUE(list(request, &response).ok());
  ASSERT_EQ(response.findings_size(), 2);
  EXPECT_EQ(response.findings(0).id(), "high");
  EXPECT_EQ(response.remembered(), 2u);
  request.set_min_severity(v1::SEVERITY_MEDIUM);
  ASSERT_TRUE(list(request, &response).ok());
  EXPECT_EQ(response.findings_size(), 1);
  request.set_min_severity(v1::SEVERITY_UNSPECIFIED);
  request.set_limit(1);
  ASSERT_TRUE(list(request, &response).ok());
  EXPECT_EQ(response.findings_size(), 1);
  EXPECT_EQ(response.remembered(), 2u);
  request.set_id("hi");
  ASSERT_TRUE(list(request, &response).ok());
  ASSERT_EQ(response.findings_size(), 1);
  EXPECT_EQ(response.findings(0).id(), "high");
  request.clear_id();
  request.add_kinds("unsafe-load");
  ASSERT_TRUE(list(request, &response).ok());
  EXPECT_EQ(response.findings(0).id(), "low");
  request.add_kinds("no-such");
  const grpc::Status bad = list(request, &response);
  EXPECT_EQ(bad.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(bad.error_message(), HasSubstr("no-such"));
  server = {};
  server = serve(nullptr);
  ASSERT_TRUE(server) << server.error().message;
  EXPECT_THAT(list({}, &response).error_message(), HasSubstr("detect.enabled"));
  server = {};
  std::filesystem::remove_all(directory);
}

TEST(CliFindings, APageHasAllOfItAndNoControlCharacters) {
  Encoder encoder;
  encoder.BeginMessage();
  ASSERT_TRUE(encoder.Add(AsEvent(MakeFinding()), nullptr));
  v1::WatchResponse response;
  ASSERT_TRUE(response.ParseFromString(std::string(encoder.EndMessage(0, "", false))));
  const v1::Finding& finding = response.events(0).finding();
  const std::string page = cli::FindingPage(finding, false);
  EXPECT_THAT(page,
              AllOf(HasSubstr("high  title"), HasSubstr("pod prod/vllm-0"), HasSubstr("/usr/bin/cat[42] uid 1000: cat a\\nb"),
                    HasSubstr("7 times"), HasSubstr("AML.T0007 Discover AI Artifacts"), HasSubstr("and 4 more"),
                    HasSubstr("203.0.113.9:443"), Not(HasSubstr("\x1b"))));
  EXPECT_EQ(cli::FindingLine(finding), "high canary-touched, 7 times: title");
  v1::Severity severity = v1::SEVERITY_UNSPECIFIED;
  EXPECT_TRUE(cli::SeverityFromWord("critical", &severity));
  EXPECT_EQ(severity, v1::SEVERITY_CRITICAL);
  EXPECT_FALSE(cli::SeverityFromWord("unspecified", &severity));
  std::string text;
  cli::Json json(text);
  json.Open('{');
  cli::JsonFinding(json, finding);
  json.Close('}');
  EXPECT_THAT(text,
              AllOf(HasSubstr("\"finding_kind\":\"canary-touched\""), HasSubstr("\"pod_name\":\"vllm-0\""), HasSubstr("a\\nb")));
}

}  // namespace
}  // namespace moat::api
