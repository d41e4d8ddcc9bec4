// SPDX-License-Identifier: Apache-2.0
// What moatctl prints, without an agent.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "agent/cli/agent_text.h"
#include "agent/cli/client.h"
#include "agent/cli/event_text.h"
#include "agent/cli/host.h"
#include "agent/cli/json.h"
#include "agent/cli/options.h"
#include "agent/cli/text.h"
#include "moat/v1/services.pb.h"

namespace moat::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

v1::WatchResponse Response() {
  v1::WatchResponse response;
  auto* process = response.add_processes();
  process->set_ref(5);
  process->set_pid(42);
  process->set_known(true);
  process->set_exe("/usr/bin/python3");
  process->add_args("python3");
  process->add_args("serve.py");
  auto* event = response.add_events();
  event->set_seq(9);
  event->set_time_unix_ns(1'700'000'000'123'456'789);
  event->set_process(5);
  event->set_pid(42);
  event->set_comm("python3");
  event->add_labels("llama");
  event->add_flags(v1::FLAG_TRUNCATED);
  return response;
}

std::string Human(const v1::WatchResponse& response, bool color = false) {
  Processes processes;
  processes.Add(response, false);
  std::string text;
  AppendHuman(text, response.events(0), processes, color);
  return text;
}

nlohmann::json JsonOf(const v1::WatchResponse& response) {
  Processes processes;
  processes.Add(response, true);
  std::string text;
  AppendJson(text, response.events(0), processes);
  EXPECT_EQ(std::ranges::count(text, '\n'), 1) << "one object a line";
  return nlohmann::json::parse(text);
}

void SetFileOpen(v1::WatchResponse* response) {
  auto* event = response->mutable_events(0);
  event->set_kind(v1::KIND_FILE_OPEN);
  auto* open = event->mutable_file_open();
  open->set_asset("llama");
  open->set_path("/models/llama/model.gguf");
  open->set_size(4ull << 30);
}

TEST(CliText, HumanLine) {
  auto response = Response();
  SetFileOpen(&response);
  std::string line = Human(response);
  EXPECT_THAT(line, HasSubstr("file_open   python3[42]"));
  EXPECT_THAT(line, HasSubstr("/models/llama/model.gguf for read, 4.0 GiB, asset llama  {llama} [truncated]\n"));
  EXPECT_THAT(line, HasSubstr(".123456 "));
  EXPECT_THAT(line, Not(HasSubstr("\x1b")));
  EXPECT_THAT(Human(response, true), HasSubstr("\x1b[34mfile_open"));
}

TEST(CliText, EveryBodyHasALineAndAnObject) {
  const auto* descriptor = v1::Event::descriptor()->FindOneofByName("body");
  ASSERT_GT(descriptor->field_count(), 10);
  for (int i = 0; i < descriptor->field_count(); ++i) {
    auto response = Response();
    auto* event = response.mutable_events(0);
    event->set_kind(v1::KIND_EXIT);
    event->GetReflection()->MutableMessage(event, descriptor->field(i));
    EXPECT_THAT(Human(response), testing::EndsWith("\n"));
    auto json = JsonOf(response);
    ASSERT_TRUE(json["exit"].is_object()) << descriptor->field(i)->name();
    EXPECT_FALSE(json["exit"].empty()) << descriptor->field(i)->name() << " has no fields in JSON";
  }
}

TEST(CliText, JsonObject) {
  auto response = Response();
  SetFileOpen(&response);
  auto json = JsonOf(response);
  EXPECT_EQ(json["seq"], 9);
  EXPECT_EQ(json["time"], "2023-11-14T22:13:20.123456789Z");
  EXPECT_EQ(json["kind"], "file_open");
  EXPECT_EQ(json["process"]["exe"], "/usr/bin/python3");
  EXPECT_EQ(json["process"]["args"], nlohmann::json({"python3", "serve.py"}));
  EXPECT_EQ(json["labels"], nlohmann::json({"llama"}));
  EXPECT_EQ(json["flags"], nlohmann::json({"truncated"}));
  EXPECT_EQ(json["file_open"]["size"], 4ull << 30);
  response.mutable_events(0)->set_process(77);
  EXPECT_TRUE(JsonOf(response)["process"].is_null()) << "a ref that was never told";
}

