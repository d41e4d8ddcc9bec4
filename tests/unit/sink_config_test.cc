// SPDX-License-Identifier: Apache-2.0
#include "agent/config/sinks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/config/config.h"
#include "agent/event/event.h"
#include "agent/event/finding.h"
#include "tests/unit/sink_tools.h"

namespace moat::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class SinkConfigTest : public ::testing::Test {
 protected:
  Loaded LoadText(const std::string& text) {
    test::WriteAll(dir_ / "moatd.yaml", text);
    return Load(dir_ / "moatd.yaml");
  }
  std::vector<std::string> ProblemsIn(const std::string& text) {
    std::vector<std::string> problems;
    for (const Problem& problem : LoadText(text).problems) {
      problems.push_back(ToString(problem).substr(dir_.path().size() + 1));
    }
    return problems;
  }
  test::TempDir dir_;
};

TEST_F(SinkConfigTest, ReadsEverySetting) {
  const Loaded loaded = LoadText(R"(sinks:
  - name: siem
    type: syslog
    encoding: cef
    min_severity: high
    kinds: [canary-touched, dns-tunnel]
    queue: 128
    spool: {path: /spool/siem, max: 1MiB}
    address: "[fd00::1]:7000"
    tls: {ca: /ca.pem, cert: /c.pem, key: /k.pem, server_name: siem.example}
    facility: local7
    timeout_ms: 500
  - {name: short, type: syslog, address: siem.example, tls: {ca: /ca.pem}}
  - name: collector
    type: otlp
    address: localhost
    headers: [{name: authorization, value: "Bearer x"}, {name: x-key, value_file: /key}]
  - {name: remote, type: otlp, address: "10.0.0.1:9", tls: {ca: /ca.pem}}
  - {name: local, type: file, path: /out.json, max: 64KiB, keep: 0, events: [policy, login]}
)");
  EXPECT_THAT(loaded.problems, IsEmpty()) << ToString(loaded.problems[0]);
  const Sink siem{
      .name = "siem",
      .encoding = "cef",
      .min_severity = "high",
      .kinds = {"canary-touched", "dns-tunnel"},
      .events = {},
      .queue = 128,
      .spool = {.path = "/spool/siem", .max_bytes = 1 << 20},
      .transport = SyslogSink{.host = "fd00::1",
                              .port = 7000,
                              .tls = {.ca = "/ca.pem", .cert = "/c.pem", .key = "/k.pem", .server_name = "siem.example"},
                              .facility = 23,
                              .timeout_ms = 500}};
  const auto& sinks = loaded.config.sinks;
  ASSERT_EQ(sinks.size(), 5u);
  EXPECT_EQ(sinks[0], siem);
  EXPECT_EQ(sinks[1].spool.path, "/var/lib/moat/spool/short");
  const SyslogSink defaults{.host = "siem.example",
                            .tls = {.ca = "/ca.pem", .cert = {}, .key = {}, .server_name = "siem.example"}};
  EXPECT_EQ(std::get<SyslogSink>(sinks[1].transport), defaults);
  EXPECT_EQ(defaults.facility, 13);
  const auto& collector = std::get<OtlpSink>(sinks[2].transport);
  EXPECT_EQ(collector.port, 4317);
  EXPECT_FALSE(collector.tls);
  ASSERT_EQ(collector.headers.size(), 2u);
  EXPECT_EQ(collector.headers[0].value, "Bearer x");
  EXPECT_EQ(collector.headers[1].value_file, "/key");
  EXPECT_EQ(std::get<OtlpSink>(sinks[3].transport).tls->server_name, "10.0.0.1");
  EXPECT_EQ(std::get<FileSink>(sinks[4].transport), (FileSink{.path = "/out.json", .max_bytes = 64 << 10, .keep = 0}));
  EXPECT_THAT(sinks[4].events, ElementsAre("policy", "login"));
}

