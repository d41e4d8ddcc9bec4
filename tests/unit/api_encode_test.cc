// SPDX-License-Identifier: Apache-2.0
// What the encoder writes, read back by the generated classes: every field of every body.
#include "agent/api/encode.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "moat/v1/services.pb.h"
#include "tests/unit/api_events.h"

namespace moat::api {
namespace {

using event::Kind;
using test::MakeEvent;
using test::MakeProcess;

v1::WatchResponse Parse(std::string_view bytes) {
  v1::WatchResponse response;
  EXPECT_TRUE(response.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
  EXPECT_EQ(response.ByteSizeLong(), bytes.size()) << "canonical: no padding, no default values";
  return response;
}

v1::WatchResponse Encode(const event::Event& event) {
  Encoder encoder;
  auto names = test::MakeNames();
  encoder.BeginMessage();
  EXPECT_TRUE(encoder.Add(event, names.get()));
  return Parse(encoder.EndMessage(0, "", false));
}

// The event's body is this text, and the text leaves no field of it out: a new field fails until it is encoded and tested.
void ExpectBody(Kind kind, event::Body body, const std::string& text) {
  v1::WatchResponse response = Encode(MakeEvent(kind, std::move(body), MakeProcess(7)));
  ASSERT_EQ(response.events_size(), 1);
  const v1::Event& event = response.events(0);
  EXPECT_EQ(int{event.kind()}, static_cast<int>(kind));
  v1::Event expected;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &expected)) << text;
  ASSERT_EQ(event.body_case(), expected.body_case());
  const auto* field = v1::Event::descriptor()->FindFieldByNumber(event.body_case());
  const auto& got = event.GetReflection()->GetMessage(event, field);
  const auto& want = expected.GetReflection()->GetMessage(expected, field);
  std::string difference;
  google::protobuf::util::MessageDifferencer differencer;
  differencer.ReportDifferencesToString(&difference);
  EXPECT_TRUE(differencer.Compare(want, got)) << field->name() << ": " << difference;
  std::vector<const google::protobuf::FieldDescriptor*> set;
  got.GetReflection()->ListFields(got, &set);
  EXPECT_EQ(static_cast<int>(set.size()), got.GetDescriptor()->field_count())
      << "a field of " << field->name() << " is not encoded";
}

template <typename File>
File MakeFile() {
  File file;
  file.asset = 0;
  file.inode = 77;
  file.dev = 8;
  test::Put(&file.name, "model.gguf");
  return file;
}
const std::string kFileText = R"(asset: "llama" path: "/models/llama/model.gguf" name: "model.gguf" inode: 77 dev: 8 )";

TEST(ApiEncode, ProcessBodies) {
  ExpectBody(Kind::kFork, event::Fork{{9, 5}}, "fork { child_pid: 9 child_start_ns: 5 }");
  ExpectBody(Kind::kExec, event::Exec{MakeProcess(7)}, R"(exec { exe: "/usr/bin/python3" args: "python3" args: "serve.py" })");
  ExpectBody(Kind::kExit, event::Exit{3, 11, true}, "exit { code: 3 signal: 11 core: true }");
}

TEST(ApiEncode, FileBodies) {
  auto open = MakeFile<event::FileOpen>();
  open.size = 1ull << 40;
  open.open_flags = 2;
  open.fd = 3;
  ExpectBody(Kind::kFileOpen, open, "file_open { " + kFileText + "size: 1099511627776 open_flags: 2 fd: 3 }");
  auto map = MakeFile<event::FileMap>();
  map.length = 4096;
  map.offset = 8192;
  map.prot = 1;
  map.map_flags = 2;
  ExpectBody(Kind::kFileMap, map, "file_map { " + kFileText + "length: 4096 offset: 8192 prot: 1 map_flags: 2 }");
  auto tamper = MakeFile<event::FileTamper>();
  tamper.op = event::TamperOp::kRename;
  tamper.bytes = 5;
  tamper.fd = 4;
  ExpectBody(Kind::kFileTamper, tamper, "file_tamper { " + kFileText + "op: TAMPER_OP_RENAME bytes: 5 fd: 4 }");
  ExpectBody(Kind::kFileIo, event::FileIo{1, true, 10, 2, 30, 4},
             R"(file_io { asset: "mistral" bytes_read: 10 reads: 2 bytes_written: 30 writes: 4 last: true })");
}

TEST(ApiEncode, AccessPrivilegeAndLoginBodies) {
  event::ProcessAccess access;
  access.target = {4711, 99};
  access.result = -1;
  access.count = 4;
  access.target_labels = 1 << 1;
  access.target_uid = 1000;
  access.request = 16;
  access.op = event::AccessOp::kAttach;
  test::Put(&access.target_comm, "vllm");
  ExpectBody(Kind::kProcessAccess, access,
             R"(process_access { op: ACCESS_OP_ATTACH result: -1 count: 4 target_pid: 4711 target_start_ns: 99 target_uid: 1000
                target_comm: "vllm" target_labels: "mistral" request: 16 })");
  event::Privilege privilege;
  privilege.result = -1;
  privilege.flags = 0x1000;
  privilege.inode = 5;
  privilege.mount_ns = 6;
  privilege.pid_ns = 7;
  privilege.net_ns = 8;
  privilege.user_ns = 9;
  privilege.op = event::PrivilegeOp::kMount;
  test::Put(&privilege.target, "/mnt");
  test::Put(&privilege.source, "/dev/sda");
  test::Put(&privilege.type, "ext4");
  ExpectBody(
      Kind::kPrivilege, privilege,
      R"(privilege { op: PRIVILEGE_OP_MOUNT result: -1 flags: 4096 target: "/mnt" source: "/dev/sda" fs_type: "ext4" inode: 5
                mount_ns: 6 pid_ns: 7 net_ns: 8 user_ns: 9 })");
  event::Login login;
  login.step = event::LoginStep::kAuthenticate;
  login.result = 7;
  test::Put(&login.service, "sshd");
  test::Put(&login.user, "root");
  test::Put(&login.remote, "203.0.113.9");
  test::Put(&login.by, "eve");
  test::Put(&login.terminal, "ssh");
  ExpectBody(Kind::kLogin, login,
             R"(login { step: LOGIN_STEP_AUTHENTICATE result: 7 result_name: "auth_err" service: "sshd" user: "root"
                remote: "203.0.113.9" by: "eve" terminal: "ssh" })");
}

