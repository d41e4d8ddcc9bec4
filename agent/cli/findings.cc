// SPDX-License-Identifier: Apache-2.0
// moatctl findings: what the agent has concluded; with an id all about one; with -f as it comes.
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "agent/cli/client.h"
#include "agent/cli/finding_text.h"
#include "agent/cli/options.h"
#include "agent/cli/text.h"
#include "moat/v1/services.grpc.pb.h"

namespace moat::cli {
namespace {

constexpr size_t kShortId = 8;

void Print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

void PrintJson(const v1::Finding& finding) {
  std::string text;
  Json json(text);
  json.Open('{');
  JsonFinding(json, finding);
  json.Close('}');
  Print(text + "\n");
}

int ShowOne(const Options& options, const v1::ListFindingsResponse& response) {
  const std::string id = Safe(options.findings.id);
  if (response.findings_size() > 1) {
    std::fprintf(stderr, "moatctl: more than one finding begins with %s: write more of its id\n", id.c_str());
    return kExitUsage;
  }
  if (response.findings_size() == 0) {
    std::fprintf(stderr, "moatctl: no finding %s is remembered: \"moatctl findings\" lists those that are\n", id.c_str());
    return kExitFailed;
  }
  if (options.json) {
    PrintJson(response.findings(0));
  } else {
    Print(FindingPage(response.findings(0), options.color));
  }
  return kExitOk;
}

}  // namespace

int RunFindings(const Options& options) {
  v1::Severity severity = v1::SEVERITY_UNSPECIFIED;
  if (!options.findings.min_severity.empty() && !SeverityFromWord(options.findings.min_severity, &severity)) {
    std::fprintf(stderr, "moatctl: --min-severity must be info, low, medium, high or critical\n");
    return kExitUsage;
  }
  if (options.findings.follow) {
    Options watch = options;
    watch.kinds = {"finding"};
    watch.since = watch.since.empty() ? "oldest" : watch.since;
    return RunWatch(watch);
  }
  v1::ListFindingsRequest request;
  request.set_min_severity(severity);
  request.set_limit(options.findings.limit);
  request.set_id(options.findings.id);
  request.mutable_kinds()->Assign(options.findings.kinds.begin(), options.findings.kinds.end());
  const auto stub = v1::Findings::NewStub(Connect(options));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  v1::ListFindingsResponse response;
  if (const grpc::Status status = stub->List(&context, request, &response); !status.ok()) {
    return Complain(options, status);
  }
  if (!options.findings.id.empty()) {
    return ShowOne(options, response);
  }
  if (options.json) {
    for (const v1::Finding& finding : response.findings()) {
      PrintJson(finding);
    }
  } else {
    std::vector<std::vector<std::string>> rows;
    for (const v1::Finding& finding : response.findings()) {
      rows.push_back({Safe(finding.id().substr(0, kShortId)), ClockTime(finding.last_unix_ns()).substr(0, 8),
                      SeverityWord(finding.severity()), Number(finding.count()), Safe(finding.kind()),
                      Paint(options.color, SeverityColor(finding.severity()), Safe(finding.title()))});
    }
    Print(rows.empty() ? "nothing was found\n"
                       : Table({"ID", "LAST SEEN", "SEVERITY", "COUNT", "KIND", "WHAT"}, rows, options.color));
  }
  if (const auto shown = static_cast<uint64_t>(response.findings_size()); shown < response.remembered()) {
    std::fprintf(stderr, "%s of %s that are remembered\n", Number(shown).c_str(), Number(response.remembered()).c_str());
  }
  if (response.forgotten() > 0) {
    std::fprintf(stderr, "%s older ones were forgotten for want of room\n", Number(response.forgotten()).c_str());
  }
  return kExitOk;
}

}  // namespace moat::cli