TEST_F(SinkConfigTest, TellsAllMistakesWithTheirPlace) {
  EXPECT_THAT(
      ProblemsIn(R"(sinks:
  - {type: file, path: /a}
  - {name: Bad Name, type: file, path: out.json, max: 3, keep: 1000}
  - {name: a, type: sylog, address: x}
  - name: b
    type: syslog
    address: "siem:0"
    tls: {cert: /c}
    facility: local8
    path: /x
  - {name: c, type: otlp, address: siem.example}
  - {name: d, type: otlp, address: "127.0.0.1:4317", headers: [{name: Bad, value: x}, {name: x}, {name: y, value: "a\tb"}]}
  - {name: d, type: file, path: /f, encoding: leef, min_severity: hihg, kinds: [canary], queue: 1, spool: {max: 1KiB, pth: /x}}
  - {name: e, type: file, path: /f, spool: {path: /var/lib/moat/spool/d}}
  - {name: f, type: file}
  - {name: g, path: /x, colour: red}
  - {name: h, type: file, path: /h, events: [exce, finding]}
  - {name: i, type: file, path: /i, encoding: cef, events: [exec]}
  - {name: j, type: file, path: /j, events: [exec], min_severity: high}
)"),
      ElementsAre(
          "moatd.yaml:2:5: \"sinks[].name\" is missing",
          HasSubstr("moatd.yaml:3:12: sinks[].name must be lower case letters, digits and \"-\", at most 63, not \"Bad Name\""),
          HasSubstr("moatd.yaml:3:40: sinks[].path must be an absolute path, not \"out.json\""),
          HasSubstr("moatd.yaml:3:55: sinks[].max must be a size from 65536 to 1073741824 bytes"),
          HasSubstr("moatd.yaml:3:64: sinks[].keep must be a number from 0 to 100"),
          HasSubstr("moatd.yaml:4:21: sinks[].type must be one of file, syslog, otlp, not \"sylog\" (did you mean 'syslog'?)"),
          "moatd.yaml:7:14: sinks[].address must be a host and a port, as siem.example:6514 or [fd00::1]:6514, not \"siem:0\"",
          "moatd.yaml:8:10: \"sinks[].tls.ca\" is missing", "moatd.yaml:8:10: sinks[].tls needs both cert and key, or neither",
          HasSubstr("moatd.yaml:9:15: sinks[].facility must be one of kern, "),
          HasSubstr("moatd.yaml:10:5: unknown key \"path\" in sinks[]"),
          "moatd.yaml:11:36: sinks[].address is not of this host: findings leave it by TLS only, so sinks[].tls must be given",
          HasSubstr("moatd.yaml:12:71: sinks[].headers[].name must be lower case"),
          "moatd.yaml:12:87: sinks[].headers[] needs a value or a value_file, and not both",
          HasSubstr("moatd.yaml:12:115: sinks[].headers[].value may have printable ASCII only"),
          "moatd.yaml:13:5: two sinks have the name \"d\"; the other is in line 12",
          "moatd.yaml:13:5: two sinks have the spool \"/var/lib/moat/spool/d\"; the other is in line 12",
          HasSubstr("moatd.yaml:13:47: sinks[].encoding must be one of ocsf, cef, not \"leef\""),
          HasSubstr("moatd.yaml:13:67: sinks[].min_severity must be one of info, low, medium, high, critical"),
          HasSubstr("moatd.yaml:13:81: sinks[].kinds[] has no such kind of finding: \"canary\""),
          HasSubstr("moatd.yaml:13:97: sinks[].queue must be a number from 16"),
          HasSubstr("moatd.yaml:13:113: sinks[].spool.max must be a size from 1048576"),
          HasSubstr("moatd.yaml:13:119: unknown key \"pth\" in sinks[].spool (did you mean 'path'?)"),
          "moatd.yaml:14:5: two sinks have the spool \"/var/lib/moat/spool/d\"; the other is in line 12",
          "moatd.yaml:14:5: two sinks have the file \"/f\"; the other is in line 13",
          "moatd.yaml:15:5: \"sinks[].path\" is missing", "moatd.yaml:16:5: \"sinks[].type\" is missing",
          HasSubstr("moatd.yaml:16:25: unknown key \"colour\" in sinks[]"),
          "moatd.yaml:17:46: sinks[].events[] has no such kind of event: \"exce\" (did you mean 'exec'?)",
          HasSubstr("moatd.yaml:17:52: sinks[].events[] has no such kind of event: \"finding\""),
          "moatd.yaml:18:60: sinks[].events needs the encoding ocsf: as cef only findings can be told",
          HasSubstr("moatd.yaml:19:45: a sink has events or findings")));
  std::string many = "sinks:\n";
  for (int i = 0; i < 17; ++i) {
    many += "  - {name: s" + std::to_string(i) + ", type: file, path: /f" + std::to_string(i) + "}\n";
  }
  EXPECT_THAT(ProblemsIn(many), ElementsAre("moatd.yaml:2:3: there are more than 16 sinks"));
  EXPECT_THAT(ProblemsIn("sinks: {a: b}\n"), ElementsAre("moatd.yaml:1:8: sinks must be a list"));
}