TEST(ApiEncode, GpuBodies) {
  ExpectBody(Kind::kGpuOpen, event::GpuOpen{test::kCapRdev, 2, 5, 1 << 4, event::GpuClass::kNvidiaCaps},
             R"(gpu_open { device: "/dev/nvidia-caps/nvidia-cap1" device_class: "nvidia-caps" rdev: 249561089 open_flags: 2 fd: 5
                categories: "reconfigure" object: "mig/config" })");
  event::GpuMap map;
  map.length = 1 << 24;
  map.resource = 1;
  map.pci_class = 0x030200;
  map.vendor = 0x10de;
  map.product = 0x2335;
  map.prot = 3;
  map.categories = 1 << 6;
  test::Put(&map.device, "0000:81:00.0");
  ExpectBody(Kind::kGpuMap, map,
             R"(gpu_map { device: "0000:81:00.0" resource: 1 pci_class: 197120 vendor: 4318 product: 9013 length: 16777216 prot: 3
                categories: "raw-access" })");
  event::GpuCall call;
  call.rdev = test::kGpuRdev;
  call.device_class = event::GpuClass::kNvidia;
  call.cmd = 0xc020462a;
  call.size = 32;
  call.result = -22;
  call.count = 6;
  call.first = call.watched = true;
  call.arg = 0x7fff00000000;
  call.params_len = 3;
  call.params = {1, 0xff, 3};
  call.verb = "ALLOC";
  call.object = "debugger";
  call.name = "GT200_DEBUGGER";
  call.categories = 1 | 1 << 6;
  call.status_known = true;
  call.status = 0x1b;
  call.completeness = event::GpuCompleteness::kFull;
  call.location = event::GpuLocation::kDevice;
  call.target = {.pid = 4711, .start_ns = 9};
  call.driver_version = 580'159'004;
  call.nested_len = 1;
  call.number = 0x2a;
  call.wrapped = call.failed = call.unusual = call.copied = true;
  call.detail = 0x83de;
  call.bytes = 40;
  call.client = 0xc1d00001;
  call.handle = 0x5c000001;
  call.errors = 2;
  call.nested = {7};
  ExpectBody(Kind::kGpuIoctl, call,
             R"(gpu_call { device: "/dev/nvidia0" device_class: "nvidia" rdev: 204472320 command: 3223340586 size: 32 result: -22
                count: 6 first: true watched: true arg: 140733193388032 params: "\001\377\003" number: 42 wrapped: true
                detail: 33758 verb: "ALLOC"
                object: "debugger" name: "GT200_DEBUGGER" categories: "debug" categories: "raw-access" bytes: 40 location: "device"
                status_known: true status: 27 completeness: GPU_COMPLETENESS_FULL client: 3251634177 handle: 1543503873 target_pid: 4711 target_start_ns: 9 errors: 2 failed: true unusual: true
                driver_version: "580.159.4" nested: "\007" driver_copy: true })");
}