TEST(CliText, IoctlShowsNumberWordAndParameters) {
  auto response = Response();
  auto* event = response.mutable_events(0);
  event->set_kind(v1::KIND_GPU_IOCTL);
  auto* call = event->mutable_gpu_call();
  call->set_device("/dev/nvidia0");
  call->set_command(0xc020462a);
  call->set_size(32);
  call->set_result(-22);
  call->set_count(1234);
  call->set_params(std::string("\x00\xff", 2));
  EXPECT_THAT(Human(response), HasSubstr("/dev/nvidia0 command 0x2a (0xc020462a, 32 bytes) = -22, call 1,234"));
  EXPECT_EQ(JsonOf(response)["gpu_ioctl"]["params"], "00ff");
}

TEST(CliText, ACallThatIsKnownIsToldInWords) {
  auto response = Response();
  auto* event = response.mutable_events(0);
  event->set_kind(v1::KIND_GPU_IOCTL);
  auto* call = event->mutable_gpu_call();
  call->set_device("/dev/nvidia0");
  call->set_verb("ALLOC");
  call->set_object("memory.local");
  call->set_name("NV01_MEMORY_LOCAL_USER");
  call->set_bytes(40ull << 30);
  call->set_status_known(true);
  call->set_completeness(v1::GPU_COMPLETENESS_FULL);
  call->set_first(true);
  EXPECT_THAT(Human(response), HasSubstr("/dev/nvidia0 ALLOC memory.local 40.0 GiB NV01_MEMORY_LOCAL_USER ok, first"));
  call->set_status(0x1b);
  call->add_categories("debug");
  call->set_target_pid(4711);
  call->set_completeness(v1::GPU_COMPLETENESS_PARTIAL);
  EXPECT_THAT(Human(response), HasSubstr("refused (status 0x1b) [debug of process 4711], first, in part"));
  call->set_result(-EPERM);
  EXPECT_THAT(Human(response), HasSubstr("NV01_MEMORY_LOCAL_USER EPERM [debug"));
  call->set_result(-EPERM - (int64_t{1} << 32));
  EXPECT_THAT(Human(response), HasSubstr("NV01_MEMORY_LOCAL_USER -4294967297 [debug")) << "no error of the kernel's";
  call->set_result(std::numeric_limits<int64_t>::min());
  EXPECT_THAT(Human(response), HasSubstr("NV01_MEMORY_LOCAL_USER -9223372036854775808 [debug"));
  call->set_result(0);
  call->set_status_known(false);
  EXPECT_THAT(Human(response), HasSubstr("NV01_MEMORY_LOCAL_USER returned 0 [debug")) << "what the driver answered is not known";
  EXPECT_EQ(JsonOf(response)["gpu_ioctl"]["categories"], nlohmann::json({"debug"}));
}

TEST(CliText, AnOpenSaysWhatItOpensAndAMappingWhichRegisters) {
  auto response = Response();
  auto* event = response.mutable_events(0);
  event->set_kind(v1::KIND_GPU_OPEN);
  event->mutable_gpu_open()->set_device("/dev/nvidia-caps/nvidia-cap1");
  EXPECT_THAT(Human(response), HasSubstr("/dev/nvidia-caps/nvidia-cap1 for read"));
  event->mutable_gpu_open()->set_object("mig/config");
  event->mutable_gpu_open()->add_categories("reconfigure");
  EXPECT_THAT(Human(response), HasSubstr("/dev/nvidia-caps/nvidia-cap1 (mig/config) for read [reconfigure]"));
  EXPECT_EQ(JsonOf(response)["gpu_open"]["object"], "mig/config");
  EXPECT_EQ(JsonOf(response)["gpu_open"]["categories"], nlohmann::json({"reconfigure"}));
  event->set_kind(v1::KIND_GPU_MAP);
  auto* map = event->mutable_gpu_map();
  map->set_device("0000:81:00.0");
  map->set_resource(1);
  map->set_length(16 << 20);
  map->set_pci_class(0x030200);
  map->add_categories("raw-access");
  EXPECT_THAT(Human(response), HasSubstr("pci 0000:81:00.0 MAP resource1 16.0 MiB [raw-access]"));
  EXPECT_EQ(JsonOf(response)["gpu_map"]["pci_class"], "0x30200");
}

