// SPDX-License-Identifier: Apache-2.0
// What Prometheus is told, to the letter, whatever names hold.
#include "agent/metrics/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "agent/base/utf8.h"
#include "agent/event/event.h"

namespace moat::metrics {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// Something of everything.
Input Full() {
  Input input{.version = "1.2.3", .kernel = "6.1.0"};
  input.started_unix_ns = 1'700'000'000'500'000'000;
  input.attach_ms = 250;
  input.cpu_ns = 1'500'000'000;
  input.rss_bytes = 4096;
  input.domains = {{.name = "file", .loaded = true, .error = {}, .hooks = {}},
                   {.name = "gpu", .loaded = false, .error = "no", .hooks = {}}};
  HookStatus hook;
  hook.event = "file.open";
  hook.backend = "lsm";
  hook.attached = true;
  hook.runs_missed = 7;
  input.domains[0].hooks = {hook};
  KindLedger& opens = input.ledger.kinds[static_cast<size_t>(event::Kind::kFileOpen)];
  opens = {.attempted = 12, .delivered = 9, .lost = {}, .unreadable = 1};
  opens.lost[static_cast<size_t>(LostReason::kRingFull)] = 2;
  opens.lost[static_cast<size_t>(LostReason::kQueueFull)] = 1;
  input.ledger.table_full[1] = 5;
  input.rings = {{"urgent", 1 << 20, 4096}};
  input.policy_generation = 3;
  input.policy_exposures = 2;
  input.policy_problems = 1;
  input.decisions = {{"serving", "enforce", 10, 4, 0}, {"training", "dry-run", 1, 0, 6}};
  input.findings = {{"weight-exfiltration", "critical", 2, 40}};
  input.expected_findings = 17;
  Sink sink{.name = "siem", .transport = "syslog", .delivered = 100, .dropped = 1, .dead_letters = 2, .resent = 3};
  sink.spool_messages = 3;
  sink.spool_bytes = 999;
  sink.lag_seconds = 1.5;
  sink.errors = {{"connect", 8}};
  input.sinks = {sink};
  input.api_calls = {{"moat.v1.Monitor/Watch", "OK", 6}};
  input.refused_connections = {{"no_certificate", 9}};
  input.connections = 5;
  input.rate_limited_calls = 12;
  input.denied_calls = 13;
  input.reloads_failed = 14;
  input.audit_lost = {{"queue_full", 15}};
  input.subscribers = 2;
  input.subscriber_losses = 11;
  return input;
}

// Lines that are no comments.
std::vector<std::string> Samples(const std::string& text) {
  std::vector<std::string> samples;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with('#')) {
      samples.push_back(line);
    }
  }
  return samples;
}

TEST(Metrics, EveryFieldIsTold) {
  const std::vector<std::string> want = {
      R"(moat_build_info{version="1.2.3",kernel="6.1.0"} 1)",
      R"(process_cpu_seconds_total 1.5)",
      R"(process_resident_memory_bytes 4096)",
      R"(process_start_time_seconds 1700000000.5)",
      R"(moat_attach_seconds 0.25)",
      R"(moat_domain_loaded{domain="file"} 1)",
      R"(moat_domain_loaded{domain="gpu"} 0)",
      R"(moat_hook_attached{domain="file",event="file.open",backend="lsm"} 1)",
      R"(moat_hook_runs_missed_total{domain="file",event="file.open"} 7)",
      R"(moat_ring_size_bytes{ring="urgent"} 1048576)",
      R"(moat_ring_used_bytes{ring="urgent"} 4096)",
      R"(moat_table_refused_rows_total{table="labels"} 5)",
      R"(moat_events_attempted_total{kind="file_open"} 12)",
      R"(moat_events_delivered_total{kind="file_open"} 9)",
      R"(moat_events_lost_total{kind="file_open",reason="ring_full"} 2)",
      R"(moat_events_lost_total{kind="file_open",reason="program_missed"} 0)",
      R"(moat_events_lost_total{kind="file_open",reason="malformed"} 0)",
      R"(moat_events_lost_total{kind="file_open",reason="queue_full"} 1)",
      R"(moat_events_unreadable_total{kind="file_open"} 1)",
      R"(moat_policy_generation 3)",
      R"(moat_policy_exposed_rules 2)",
      R"(moat_policy_problems 1)",
      R"(moat_policy_decisions_total{policy="serving",mode="enforce",decision="allowed"} 10)",
      R"(moat_policy_decisions_total{policy="serving",mode="enforce",decision="denied"} 4)",
      R"(moat_policy_decisions_total{policy="serving",mode="enforce",decision="would_deny"} 0)",
      R"(moat_policy_decisions_total{policy="training",mode="dry-run",decision="allowed"} 1)",
      R"(moat_policy_decisions_total{policy="training",mode="dry-run",decision="denied"} 0)",
      R"(moat_policy_decisions_total{policy="training",mode="dry-run",decision="would_deny"} 6)",
      R"(moat_findings_total{kind="weight-exfiltration",severity="critical"} 2)",
      R"(moat_finding_causes_total{kind="weight-exfiltration",severity="critical"} 40)",
      "moat_findings_expected_total 17",
      R"(moat_sink_delivered_total{sink="siem",transport="syslog"} 100)",
      R"(moat_sink_dropped_total{sink="siem",transport="syslog"} 1)",
      R"(moat_sink_dead_letters_total{sink="siem",transport="syslog"} 2)",
      R"(moat_sink_resent_total{sink="siem",transport="syslog"} 3)",
      R"(moat_sink_spool_messages{sink="siem",transport="syslog"} 3)",
      R"(moat_sink_spool_bytes{sink="siem",transport="syslog"} 999)",
      R"(moat_sink_lag_seconds{sink="siem",transport="syslog"} 1.5)",
      R"(moat_sink_errors_total{sink="siem",transport="syslog",reason="connect"} 8)",
      R"(moat_api_calls_total{method="moat.v1.Monitor/Watch",code="OK"} 6)",
      R"(moat_api_refused_connections_total{reason="no_certificate"} 9)",
      R"(moat_api_connections 5)",
      R"(moat_api_rate_limited_calls_total 12)",
      R"(moat_api_denied_calls_total 13)",
      R"(moat_api_reloads_failed_total 14)",
      R"(moat_api_audit_lost_total{reason="queue_full"} 15)",
      R"(moat_api_subscribers 2)",
      R"(moat_api_subscriber_losses_total 11)",
  };
  EXPECT_THAT(Samples(Render(Full())), ::testing::ElementsAreArray(want));
}