TEST(ApiEncode, NetBodies) {
  event::Endpoints ep{{{127, 0, 0, 1}, 40000}, {{10, 20, 0, 255}, 443}, false, true, 6};
  const std::string text =
      R"(endpoints { local_address: "127.0.0.1" local_port: 40000 remote_address: "10.20.0.255" remote_port: 443
                                          protocol: PROTOCOL_TCP mapped: true } cookie: 99 )";
  ExpectBody(Kind::kNetConnect, event::Net{99, ep}, "net { " + text + "}");
  ExpectBody(
      Kind::kNetClose, event::NetTotals{99, ep, 1, 2, 3, 4, 5, true, true, true},
      "net_totals { " + text +
          "bytes_out: 1 bytes_in: 2 sends: 3 receives: 4 opened_monotonic_ns: 5 established: true passive: true shared: true }");
  event::Dns dns{.cookie = 99, .ep = ep, .payload = 33, .id = 7, .type = 16, .name = {}};
  test::Put(&dns.name, "www.example.com");
  ExpectBody(Kind::kNetDns, dns,
             "dns { " + text + R"(name: "www.example.com" type: 16 type_name: "TXT" id: 7 payload_bytes: 33 })");
  ep.ipv6 = true;
  ep.remote.bytes = {0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  EXPECT_EQ(Encode(MakeEvent(Kind::kNetSend, event::Net{1, ep}, MakeProcess(7))).events(0).net().endpoints().remote_address(),
            "fd00::1");
}

TEST(ApiEncode, SocketsThatKnowNoInternetAddress) {
  event::Endpoints ep;
  const auto remote = [&ep] {
    return Encode(MakeEvent(Kind::kNetSend, event::Net{1, ep}, MakeProcess(7))).events(0).net().endpoints();
  };
  ep.other_family = AF_PACKET;
  ep.remote.bytes = {3, 0, 0, 0, 2, 0xab, 0, 0, 0, 5, 6, 7};
  EXPECT_EQ(remote().remote_address(), "interface:3");
  EXPECT_EQ(remote().protocol(), v1::PROTOCOL_PACKET);
  ep.remote.port = 6;  // bytes of the hardware address
  EXPECT_EQ(remote().remote_address(), "interface:3/02:ab:00:00:00:05");
  EXPECT_EQ(remote().remote_port(), 0u);
  ep.remote.port = 20;  // InfiniBand
  EXPECT_EQ(remote().remote_address(), "interface:3/02:ab:00:00:00:05:06:07:...");
  ep.other_family = AF_VSOCK;
  ep.remote.bytes = {0x39, 5, 0, 0, 2, 0, 0, 0};
  EXPECT_EQ(remote().remote_address(), "vsock:2");
  EXPECT_EQ(remote().remote_port(), 1337u);
}

TEST(ApiEncode, GapBody) {
  ExpectBody(Kind::kGap, event::Gap{Kind::kFileOpen, 3, 1000},
             "gap { lost_kind: KIND_FILE_OPEN reason: LOST_REASON_QUEUE_FULL count: 1000 }");
}