TEST(CliText, AVerdictOnAnOpenOrAMappingSaysOfWhat) {
  auto response = Response();
  auto* event = response.mutable_events(0);
  event->set_kind(v1::KIND_VERDICT);
  auto* verdict = event->mutable_verdict();
  verdict->set_action(v1::VERDICT_ACTION_DENY);
  verdict->set_operation(v1::VERDICT_OPERATION_GPU_OPEN);
  verdict->set_device("/dev/nvidia-caps/nvidia-cap1");
  verdict->set_rdev(238u << 20 | 1);
  verdict->set_category("reconfigure");
  verdict->set_rule_number(7);
  EXPECT_THAT(Human(response), HasSubstr("deny gpu_open /dev/nvidia-caps/nvidia-cap1 (reconfigure): rule 7"));
  verdict->set_operation(v1::VERDICT_OPERATION_GPU_MAP);
  verdict->clear_device();
  verdict->clear_rdev();
  verdict->set_name("0000:81:00.0");
  verdict->set_command(1);
  verdict->set_category("raw-access");
  EXPECT_THAT(Human(response), HasSubstr("deny gpu_map pci 0000:81:00.0 resource1 (raw-access): rule 7"));
  EXPECT_EQ(JsonOf(response)["verdict"]["pci_device"], "0000:81:00.0");
  EXPECT_EQ(JsonOf(response)["verdict"]["resource"], 1);
}

TEST(CliText, AddressesAreBracketedOnlyForIpv6) {
  auto response = Response();
  auto* event = response.mutable_events(0);
  event->set_kind(v1::KIND_NET_CONNECT);
  auto* ep = event->mutable_net()->mutable_endpoints();
  ep->set_protocol(v1::PROTOCOL_TCP);
  ep->set_remote_port(443);
  ep->set_remote_address("10.0.0.1");
  EXPECT_THAT(Human(response), HasSubstr("tcp 10.0.0.1:443"));
  ep->set_remote_address("::1");
  EXPECT_THAT(Human(response), HasSubstr("tcp [::1]:443"));
  ep->set_protocol(static_cast<v1::Protocol>(262));
  EXPECT_THAT(Human(response), HasSubstr("262 [::1]:443")) << "a protocol without a name is a number";
}

TEST(CliText, AQuestionSaysWhatIsAskedOfWhom) {
  auto response = Response();
  auto* event = response.mutable_events(0);
  event->set_kind(v1::KIND_NET_DNS);
  auto* dns = event->mutable_dns();
  dns->mutable_endpoints()->set_protocol(v1::PROTOCOL_UDP);
  dns->mutable_endpoints()->set_remote_port(53);
  dns->mutable_endpoints()->set_remote_address("10.96.0.10");
  dns->set_type(16);
  dns->set_type_name("TXT");
  EXPECT_THAT(Human(response), HasSubstr("net_dns     python3[42]"));
  EXPECT_THAT(Human(response), HasSubstr("TXT . of udp 10.96.0.10:53"));
  dns->set_name("a\x1b.evil.example");
  dns->set_id(7);
  EXPECT_THAT(Human(response), AllOf(HasSubstr(".evil.example of udp"), Not(HasSubstr("\x1b"))));
  const auto json = JsonOf(response)["net_dns"];
  EXPECT_EQ(json["name"], "a\x1b.evil.example");
  EXPECT_EQ(json["type_name"], "TXT");
  EXPECT_EQ(json["id"], 7);
  EXPECT_EQ(json["remote_port"], 53);
}

// Names come from whoever runs programs on the host: nothing in them may reach the terminal as a command.
TEST(CliText, HostileNamesAreEscaped) {
  const std::string hostile =
      "\x1b]0;owned\x07\nfake line\r\xc2\x9b"
      "31m";
  auto response = Response();
  SetFileOpen(&response);
  auto* event = response.mutable_events(0);
  event->set_comm(hostile);
  event->mutable_file_open()->set_path(hostile);
  event->mutable_file_open()->set_asset(hostile);
  event->set_labels(0, hostile);
  response.mutable_processes(0)->set_exe(hostile);
  response.mutable_processes(0)->set_args(1, hostile);
  std::string line = Human(response);
  for (char c : line.substr(0, line.size() - 1)) {
    EXPECT_GE(static_cast<unsigned char>(c), 0x20u) << line;
  }
  EXPECT_THAT(line, Not(HasSubstr("\xc2\x9b")));
  Processes processes;
  processes.Add(response, true);
  std::string json;
  AppendJson(json, *event, processes);
  for (char c : json.substr(0, json.size() - 1)) {
    EXPECT_GE(static_cast<unsigned char>(c), 0x20u) << json;
  }
  EXPECT_THAT(json, Not(HasSubstr("\xc2\x9b")));
  EXPECT_EQ(nlohmann::json::parse(json)["comm"], hostile) << "and nothing is lost by it";
}

TEST(CliText, LongCommandLinesAreCutBetweenCharacters) {
  auto response = Response();
  response.mutable_events(0)->set_kind(v1::KIND_EXEC);
  response.mutable_events(0)->mutable_exec();
  std::string wide;
  for (int i = 0; i < 300; ++i) {
    wide += "\u00e9";
  }
  response.mutable_processes(0)->set_args(1, wide);
  std::string line = Human(response);
  EXPECT_LT(line.size(), 400u);
  EXPECT_THAT(line, HasSubstr("\u00e9..."));
}