// Kinds of findings are named in detect.expected, too.
TEST_F(SinkConfigTest, WhatIsExpectedNeedsAKindAWorkloadAndAReason) {
  const Loaded loaded = LoadText(R"(detect:
  expected:
    - {kinds: [namespace-escape], pods: [kube-system/*], units: [docker.service], containers: [bk], reason: drivers}
)");
  EXPECT_THAT(loaded.problems, IsEmpty()) << ToString(loaded.problems[0]);
  const Expected expected{.kinds = {"namespace-escape"},
                          .pods = {"kube-system/*"},
                          .units = {"docker.service"},
                          .containers = {"bk"},
                          .reason = "drivers"};
  EXPECT_THAT(loaded.config.detect.expected, ElementsAre(expected));
  EXPECT_THAT(ProblemsIn(R"(detect:
  expected:
    - {kinds: [], pods: [a/b], reason: x}
    - {kinds: [escape], pods: [kube-system, "*/x", "a b/c"], reason: ""}
    - {kinds: [unsafe-load], reason: x}
    - {pods: [a/*], units: [a.service]}
    - {kinds: [events-lost], pods: [a/*], reason: x}
)"),
              ElementsAre("moatd.yaml:3:7: detect.expected[].kinds names no kind of finding",
                          HasSubstr("moatd.yaml:4:7: detect.expected[].reason is empty: say why"),
                          HasSubstr("moatd.yaml:4:16: detect.expected[].kinds[] has no such kind of finding: \"escape\""),
                          HasSubstr("detect.expected[].pods[] must be NAMESPACE/NAME, as kube-system/*, not \"kube-system\""),
                          HasSubstr("detect.expected[].pods[] must be NAMESPACE/NAME, as kube-system/*, not \"*/x\""),
                          HasSubstr("detect.expected[].pods[] must be a name, in which * is any text"),
                          "moatd.yaml:5:7: detect.expected[] needs pods, units or containers: whose it is",
                          "moatd.yaml:6:7: \"detect.expected[].kinds\" is missing",
                          "moatd.yaml:6:7: \"detect.expected[].reason\" is missing",
                          HasSubstr("moatd.yaml:7:7: detect.expected[].kinds: events-lost is about moatd itself")));
}

TEST_F(SinkConfigTest, Addresses) {
  const auto problems = [this](const std::string& address) {
    return ProblemsIn("sinks: [{name: a, type: syslog, tls: {ca: /c}, address: \"" + address + "\"}]\n").size();
  };
  for (const char* good : {"a", "a.b-c_d:1", "10.0.0.1", "10.0.0.1:65535", "[::1]", "[::1]:1", "SIEM.example:6514"}) {
    EXPECT_EQ(problems(good), 0u) << good;
  }
  for (const char* bad :
       {"", ":1", "a:", "a:65536", "a:1x", "::1", "[::1", "[a]:1", "[::1]1", "a b", "-a", "a/b", "https://a", "a:1:2"}) {
    EXPECT_EQ(problems(bad), 1u) << bad;
  }
  for (const char* near : {"localhost:1", "127.0.0.1", "127.9.9.9:1", "[::1]:1"}) {
    EXPECT_THAT(ProblemsIn(std::string("sinks: [{name: a, type: otlp, address: \"") + near + "\"}]\n"), IsEmpty()) << near;
  }
  for (const char* far : {"127.evil.example", "10.0.0.1", "[::2]:1", "localhost.evil.example"}) {
    EXPECT_THAT(ProblemsIn(std::string("sinks: [{name: a, type: otlp, address: \"") + far + "\"}]\n"),
                ElementsAre(HasSubstr("findings leave it by TLS only")))
        << far;
  }
}

// The folder of the configuration may not see that of events: these lists are held together here.
TEST_F(SinkConfigTest, KnowsEveryKindAndSeverity) {
  std::string kinds;
  for (int kind = 1; kind < static_cast<int>(event::FindingKind::kCount); ++kind) {
    kinds += std::string(event::FindingKindName(static_cast<event::FindingKind>(kind))) + ", ";
  }
  const Loaded loaded = LoadText("sinks: [{name: a, type: file, path: /a, kinds: [" + kinds + "]}]\n");
  EXPECT_THAT(loaded.problems, IsEmpty());
  EXPECT_EQ(loaded.config.sinks[0].kinds.size(), static_cast<size_t>(event::FindingKind::kCount) - 1);
  for (const std::string_view word : event::KindWords()) {
    const std::string name(word);
    const bool event = name != "finding" && name != "gap";  // findings are no events; a gap is told as a finding, events-lost
    EXPECT_EQ(ProblemsIn("sinks: [{name: a, type: file, path: /a, events: [" + name + "]}]\n").empty(), event) << name;
  }
  for (int severity = 1; severity <= 5; ++severity) {
    const std::string name = event::SeverityName(static_cast<event::Severity>(severity));
    EXPECT_THAT(ProblemsIn("sinks: [{name: a, type: file, path: /a, min_severity: " + name + "}]\n"), IsEmpty()) << name;
  }
}

}  // namespace
}  // namespace moat::config