TEST(ApiEncode, Header) {
  auto event = MakeEvent(Kind::kExit, event::Exit{}, MakeProcess(7));
  event.header.seq = 300;
  event.header.time_ns = MonotonicNs();
  event.header.tid = 8;
  event.header.uid = 1000;
  event.header.labels = 0b1011;
  event.header.flags = event::kFlagTruncated | event::kFlagLabelLost;
  uint64_t before = WallNs();
  v1::WatchResponse response = Encode(event);
  const v1::Event& got = response.events(0);
  EXPECT_EQ(got.seq(), 300u);
  EXPECT_EQ(got.time_monotonic_ns(), event.header.time_ns);
  EXPECT_NEAR(static_cast<double>(got.time_unix_ns()), static_cast<double>(before), 1e9);
  EXPECT_EQ(got.pid(), 7u);
  EXPECT_EQ(got.tid(), 8u);
  EXPECT_EQ(got.uid(), 1000u);
  EXPECT_EQ(got.comm(), "python3");
  EXPECT_THAT(got.labels(), testing::ElementsAre("llama", "mistral", "#3")) << "an asset without a name keeps its number";
  EXPECT_THAT(got.flags(), testing::ElementsAre(v1::FLAG_TRUNCATED, v1::FLAG_LABEL_LOST));
  EXPECT_TRUE(got.has_exit()) << "a body with nothing but zeros is still there";
}

TEST(ApiEncode, EveryFieldOfAProcess) {
  auto process = std::make_shared<event::Process>(*MakeProcess(7));
  process->parent = {1, 2};
  process->uid = 3;
  process->euid = 4;
  process->gid = 5;
  process->cap_permitted = 6;
  process->cap_effective = 7;
  process->cgroup_id = 8;
  process->filename = "./serve";
  process->args = {"", "a"};
  process->exe_inode = 9;
  process->exe_dev = 10;
  process->exec_flags = 0xffff;
  process->from_scan = true;
  v1::WatchResponse response = Encode(MakeEvent(Kind::kExit, event::Exit{}, process));
  ASSERT_EQ(response.processes_size(), 1);
  v1::Process want;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(
      R"(pid: 7 start_ns: 1007 parent_pid: 1 parent_start_ns: 2 known: true from_scan: true uid: 3 euid: 4 gid: 5 cap_permitted: 6
         cap_effective: 7 cgroup_id: 8 cgroup: "/jobs/job1" exe: "/usr/bin/python3" filename: "./serve" args: "" args: "a" exe_inode: 9
         exe_dev: 10 exec_flags: EXEC_FLAG_MEMFD exec_flags: EXEC_FLAG_DELETED
         exec_flags: EXEC_FLAG_ARGS_TRUNCATED exec_flags: EXEC_FLAG_PATH_TRUNCATED exec_flags: EXEC_FLAG_ARGS_UNREADABLE
         exec_flags: EXEC_FLAG_SETUID exec_flags: EXEC_FLAG_STDIN_SOCKET exec_flags: EXEC_FLAG_STDOUT_SOCKET
         exec_flags: EXEC_FLAG_STDERR_SOCKET exec_flags: EXEC_FLAG_STDIO_INET exec_flags: EXEC_FLAG_TTY exec_flags: EXEC_FLAG_PRELOAD
         exec_flags: EXEC_FLAG_AUDIT exec_flags: EXEC_FLAG_LIBRARY_PATH exec_flags: EXEC_FLAG_ENV_TRUNCATED
         exec_flags: EXEC_FLAG_ENV_UNREADABLE)",
      &want));
  want.set_ref(response.events(0).process());
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(want, response.processes(0))) << response.DebugString();
  std::vector<const google::protobuf::FieldDescriptor*> set;
  want.GetReflection()->ListFields(want, &set);
  EXPECT_EQ(static_cast<int>(set.size()), v1::Process::descriptor()->field_count()) << "a new field of Process";
}

TEST(ApiEncode, HostileBytesBecomeUtf8) {
  auto process = std::make_shared<event::Process>(*MakeProcess(7));
  process->exe = "/tmp/\xff\xfe";
  auto event = MakeEvent(Kind::kExit, event::Exit{}, process);
  test::Put(&event.header.comm, "\xc3(");
  v1::WatchResponse response = Encode(event);
  EXPECT_EQ(response.processes(0).exe(), "/tmp/\uFFFD\uFFFD");
  EXPECT_EQ(response.events(0).comm(), "\uFFFD(");
}

TEST(ApiEncode, LongFieldsKeepTheirLength) {
  auto process = std::make_shared<event::Process>(*MakeProcess(7));
  process->args = {std::string(20000, 'a')};  // three bytes of length, where two were guessed
  auto response = Encode(MakeEvent(Kind::kExec, event::Exec{process}, process));
  EXPECT_EQ(response.processes(0).args(0).size(), 20000u);
  EXPECT_EQ(response.events(0).exec().args(0).size(), 20000u);
}