TEST(CliText, LossesAreLoud) {
  std::string text;
  AppendLost(text, 1200, false, false, false);
  EXPECT_THAT(text, HasSubstr("!! 1,200 events"));
  text.clear();
  AppendLost(text, 1200, true, true, false);
  auto json = nlohmann::json::parse(text);
  EXPECT_EQ(json["kind"], "lost");
  EXPECT_EQ(json["count"], 1200);
  EXPECT_EQ(json["agent_restarted"], true);
}

TEST(CliText, Words) {
  EXPECT_EQ(Bytes(17), "17 B");
  EXPECT_EQ(Bytes(1536), "1.5 KiB");
  EXPECT_EQ(Bytes(~0ull), "16.0 EiB");
  EXPECT_EQ(Number(0), "0");
  EXPECT_EQ(Number(1234567), "1,234,567");
  EXPECT_EQ(Span(1'200'000'000), "1.2s");
  EXPECT_EQ(Span(90'000'000'000'000), "1d 1h");
  EXPECT_EQ(Device(195u << 20 | 3), "195:3");
  EXPECT_EQ(KindName(v1::KIND_NET_CONNECT), "net_connect");
  EXPECT_EQ(KindName(99), "99");
  EXPECT_EQ(Paint(false, Color::kRed, "x"), "x");
}

TEST(CliText, Durations) {
  uint64_t ms = 0;
  EXPECT_TRUE(ParseDuration("1500ms", &ms) && ms == 1500);
  EXPECT_TRUE(ParseDuration("10s", &ms) && ms == 10'000);
  EXPECT_TRUE(ParseDuration("10", &ms) && ms == 10'000);
  EXPECT_TRUE(ParseDuration("2h", &ms) && ms == 7'200'000);
  for (const char* bad : {"", "s", "0s", "-1s", "1d", "1 s", "99999999999s"}) {
    EXPECT_FALSE(ParseDuration(bad, &ms)) << bad;
  }
}

TEST(CliText, Addresses) {
  EXPECT_EQ(Target("unix:///run/x.sock"), "unix:/run/x.sock");
  EXPECT_EQ(Target("unix:/run/x.sock"), "unix:/run/x.sock");
  EXPECT_EQ(Target("/run/x.sock"), "unix:/run/x.sock");
  EXPECT_EQ(Target("localhost:1"), "localhost:1");
}

v1::AgentStatus Agent(uint64_t delivered, uint64_t lost) {
  v1::AgentStatus agent;
  auto* kind = agent.add_ledger();
  kind->set_kind(v1::KIND_EXEC);
  kind->set_attempted(10);
  kind->set_delivered(delivered);
  if (lost) {
    auto* one = kind->add_lost();
    one->set_reason(v1::LOST_REASON_RING_FULL);
    one->set_count(lost);
  }
  return agent;
}

TEST(CliStatus, LedgerSaysWhetherItAddsUp) {
  EXPECT_THAT(LedgerTable(Agent(8, 2), false), HasSubstr("attempted 10, delivered 8 + lost 2 = 10: it adds up"));
  EXPECT_THAT(LedgerTable(Agent(8, 2), false), HasSubstr("ring_full 2"));
  EXPECT_THAT(LedgerTable(Agent(7, 2), false), HasSubstr("1 on their way"));
  EXPECT_THAT(LedgerTable(Agent(11, 0), false), HasSubstr("1 came while"));
}

TEST(CliStatus, UnloadedDomainsAndHooksAreShown) {
  v1::AgentStatus agent;
  auto* domain = agent.add_domains();
  domain->set_name("gpu");
  domain->set_error("refused");
  auto* hook = domain->add_hooks();
  hook->set_event("gpu.open");
  hook->set_why("no feature");
  hook->add_unseen("io_uring");
  EXPECT_THAT(HookTable(agent, false), HasSubstr("domain gpu is not loaded: refused"));
  EXPECT_THAT(HookTable(agent, false), HasSubstr("not attached: no feature"));
  EXPECT_THAT(HookTable(agent, false, "would not be seen"), HasSubstr("would not be seen: no feature"));
  EXPECT_EQ(UnseenList(agent), "  gpu.open: io_uring\n");
  EXPECT_EQ(nlohmann::json::parse(ToJson(agent))["domains"][0]["name"], "gpu");
  agent.add_domains()->set_name("net");
  agent.mutable_domains(1)->set_error("refused");
  EXPECT_THAT(HookTable(agent, false), HasSubstr("\ndomain gpu, net are not loaded: refused\n"));
  agent.mutable_domains(1)->set_error("otherwise");
  EXPECT_THAT(HookTable(agent, false), HasSubstr("\ndomain gpu is not loaded: refused\ndomain net is not loaded: otherwise\n"));
}

TEST(CliDoctor, ReadsTheHostsFiles) {
  std::string root = testing::TempDir() + "/moat-host-XXXXXX";
  ASSERT_NE(mkdtemp(root.data()), nullptr);
  auto write = [&](const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root + path).parent_path());
    std::ofstream(root + path) << text;
  };
  auto fact = [&](const std::string& name) {
    for (const HostFact& one : HostFacts(root)) {
      if (one.name == name) {
        return one;
      }
    }
    ADD_FAILURE() << name;
    return HostFact{};
  };
  EXPECT_EQ(fact("kernel BTF").verdict, HostFact::Verdict::kBad);
  EXPECT_EQ(fact("cgroup2").verdict, HostFact::Verdict::kBad);
  EXPECT_EQ(fact("capabilities").verdict, HostFact::Verdict::kBad);
  EXPECT_EQ(fact("bpf LSM").verdict, HostFact::Verdict::kLess);
  write("/sys/kernel/btf/vmlinux", "x");
  write(
      "/proc/self/mountinfo",
      "30 20 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw\n");
  write("/proc/self/status", "Name:\tx\nCapEff:\t000001ffffffffff\n");
  write("/sys/kernel/security/lsm", "lockdown,capability,bpf\n");
  write("/proc/sys/net/core/bpf_jit_enable", "0\n");
  EXPECT_EQ(fact("kernel BTF").verdict, HostFact::Verdict::kGood);
  EXPECT_EQ(fact("cgroup2").value, "/sys/fs/cgroup/unified");
  EXPECT_EQ(fact("capabilities").verdict, HostFact::Verdict::kGood);
  EXPECT_EQ(fact("bpf LSM").verdict, HostFact::Verdict::kGood);
  EXPECT_EQ(fact("BPF JIT").verdict, HostFact::Verdict::kLess);
  write("/sys/kernel/security/lsm", "lockdown,nobpf\n");
  EXPECT_EQ(fact("bpf LSM").verdict, HostFact::Verdict::kLess);
  write("/proc/self/status", "CapEff:\t0000000000000000\n");
  EXPECT_THAT(fact("capabilities").value, HasSubstr("CAP_BPF"));
  std::filesystem::remove_all(root);
}

std::string Shell(const std::string& command, int* code) {
  std::string text;
  FILE* pipe = popen(command.c_str(), "r");
  for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) {
    text += static_cast<char>(c);
  }
  *code = WEXITSTATUS(pclose(pipe));
  return text;
}

// Bash itself reads the script and completes.
TEST(CliCompletion, BashCompletesCommandsOptionsAndValues) {
  std::vector<CommandWords> commands{
      {"", "", {{"--address", "the agent's socket", true}}},
      {"watch", "live events", {{"--kind", "only [this] kind: it's", true}, {"--count", "n", true}}},
      {"completion", "a script", {}}};
  std::string script = testing::TempDir() + "/moat-completion-" + std::to_string(getpid());
  std::ofstream(script) << Completion("bash", commands);
  auto complete = [&](const std::string& words, int at) {
    int code = 0;
    std::string text = Shell("bash -c '. " + script + "; COMP_WORDS=(" + words + "); COMP_CWORD=" + std::to_string(at) +
                                 "; _moatctl; echo \"${COMPREPLY[@]}\"'",
                             &code);
    EXPECT_EQ(code, 0);
    return text;
  };
  EXPECT_EQ(complete("moatctl wa", 1), "watch\n");
  EXPECT_EQ(complete("moatctl watch --c", 2), "--count\n");
  EXPECT_EQ(complete("moatctl watch --kind file_t", 3), "file_tamper\n");
  EXPECT_EQ(complete("moatctl completion z", 2), "zsh\n");
  std::filesystem::remove(script);
  EXPECT_THAT(Completion("zsh", commands), HasSubstr("'*--kind[only \\[this\\] kind\\: it'\\''s]:value:(process file"));
  EXPECT_THAT(Completion("fish", commands), HasSubstr("-l kind -d 'only [this] kind: it'\\''s' -x -a 'process file"));
}

}  // namespace
}  // namespace moat::cli