TEST(Metrics, NothingKnownIsNoFamilyWithoutRows) {
  const std::string text = Render({});
  EXPECT_THAT(text, Not(HasSubstr("moat_sink")));
  EXPECT_THAT(text, Not(HasSubstr("moat_events")));
  EXPECT_THAT(text, HasSubstr("process_cpu_seconds_total 0\n"));
}

// Names that others chose: the line stays one line, the text valid UTF-8.
TEST(Metrics, HostileNamesStayInTheirQuotes) {
  Input input;
  input.decisions = {{"a\"} 1\nevil_total{x=\"\\", "enforce", 1, 0, 0},
                     {"\xff\xfe\xc3", "enforce", 1, 0, 0},
                     {std::string("nul\0in", 6), "enforce", 1, 0, 0},
                     {std::string(5000, 'x') + "\xe2\x82\xac", "enforce", 1, 0, 0}};
  std::string cut(kMaxValueBytes - 4, 'y');
  input.decisions.push_back({cut + "\xe2\x82\xac\xe2\x82\xac", "enforce", 1, 0, 0});  // cut within a character
  const std::string text = Render(input);
  EXPECT_TRUE(IsUtf8(text));
  EXPECT_THAT(text, HasSubstr(R"(policy="a\"} 1\nevil_total{x=\"\\",mode)"));
  EXPECT_THAT(text, HasSubstr("policy=\"" + std::string(kMaxValueBytes - 3, 'x') + "...\""));
  EXPECT_THAT(text, HasSubstr("policy=\"" + cut + "...\""));
  for (const std::string& line : Samples(text)) {
    EXPECT_FALSE(line.starts_with("evil")) << line;
  }
}

TEST(Metrics, RowsAreBoundedAndSumsExact) {
  Input input;
  for (int i = 0; i < 3000; ++i) {
    input.api_calls.push_back({"made.up/" + std::to_string(i), "UNIMPLEMENTED", 2});
  }
  uint64_t rows = 0, sum = 0;
  for (const std::string& line : Samples(Render(input))) {
    if (line.starts_with("moat_api_calls_total{")) {
      ++rows;
      sum += std::stoull(line.substr(line.rfind(' ')));
    }
  }
  EXPECT_EQ(rows, kMaxRows + 1);
  EXPECT_EQ(sum, 6000u);
  EXPECT_THAT(Render(input), HasSubstr(R"x(moat_api_calls_total{method="(others)",code="(others)"} 2000)x"));
}

TEST(Metrics, PromtoolFindsNothing) {
  if (std::system("command -v promtool >/dev/null") != 0) {
    GTEST_SKIP() << "no promtool here (Debian package prometheus)";
  }
  std::string folder = (std::filesystem::temp_directory_path() / "moat-metrics-XXXXXX").string();
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  const std::string file = folder + "/metrics", said = folder + "/said";
  const auto promtool = [&](const std::string& text) {
    std::ofstream(file) << text;
    const int status = std::system(("promtool check metrics <" + file + " >" + said + " 2>&1").c_str());
    std::ifstream in(said);
    return std::to_string(status) + std::string(std::istreambuf_iterator<char>(in), {});
  };
  EXPECT_EQ(promtool(Render(Full())), "0");
  Input hostile = Full();
  hostile.decisions.push_back({"a\"} 1\nevil_total{x=\"\\\xff", "enforce", 1, 0, 0});
  EXPECT_EQ(promtool(Render(hostile)), "0");
  EXPECT_THAT(promtool("# TYPE x_milliseconds counter\nx_milliseconds 1\n"), HasSubstr("x_milliseconds"));  // it looks
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace moat::metrics