TEST(ApiEncode, AProcessIsSentOnceAndAgainAfterExec) {
  Encoder encoder;
  auto names = test::MakeNames();
  auto before = MakeProcess(7), after = MakeProcess(7);
  encoder.BeginMessage();
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(encoder.Add(MakeEvent(Kind::kExit, event::Exit{}, before), names.get()));
  }
  auto first = Parse(encoder.EndMessage(0, "", false));
  EXPECT_EQ(first.processes_size(), 1);
  EXPECT_EQ(first.events(0).process(), first.events(2).process());
  encoder.BeginMessage();
  EXPECT_TRUE(encoder.Add(MakeEvent(Kind::kExit, event::Exit{}, before), names.get()));
  EXPECT_TRUE(encoder.Add(MakeEvent(Kind::kExit, event::Exit{}, after), names.get()));
  auto second = Parse(encoder.EndMessage(0, "", false));
  ASSERT_EQ(second.processes_size(), 1) << "known already, but for the new image";
  EXPECT_EQ(second.processes(0).ref(), second.events(1).process());
  EXPECT_NE(second.events(0).process(), second.events(1).process());
}

TEST(ApiEncode, AnEventOfNobodyNamesNoProcess) {
  auto response = Encode(MakeEvent(Kind::kGap, event::Gap{Kind::kNone, 0, 1}, nullptr));
  EXPECT_EQ(response.processes_size(), 0);
  EXPECT_EQ(response.events(0).process(), 0u);
  auto unknown = MakeEvent(Kind::kExit, event::Exit{}, nullptr);
  unknown.header.process = {7, 8};
  response = Encode(unknown);
  ASSERT_EQ(response.processes_size(), 1);
  EXPECT_FALSE(response.processes(0).known());
  EXPECT_EQ(response.processes(0).start_ns(), 8u);
}

// A ref has one meaning within a message, and a table of refs that follows the rule in services.proto always finds the right one.
TEST(ApiEncode, RefsHoldForAnyNumberOfProcesses) {
  Encoder encoder;
  auto names = test::MakeNames();
  std::vector<std::shared_ptr<event::Process>> processes;
  for (uint32_t pid = 1; pid <= 20000; ++pid) {
    processes.push_back(MakeProcess(pid));
  }
  std::vector<std::pair<uint32_t, bool>> table(ProcessRefs::kRefs + 1);
  uint32_t random = 1;
  size_t next = 0, ended_early = 0;
  for (int message = 0; message < 200; ++message) {
    encoder.BeginMessage();
    std::vector<uint32_t> sent;
    for (int i = 0; i < 512; ++i) {
      random = random * 1664525 + 1013904223;
      next = random >> 8;
      const auto& process = processes[next % processes.size()];
      if (!encoder.Add(MakeEvent(Kind::kExit, event::Exit{}, process), names.get())) {
        ++ended_early;
        ASSERT_GT(encoder.events(), 0u);
        break;
      }
      sent.push_back(process->key.pid);
    }
    auto response = Parse(encoder.EndMessage(0, "", false));
    std::vector<bool> defined(table.size());
    for (const auto& process : response.processes()) {
      ASSERT_GE(process.ref(), 1u);
      ASSERT_LE(process.ref(), ProcessRefs::kRefs);
      ASSERT_FALSE(defined[process.ref()]) << "two meanings in one message";
      defined[process.ref()] = true;
      table[process.ref()] = {process.pid(), true};
    }
    ASSERT_EQ(static_cast<size_t>(response.events_size()), sent.size());
    for (size_t i = 0; i < sent.size(); ++i) {
      ASSERT_EQ(table[response.events(static_cast<int>(i)).process()].first, sent[i]);
    }
  }
  EXPECT_LT(ended_early, 20u) << "512 processes in 4096 places should hardly ever be short of one";
}

TEST(ApiEncode, MessageFields) {
  Encoder encoder;
  encoder.BeginMessage();
  auto response = Parse(encoder.EndMessage(5, "run-1", true));
  EXPECT_EQ(response.lost(), 5u);
  EXPECT_EQ(response.cursor(), "run-1");
  EXPECT_TRUE(response.agent_restarted());
}

}  // namespace
}  // namespace moat::api
