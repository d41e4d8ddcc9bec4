// SPDX-License-Identifier: Apache-2.0
#include "agent/sink/ocsf.h"
#include "agent/sink/shrink.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "agent/base/utf8.h"
#include "tests/unit/api_events.h"
#include "tests/unit/sink_tools.h"

namespace moat::sink {
namespace {

using event::Event;
using event::FindingKind;
using event::Kind;
using nlohmann::json;
using ::testing::HasSubstr;

const Origin kOrigin = {.hostname = "gpu-node-1", .version = "0.1.0", .run = "00c0ffee00c0ffee"};
constexpr uint64_t kTime = 1'790'000'000'123'456'789;

// What tests/ocsf/validate.py says of some records: its last line names how many of each class there were.
std::pair<int, std::string> Validate(const std::vector<std::string>& lines) {
  const test::TempDir dir;
  std::string all;
  for (const std::string& line : lines) {
    all += line + "\n";
  }
  test::WriteAll(dir / "records", all);
  const std::string command = "python3 -B " MOAT_SOURCE_DIR "/tests/ocsf/validate.py " + (dir / "records") + " 2>&1";
  FILE* pipe = ::popen(command.c_str(), "r");
  std::string said;
  char buffer[4096];
  for (size_t n; (n = ::fread(buffer, 1, sizeof(buffer), pipe)) > 0;) {
    said.append(buffer, n);
  }
  return {::pclose(pipe), said};
}

void ExpectPrintableLine(const std::string& line) {
  EXPECT_TRUE(IsUtf8(line));
  for (std::string_view rest = line; !rest.empty(); rest.remove_prefix(FirstChar(rest).length)) {
    ASSERT_FALSE(IsUnprintable(FirstChar(rest).code)) << line;
  }
}

std::vector<std::string> AllFindings() {
  const auto ocsf = MakeOcsf(kOrigin);
  std::vector<std::string> lines;
  for (int kind = 0; kind <= static_cast<int>(FindingKind::kCount); ++kind) {
    lines.push_back(ocsf->Encode(*test::MakeFinding(static_cast<FindingKind>(kind))));
  }
  for (const std::string& text : test::HostileTexts()) {
    lines.push_back(ocsf->Encode(*test::MakeFinding(FindingKind::kWeightExfiltration, text)));
    lines.push_back(MakeOcsf({.hostname = text, .version = text})->Encode(*test::MakeFinding()));
  }
  lines.push_back(ocsf->Encode(event::Finding{}));  // with nothing known
  auto finding = test::MakeFinding();
  finding->revision = 1;
  finding->count = UINT64_MAX;
  finding->first_unix_ns = finding->last_unix_ns = UINT64_MAX;
  finding->confidence = 255;
  finding->severity = event::Severity{};
  lines.push_back(ocsf->Encode(*finding));
  for (const char* what : {"static pod", "job", "unit", "docker", "pod alone", "unknown"}) {
    auto workload = std::make_shared<event::Workload>();
    const std::string name = what;
    workload->known = name != "unknown";
    workload->cgroup = "/x";
    workload->pod_uid = name == "static pod" || name == "pod alone" ? "9c1185a5c5e9fc54612808977ee8f548" : "";
    workload->container_id = name == "static pod" || name == "docker" ? "c1" : "";
    workload->slurm_job = name == "job" ? "77" : "";
    workload->slurm_user = name == "job" ? "eve" : "";
    workload->slurm_account = name == "job" ? "research" : "";
    workload->unit = name == "unit" ? "ssh.service" : "";
    finding->workload = workload;
    lines.push_back(ocsf->Encode(*finding));
  }
  return lines;
}

template <size_t N>
event::FixedString<N> Fixed(std::string_view text) {
  event::FixedString<N> fixed;
  test::Put(&fixed, text.substr(0, N - 1));
  return fixed;
}

std::vector<Event> AllEvents(const std::string& text) {
  auto process = test::MakeProcess(7);
  process->exe = "/usr/bin/" + text;
  process->args = {"python3", text};
  process->parent = {1, 2};
  process->exec_flags = event::kExecMemfd;
  event::Endpoints ipv4, ipv6, none, vsock, packet;
  ipv4.local = {{10, 0, 0, 1}, 40000};
  ipv4.remote = {{203, 0, 113, 7}, 443};
  ipv4.protocol = IPPROTO_TCP;
  ipv6 = ipv4;
  ipv6.ipv6 = true;
  ipv6.protocol = 262;
  ipv6.remote.bytes = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  vsock.other_family = AF_VSOCK;
  packet.other_family = AF_PACKET;
  std::vector<Event> events;
  const auto add = [&](Kind kind, event::Body body) {
    events.push_back(test::MakeEvent(kind, std::move(body), process));
    events.back().header.comm = Fixed<16>(text);
    events.back().header.labels = 5;
    events.back().header.seq = events.size();
  };
  add(Kind::kFork, event::Fork{.child = {8, 3}});
  add(Kind::kExec, event::Exec{.image = process});
  add(Kind::kExec, event::Exec{});
  add(Kind::kScan, event::Exec{.image = process});
  add(Kind::kExit, event::Exit{.code = 0xffffffff, .signal = 9, .core = true});
  add(Kind::kFileOpen, event::FileOpen{.inode = 77, .size = UINT64_MAX, .dev = 8, .asset = 0, .name = Fixed<128>(text)});
  add(Kind::kFileOpen, event::FileOpen{.inode = 1, .dev = 1, .asset = 63, .name = Fixed<128>(text)});
  add(Kind::kFileMap, event::FileMap{.inode = 77, .length = 4096, .dev = 8, .prot = 7, .name = Fixed<128>(text)});
  for (uint8_t op = 0; op <= 9; ++op) {
    add(Kind::kFileTamper, event::FileTamper{.inode = 5, .op = static_cast<event::TamperOp>(op), .name = Fixed<128>(text)});
  }
  add(Kind::kFileIo, event::FileIo{.asset = 1, .bytes_read = 10, .reads = 1});
  add(Kind::kFileIo, event::FileIo{.asset = 1, .bytes_written = 10, .writes = 1});
  add(Kind::kGpuOpen, event::GpuOpen{.rdev = test::kGpuRdev, .categories = 3, .device_class = event::GpuClass::kNvidia});
  add(Kind::kGpuOpen, event::GpuOpen{.rdev = 1});
  event::GpuCall call;
  call.verb = "ALLOC";
  call.object = "debugger";
  call.name = "GT200_DEBUGGER";
  call.rdev = test::kGpuRdev;
  call.categories = ~0u;
  call.target = {9, 1};
  add(Kind::kGpuIoctl, call);
  event::GpuCall unknown;
  unknown.failed = true;
  add(Kind::kGpuIoctl, unknown);
  add(Kind::kGpuMap, event::GpuMap{.length = UINT64_MAX, .prot = 3, .categories = 1, .device = Fixed<24>(text)});
  for (uint8_t op = 0; op <= static_cast<uint8_t>(event::AccessOp::kCount); ++op) {
    add(Kind::kProcessAccess, event::ProcessAccess{.target = {7, 8},
                                                   .result = op % 2 != 0 ? -1 : 5,
                                                   .op = static_cast<event::AccessOp>(op),
                                                   .target_comm = Fixed<16>(text)});
  }
  for (uint8_t op = 0; op <= static_cast<uint8_t>(event::PrivilegeOp::kCount); ++op) {
    add(Kind::kPrivilege, event::Privilege{.result = -1,
                                           .flags = UINT64_MAX,
                                           .op = static_cast<event::PrivilegeOp>(op),
                                           .target = Fixed<128>(text),
                                           .source = Fixed<64>(text),
                                           .type = Fixed<16>(text)});
  }
  add(Kind::kLogin, event::Login{});
  add(Kind::kLogin, event::Login{.step = event::LoginStep::kAuthenticate,
                                 .result = 7,
                                 .service = Fixed<32>(text),
                                 .terminal = Fixed<32>(text),
                                 .user = Fixed<64>(text),
                                 .by = Fixed<64>(text),
                                 .remote = Fixed<128>(text)});
  for (const auto& ep : {ipv4, ipv6, none, vsock, packet}) {
    for (const Kind kind : {Kind::kNetConnect, Kind::kNetSend, Kind::kNetListen, Kind::kNetAccept}) {
      add(kind, event::Net{.ep = ep});
    }
    add(Kind::kNetClose, event::NetTotals{.ep = ep, .bytes_out = UINT64_MAX, .bytes_in = 2, .passive = true});
    add(Kind::kNetFlow, event::NetTotals{.ep = ep, .bytes_out = 5});
    add(Kind::kNetDns, event::Dns{.ep = ep, .payload = 5, .id = 65535, .type = 16, .name = Fixed<256>(text)});
    add(Kind::kNetDns, event::Dns{.ep = ep, .name = {}});
  }
  for (uint8_t operation = 0; operation <= 33; ++operation) {
    for (uint8_t action = 0; action <= 4; ++action) {
      add(Kind::kVerdict, event::Verdict{.action = static_cast<event::VerdictAction>(action),
                                         .operation = static_cast<event::VerdictOperation>(operation),
                                         .category = static_cast<uint8_t>(operation == 25 ? 0 : event::kNoCategory),
                                         .rule = 5,
                                         .has_ep = true,
                                         .ep = ipv4,
                                         .rdev = test::kGpuRdev,
                                         .name = Fixed<64>(text)});
    }
  }
  return events;
}

TEST(SinkOcsfTest, EveryRecordIsOfTheSchema) {
  std::vector<std::string> lines = AllFindings();
  const size_t findings = lines.size();
  auto names = test::MakeNames();
  for (const std::string& text : test::HostileTexts()) {
    names->assets[0].name = text;
    names->paths[{8, 77}] = "/models/" + text;
    names->rules[5] = {text, text, text};
    for (const Event& event : AllEvents(text)) {
      lines.push_back(OcsfEvent(event, *names, kOrigin, kTime));
      ASSERT_NE(lines.back(), "") << static_cast<int>(event.header.kind);
    }
    lines.push_back(OcsfLifecycle(Lifecycle::kStart, text, kOrigin, kTime));
    lines.push_back(OcsfLifecycle(Lifecycle::kStop, "", kOrigin, kTime));
    lines.push_back(OcsfLifecycle(Lifecycle::kUpdate, text, kOrigin, kTime));
  }
  for (const std::string& line : lines) {
    ExpectPrintableLine(line);
  }
  const auto [status, said] = Validate(lines);
  EXPECT_EQ(status, 0) << said.substr(0, 4000);
  for (const char* class_of : {"1001", "1003", "1004", "1007", "4001", "6002"}) {
    EXPECT_THAT(said, HasSubstr(std::string(class_of) + ": "));
  }
  EXPECT_THAT(said, HasSubstr("2004: " + std::to_string(findings)));
}

// The validator can say no: each of these breaks one rule.
TEST(SinkOcsfTest, TheValidatorRefuses) {
  const json good = json::parse(MakeOcsf(kOrigin)->Encode(*test::MakeFinding()));
  ASSERT_EQ(Validate({good.dump()}).first, 0);
  struct Case {
    const char* pointer;
    json value;  // null: taken out
    const char* says;
  };
  const Case cases[] = {
      {"/time", nullptr, "time: is missing"},
      {"/time", "now", "time: no integer"},
      {"/severity_id", 7, "severity_id: 7 is not among its values"},
      {"/severity", "Bad", "severity: is 'Bad', and severity_id 4 is 'High'"},
      {"/type_uid", 200499, "type_uid: not class_uid * 100 + activity_id"},
      {"/class_uid", 1, "no object, or of no class that OCSF has"},
      {"/category_uid", 1, "category_uid: 1 is not among its values"},
      {"/metadata/version", "1.7.0", "metadata.version: not 1.8.0"},
      {"/metadata/profiles", {"host", "container"}, "is of profile security_control"},
      {"/metadata/profiles", {"host", "security_control", "container", "nonsense"}, "has no profile nonsense"},
      {"/finding_info/uid", nullptr, "finding_info.uid: is missing"},
      {"/finding_info/own", 1, "finding_info.own: there is no such attribute"},
      {"/finding_info/attacks/0", json::object(), "finding_info.attacks[0].: has none of tactic, technique"},
      {"/evidences/1/dst_endpoint/ip", "300.1.2.3", "is no ip_t"},
      {"/evidences/1/dst_endpoint/port", 65536, "is not from 0 to 65535"},
      {"/evidences/0/process/pid", 1LL << 32, "is not from -2147483648"},
      {"/evidences", json::object(), "evidences: no list"},
      {"/is_alert", 1, "is_alert: neither true nor false"},
      {"/message", 5, "message: no text"},
      {"/device", {{"hostname", "x"}}, "device.type_id: is missing"},
  };
  for (const Case& one : cases) {
    json bad = good;
    const json::json_pointer at(one.pointer);
    if (one.value.is_null()) {
      bad[at.parent_pointer()].erase(at.back());
    } else {
      bad[at] = one.value;
    }
    const auto [status, said] = Validate({bad.dump()});
    EXPECT_NE(status, 0) << one.pointer;
    EXPECT_THAT(said, HasSubstr(one.says));
  }
  EXPECT_NE(Validate({}).first, 0);
  EXPECT_NE(Validate({"{"}).first, 0);
  EXPECT_NE(Validate({"[1]"}).first, 0);
}

TEST(SinkOcsfTest, HostileTextsComeBackAsTheyWere) {
  const auto ocsf = MakeOcsf(kOrigin);
  for (const std::string& text : test::HostileTexts()) {
    const json got = json::parse(ocsf->Encode(*test::MakeFinding(FindingKind::kReverseShell, text)));
    const std::string want = ToUtf8(text);
    EXPECT_EQ(got["message"], "title " + want);
    EXPECT_EQ(got["finding_info"]["title"], "title " + want);
    EXPECT_EQ(got["finding_info"]["desc"], "explanation " + want);
    EXPECT_EQ(got["remediation"]["desc"], "action " + want);
    EXPECT_EQ(got["resources"][1]["name"], want);
    EXPECT_EQ(got["resources"][3]["name"], want);
    EXPECT_EQ(got["evidences"][0]["process"]["cmd_line"], "python3 " + want);
    EXPECT_EQ(got["evidences"][0]["process"]["file"]["path"], "/usr/bin/" + want);
    EXPECT_EQ(got["evidences"][0]["process"]["parent_process"]["cmd_line"], "sh -c " + want);
    EXPECT_EQ(got["evidences"][5]["dst_endpoint"]["name"], want);
    EXPECT_EQ(got["evidences"][7]["data"]["text"], want);
    EXPECT_EQ(got["device"]["container"]["name"], "vllm" + want);
    EXPECT_EQ(got["unmapped"]["moat"]["cgroup"], "/kubepods/pod1/" + want);
  }
}

TEST(SinkOcsfTest, AFindingFieldByField) {
  const json got = json::parse(MakeOcsf(kOrigin)->Encode(*test::MakeFinding()));
  EXPECT_EQ(got["class_uid"], 2004);
  EXPECT_EQ(got["type_uid"], 200402);
  EXPECT_EQ(got["severity_id"], 4);
  EXPECT_EQ(got["severity"], "High");
  EXPECT_EQ(got["time"], 1'790'000'005'000);
  EXPECT_EQ(got["start_time"], 1'790'000'000'000);
  EXPECT_EQ(got["end_time"], 1'790'000'005'000);
  EXPECT_EQ(got["count"], 7);
  EXPECT_EQ(got["confidence_score"], 95);
  EXPECT_EQ(got["metadata"]["uid"], "0123456789abcdef0123456789abcdef-3");
  EXPECT_EQ(got["metadata"]["product"]["version"], "0.1.0");
  EXPECT_EQ(got["finding_info"]["uid"], "0123456789abcdef0123456789abcdef");
  EXPECT_EQ(got["finding_info"]["types"], json({"canary-touched"}));
  EXPECT_EQ(got["finding_info"]["attacks"][0],
            json({{"version", "5.6"},
                  {"technique", {{"uid", "AML.T0048"}}},
                  {"sub_technique", {{"uid", "AML.T0048.004"}, {"name", "External Harms: AI Intellectual Property Theft"}}}}));
  EXPECT_EQ(got["finding_info"]["attacks"][1], json({{"technique", {{"uid", "T1496"}, {"name", "Resource Hijacking"}}}}));
  EXPECT_EQ(got["finding_info"]["attacks"][2],
            json({{"technique", {{"uid", "T1071"}}}, {"sub_technique", {{"uid", "T1071.004"}}}}));
  const json& process = got["evidences"][0]["process"];
  EXPECT_EQ(process["pid"], 42);
  EXPECT_EQ(process["uid"], "42-1000");
  EXPECT_EQ(process["user"]["uid"], "1000");
  EXPECT_EQ(process["parent_process"]["pid"], 7);
  EXPECT_EQ(process["parent_process"]["parent_process"]["pid"], 1);
  EXPECT_EQ(process["container"]["uid"], "c0ffee");
  EXPECT_EQ(got["evidences"][1]["dst_endpoint"], json({{"ip", "203.0.113.7"}, {"port", 443}}));
  EXPECT_EQ(got["evidences"][2]["dst_endpoint"], json({{"ip", "2001:db8::1"}, {"port", 53}}));
  EXPECT_EQ(got["evidences"][3]["dst_endpoint"], json({{"ip", "203.0.113.9"}}));
  EXPECT_EQ(got["evidences"][4]["dst_endpoint"], json({{"name", "evil.example:443"}}));
  EXPECT_EQ(got["device"]["hostname"], "gpu-node-1");
  EXPECT_EQ(got["device"]["container"]["pod_uuid"], "0a1b2c3d-0000-1111-2222-333344445555");
  EXPECT_EQ(got["device"]["container"]["image"]["uid"], "sha256:abc");
  EXPECT_EQ(got["resources"][4]["namespace"], "prod");
  EXPECT_EQ(got["resources"][4]["tags"][0], json({{"name", "app"}, {"value", "plain"}}));
  EXPECT_EQ(got["unmapped"]["moat"]["omitted"], 2);
  EXPECT_EQ(got["disposition"], "Detected");
  auto denied = test::MakeFinding(FindingKind::kPolicyDenial);
  denied->revision = 1;
  const json denial = json::parse(MakeOcsf(kOrigin)->Encode(*denied));
  EXPECT_EQ(denial["disposition"], "Blocked");
  EXPECT_EQ(denial["action"], "Denied");
  EXPECT_EQ(denial["activity_name"], "Create");
}

TEST(SinkOcsfTest, WhichEventIsWhichClass) {
  const auto names = test::MakeNames();
  std::map<Kind, std::set<int>> classes;
  for (const Event& event : AllEvents("x")) {
    const json got = json::parse(OcsfEvent(event, *names, kOrigin, kTime));
    classes[event.header.kind].insert(got["class_uid"].get<int>());
    EXPECT_EQ(got["time"], 1'790'000'000'123);
    EXPECT_EQ(got["metadata"]["event_code"], event::KindName(event.header.kind));
    EXPECT_EQ(got["metadata"]["uid"], "00c0ffee00c0ffee-" + std::to_string(event.header.seq));
    const bool denied = got.value("action", "") == "Denied";
    EXPECT_EQ(got["severity"], denied ? "Medium" : "Informational");
    EXPECT_EQ(SeverityOf(event), denied ? event::Severity::kMedium : event::Severity::kInfo);
  }
  for (const Kind kind : {Kind::kFork, Kind::kExec, Kind::kScan, Kind::kExit}) {
    EXPECT_THAT(classes[kind], ::testing::ElementsAre(1007));
  }
  for (const Kind kind : {Kind::kFileOpen, Kind::kFileTamper, Kind::kFileIo, Kind::kGpuOpen}) {
    EXPECT_THAT(classes[kind], ::testing::ElementsAre(1001));
  }
  for (const Kind kind :
       {Kind::kNetConnect, Kind::kNetSend, Kind::kNetListen, Kind::kNetAccept, Kind::kNetClose, Kind::kNetFlow}) {
    EXPECT_THAT(classes[kind], ::testing::ElementsAre(4001));
  }
  EXPECT_THAT(classes[Kind::kNetDns], ::testing::ElementsAre(4003));
  EXPECT_THAT(classes[Kind::kFileMap], ::testing::ElementsAre(1004));
  EXPECT_THAT(classes[Kind::kGpuMap], ::testing::ElementsAre(1004));
  EXPECT_THAT(classes[Kind::kGpuIoctl], ::testing::ElementsAre(1003));
  EXPECT_THAT(classes[Kind::kVerdict], ::testing::ElementsAre(1001, 1003, 1004, 1007, 4001));
  EXPECT_EQ(OcsfEvent(test::MakeEvent(Kind::kGap, event::Gap{}, nullptr), *names, kOrigin, kTime), "");
  EXPECT_EQ(OcsfEvent(Event{}, *names, kOrigin, kTime), "");
  EXPECT_EQ(OcsfEvent(test::MakeEvent(Kind::kFinding, test::MakeFinding(), nullptr), *names, kOrigin, kTime), "");
}

// The longest that a process can make its names, each byte of them six in JSON.
TEST(SinkOcsfTest, AnEventIsBoundedAndSaysWhatItCut) {
  const auto names = test::MakeNames();
  const std::string longest(4096, '\x1b');
  names->paths[{8, 77}] = "/models/" + longest;
  std::vector<std::string> lines;
  size_t shortened = 0;
  for (Event& event : AllEvents("x")) {
    auto process = test::MakeProcess(7);
    process->exe = process->filename = process->cgroup = "/" + longest;
    process->args = {longest, longest};
    event.header.info = process;
    if (auto* exec = std::get_if<event::Exec>(&event.body)) {
      exec->image = process;
    }
    lines.push_back(OcsfEvent(event, *names, kOrigin, kTime));
    EXPECT_LE(lines.back().size(), kMaxText);
    const json got = json::parse(lines.back());
    EXPECT_GT(got["unmapped"]["moat"].value("shortened", 0), 3) << event::KindName(event.header.kind);
    EXPECT_TRUE(got["actor"]["process"].value("cmd_line", "...").ends_with("..."));
    ++shortened;
  }
  EXPECT_GT(shortened, 20u);
  const auto [status, said] = Validate(lines);
  EXPECT_EQ(status, 0) << said.substr(0, 4000);
  const json plain = json::parse(OcsfEvent(AllEvents("x").front(), *test::MakeNames(), kOrigin, kTime));
  EXPECT_FALSE(plain["unmapped"]["moat"].contains("shortened"));
}

TEST(SinkOcsfTest, AConnectionFieldByField) {
  const auto names = test::MakeNames();
  for (const Event& event : AllEvents("x")) {
    if (event.header.kind != Kind::kNetConnect && event.header.kind != Kind::kNetAccept) {
      continue;
    }
    const json got = json::parse(OcsfEvent(event, *names, kOrigin, kTime));
    const bool in = event.header.kind == Kind::kNetAccept;
    EXPECT_EQ(got[in ? "src_endpoint" : "dst_endpoint"], json({{"ip", "203.0.113.7"}, {"port", 443}}));
    EXPECT_EQ(got[in ? "dst_endpoint" : "src_endpoint"], json({{"ip", "10.0.0.1"}, {"port", 40000}}));
    EXPECT_EQ(got["connection_info"]["direction"], in ? "Inbound" : "Outbound");
    EXPECT_EQ(got["unmapped"]["moat"]["labels"], json({"llama", "#2"}));
    if (in) {
      break;
    }
  }
}

}  // namespace
}  // namespace moat::sink
