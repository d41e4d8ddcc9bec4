// SPDX-License-Identifier: Apache-2.0
// Records of files, devices and sockets into events: every field, every refusal.
#include <sys/socket.h>

#include <bit>

#include "bpf/abi/access.h"
#include "bpf/abi/file.h"
#include "bpf/abi/gpu.h"
#include "bpf/abi/login.h"
#include "bpf/abi/net.h"
#include "bpf/abi/privilege.h"
#include "tests/unit/decode_records.h"

namespace moat::decode {
namespace {

TEST(Decode, FileOpen) {
  auto record = Make<moat_file_open>(MOAT_KIND_FILE_OPEN);
  record.inode = 1;
  record.bytes = 2;
  record.dev = 3;
  record.asset = 63;
  record.open_flags = 5;
  record.fd = 6;
  std::strcpy(record.name, "model.gguf");
  auto body = Good<event::FileOpen>(record);
  EXPECT_EQ(body.inode, 1u);
  EXPECT_EQ(body.size, 2u);
  EXPECT_EQ(body.dev, 3u);
  EXPECT_EQ(body.asset, 63u);
  EXPECT_EQ(body.open_flags, 5u);
  EXPECT_EQ(body.fd, 6);
  EXPECT_EQ(body.name.view(), "model.gguf");
}

TEST(Decode, FileMap) {
  auto record = Make<moat_file_map>(MOAT_KIND_FILE_MAP);
  record.inode = 1;
  record.length = 2;
  record.offset = 3;
  record.dev = 4;
  record.asset = 5;
  record.prot = 6;
  record.map_flags = 7;
  std::strcpy(record.name, "m");
  auto body = Good<event::FileMap>(record);
  EXPECT_EQ(body.inode, 1u);
  EXPECT_EQ(body.length, 2u);
  EXPECT_EQ(body.offset, 3u);
  EXPECT_EQ(body.dev, 4u);
  EXPECT_EQ(body.asset, 5u);
  EXPECT_EQ(body.prot, 6u);
  EXPECT_EQ(body.map_flags, 7u);
  EXPECT_EQ(body.name.view(), "m");
}

TEST(Decode, FileTamper) {
  auto record = Make<moat_file_tamper>(MOAT_KIND_FILE_TAMPER);
  record.inode = 1;
  record.bytes = 2;
  record.dev = 3;
  record.asset = 4;
  record.fd = 6;
  std::strcpy(record.name, "t");
  for (uint32_t op = MOAT_TAMPER_WRITE; op <= MOAT_TAMPER_REPLACE; ++op) {
    record.op = op;
    auto body = Good<event::FileTamper>(record);
    EXPECT_EQ(body.inode, 1u);
    EXPECT_EQ(body.bytes, 2u);
    EXPECT_EQ(body.dev, 3u);
    EXPECT_EQ(body.asset, 4u);
    EXPECT_EQ(body.fd, 6);
    EXPECT_EQ(static_cast<uint32_t>(body.op), op);
    EXPECT_EQ(body.name.view(), "t");
  }
  for (uint32_t op : {0u, 8u, 256u + 1, 0xffffffffu}) {
    record.op = op;
    EXPECT_EQ(DecodeOf(record), Outcome::kValue);
  }
}

TEST(Decode, FileIo) {
  auto record = Make<moat_file_io>(MOAT_KIND_FILE_IO);
  record.sum = {.bytes_read = 1, .reads = 2, .bytes_written = 3, .writes = 4, .last_ns = 5, .cgroup_id = 6};
  record.asset = 7;
  record.last = 1;
  auto body = Good<event::FileIo>(record);
  EXPECT_EQ(body.asset, 7u);
  EXPECT_TRUE(body.last);
  EXPECT_EQ(body.bytes_read, 1u);
  EXPECT_EQ(body.reads, 2u);
  EXPECT_EQ(body.bytes_written, 3u);
  EXPECT_EQ(body.writes, 4u);
}

// Consumers index by asset: nothing but an asset's number or "none" comes through.
TEST(Decode, AssetNumbers) {
  auto check = [](auto record) {
    for (auto [asset, want] : {std::pair{0u, Outcome::kOk},
                               {63u, Outcome::kOk},
                               {64u, Outcome::kValue},
                               {0xfffffffeu, Outcome::kValue},
                               {MOAT_NO_ASSET, Outcome::kOk}}) {
      record.asset = asset;
      EXPECT_EQ(DecodeOf(record), want) << asset;
    }
  };
  check(Make<moat_file_open>(MOAT_KIND_FILE_OPEN));
  check(Make<moat_file_map>(MOAT_KIND_FILE_MAP));
  auto tamper = Make<moat_file_tamper>(MOAT_KIND_FILE_TAMPER);
  tamper.op = MOAT_TAMPER_WRITE;
  check(tamper);
  check(Make<moat_file_io>(MOAT_KIND_FILE_IO));
}

TEST(Decode, GpuOpen) {
  auto record = Make<moat_gpu_open>(MOAT_KIND_GPU_OPEN);
  record.rdev = 195u << 20 | 255;
  record.class_id = MOAT_GPU_NVIDIA;
  record.open_flags = 2;
  record.fd = 3;
  auto body = Good<event::GpuOpen>(record);
  EXPECT_EQ(body.rdev, 195u << 20 | 255);
  EXPECT_EQ(body.device_class, event::GpuClass::kNvidia);
  EXPECT_EQ(body.open_flags, 2u);
  EXPECT_EQ(body.fd, 3u);
  EXPECT_EQ(body.categories, 0u);
  record.categories = MOAT_GPU_RAW_ACCESS;
  record.class_id = MOAT_GPU_VFIO;
  body = Good<event::GpuOpen>(record);
  EXPECT_STREQ(event::GpuCategoryName(static_cast<size_t>(std::countr_zero(body.categories))), "raw-access");
  EXPECT_EQ(body.device_class, event::GpuClass::kVfio);
  record.class_id = MOAT_GPU_CLASSES;
  EXPECT_EQ(DecodeOf(record), Outcome::kValue);
}

TEST(Decode, ProcessAccess) {
  auto record = Make<moat_access>(MOAT_KIND_PROCESS_ACCESS);
  record.result = -1;
  record.count = 4;
  record.target_start_ns = 5;
  record.target_labels = 6;
  record.target_pid = 7;
  record.target_uid = 8;
  record.operation = MOAT_ACCESS_REGISTERS;
  record.request = 13;
  std::strcpy(record.target_comm, "vllm");
  const auto body = Good<event::ProcessAccess>(record);
  EXPECT_EQ(body.target, (event::ProcessKey{7, 5}));
  EXPECT_EQ(body.result, -1);
  EXPECT_EQ(body.count, 4u);
  EXPECT_EQ(body.target_labels, 6u);
  EXPECT_EQ(body.target_uid, 8u);
  EXPECT_EQ(body.request, 13u);
  EXPECT_STREQ(event::AccessOpName(body.op), "registers");
  EXPECT_EQ(body.target_comm.view(), "vllm");
  for (const uint32_t op : {0u, uint32_t{MOAT_ACCESS_COUNT}, 0xffffffffu}) {
    record.operation = op;
    EXPECT_EQ(DecodeOf(record), Outcome::kValue);
  }
}

TEST(Decode, Privilege) {
  auto record = Make<moat_privilege>(MOAT_KIND_PRIVILEGE);
  record.result = -1;
  record.flags = 4096;
  record.inode = 5;
  record.mount_ns = 6;
  record.pid_ns = 7;
  record.net_ns = 8;
  record.user_ns = 9;
  record.operation = MOAT_PRIVILEGE_MOUNT;
  std::strcpy(record.target, "/mnt");
  std::strcpy(record.source, "/dev/sda");
  std::memset(record.type, 'x', sizeof(record.type));  // no end
  const auto body = Good<event::Privilege>(record);
  EXPECT_EQ(body.result, -1);
  EXPECT_EQ(body.flags, 4096u);
  EXPECT_EQ(body.inode, 5u);
  EXPECT_EQ(body.mount_ns, 6u);
  EXPECT_EQ(body.pid_ns, 7u);
  EXPECT_EQ(body.net_ns, 8u);
  EXPECT_EQ(body.user_ns, 9u);
  EXPECT_STREQ(event::PrivilegeOpName(body.op), "mount");
  EXPECT_EQ(body.target.view(), "/mnt");
  EXPECT_EQ(body.source.view(), "/dev/sda");
  EXPECT_EQ(body.type.view(), std::string(15, 'x'));
  for (const uint32_t op : {0u, uint32_t{MOAT_PRIVILEGE_COUNT}, 0xffffffffu}) {
    record.operation = op;
    EXPECT_EQ(DecodeOf(record), Outcome::kValue);
  }
}

TEST(Decode, Login) {
  auto record = Make<moat_login>(MOAT_KIND_LOGIN);
  record.step = MOAT_LOGIN_AUTHENTICATE;
  record.result = 7;
  std::strcpy(record.service, "sshd");
  std::strcpy(record.user, "root");
  std::strcpy(record.remote, "203.0.113.9");
  std::strcpy(record.by, "eve");
  std::strcpy(record.terminal, "ssh");
  const auto body = Good<event::Login>(record);
  EXPECT_STREQ(event::LoginStepName(body.step), "authenticate");
  EXPECT_STREQ(event::PamResultName(body.result), "auth_err");
  EXPECT_EQ(body.service.view(), "sshd");
  EXPECT_EQ(body.user.view(), "root");
  EXPECT_EQ(body.remote.view(), "203.0.113.9");
  EXPECT_EQ(body.by.view(), "eve");
  EXPECT_EQ(body.terminal.view(), "ssh");
  EXPECT_STREQ(event::PamResultName(-1), "other");
  EXPECT_STREQ(event::PamResultName(32), "other");
  for (const uint32_t step : {0u, uint32_t{MOAT_LOGIN_COUNT}, 0xffffffffu}) {
    record.step = step;
    EXPECT_EQ(DecodeOf(record), Outcome::kValue);
  }
}

moat_dns Question(std::string_view wire) {
  auto record = Make<moat_dns>(MOAT_KIND_NET_DNS);
  record.cookie = 9;
  record.ep.family = AF_INET;
  record.ep.protocol = 17;
  record.ep.remote_port = 53;
  record.id = 0x4242;
  record.payload = 33;
  record.questions = 1;
  record.question_len = static_cast<uint16_t>(wire.size());
  std::memcpy(record.question, wire.data(), wire.size());
  return record;
}

event::Event DecodedQuestion(const std::string& wire) {
  event::Event out;
  EXPECT_EQ(DecodeOf(Question(wire), out), Outcome::kOk);
  return out;
}

TEST(Decode, Dns) {
  using namespace std::string_literals;
  const auto body = Good<event::Dns>(Question("\3www\7example\3com\0\0\x10\0\1"s));
  EXPECT_EQ(body.cookie, 9u);
  EXPECT_EQ(body.ep.remote.port, 53);
  EXPECT_EQ(body.id, 0x4242);
  EXPECT_EQ(body.payload, 33u);
  EXPECT_EQ(body.type, 16);
  EXPECT_EQ(body.name.view(), "www.example.com");
  EXPECT_EQ(event::DnsTypeName(16), "TXT");
  EXPECT_EQ(event::DnsTypeName(65280), "TYPE65280");
  EXPECT_EQ(Good<event::Dns>(Question("\0\0\2\0\1"s)).name.view(), "") << "the root's";
  // A dot within a label is no border, and a 0 ends nothing.
  EXPECT_EQ(Good<event::Dns>(Question("\4a.b\0\2\xff\n\0\0\1\0\1"s)).name.view(), "a?b?.\xff\n");
  // The longest: 63 + 63 + 63 + 61 and their lengths are 255.
  std::string longest;
  for (const size_t length : {63, 63, 63, 61}) {
    longest += static_cast<char>(length) + std::string(length, 'x');
  }
  const event::Event whole = DecodedQuestion(longest + "\0\0\1\0\1"s);
  EXPECT_EQ(std::get<event::Dns>(whole.body).name.length, 253);
  EXPECT_EQ(std::get<event::Dns>(whole.body).type, 1);
  EXPECT_EQ(whole.header.flags & event::kFlagTruncated, 0u);
}

TEST(Decode, DnsThatIsNone) {
  using namespace std::string_literals;
  for (const auto& [wire, name] :
       std::vector<std::pair<std::string, std::string>>{{"", ""},
                                                        {"\3www\7exam"s, "www.exam"},                 // ends within a label
                                                        {"\3www\3com"s, "www.com"},                   // before the root
                                                        {"\3www\xc0\x0c\0\1\0\1"s, "www"},          // a pointer
                                                        {"\3www\x40"s + std::string(64, 'x'), "www"},  // too long a label
                                                        {"\3www\0\0"s, "www"},                       // half a type
                                                        {std::string(264, '\1'), ""}}) {
    const event::Event event = DecodedQuestion(wire);
    EXPECT_NE(event.header.flags & event::kFlagTruncated, 0u) << wire;
    EXPECT_EQ(std::get<event::Dns>(event.body).type, 0);
    if (wire.size() < 264) {
      EXPECT_EQ(std::get<event::Dns>(event.body).name.view(), name);
    } else {
      EXPECT_EQ(std::get<event::Dns>(event.body).name.length, 253);
    }
  }
  auto record = Question("\0\0\1\0\1"s);
  record.question_len = MOAT_DNS_QUESTION_LEN + 1;
  EXPECT_EQ(DecodeOf(record), Outcome::kLength);
  record.question_len = 5;
  record.ep.family = 99;
  EXPECT_EQ(DecodeOf(record), Outcome::kValue);
}

TEST(Decode, GpuMap) {
  auto record = Make<moat_gpu_map>(MOAT_KIND_GPU_MAP);
  record.length = 16 << 20;
  record.resource = 1;
  record.pci_class = 0x030200;
  record.vendor = 0x10de;
  record.product = 0x2335;
  record.prot = 3;
  record.categories = MOAT_GPU_RAW_ACCESS;
  std::strcpy(record.device, "0000:81:00.0");
  auto body = Good<event::GpuMap>(record);
  EXPECT_EQ(body.length, 16u << 20);
  EXPECT_EQ(body.resource, 1u);
  EXPECT_EQ(body.pci_class, 0x030200u);
  EXPECT_EQ(body.vendor, 0x10deu);
  EXPECT_EQ(body.product, 0x2335u);
  EXPECT_EQ(body.prot, 3u);
  EXPECT_EQ(body.categories, MOAT_GPU_RAW_ACCESS);
  EXPECT_EQ(body.device.view(), "0000:81:00.0");
}

TEST(Decode, GpuIoctl) {
  auto record = Make<moat_gpu_ioctl>(MOAT_KIND_GPU_IOCTL);
  record.arg = 0xdeadbeef;
  record.result = -22;
  record.count = 9;
  record.rdev = 1;
  record.class_id = MOAT_GPU_OTHER;
  record.cmd = 0xc020462a;
  record.size = 32;
  record.why = MOAT_IOCTL_WATCHED;
  record.params_len = MOAT_GPU_PARAMS_LEN;
  for (int i = 0; i < MOAT_GPU_PARAMS_LEN; ++i) {
    record.params[i] = static_cast<uint8_t>(i + 1);
  }
  auto body = Good<event::GpuCall>(record);
  EXPECT_EQ(body.arg, 0xdeadbeefu);
  EXPECT_EQ(body.result, -22);
  EXPECT_EQ(body.count, 9u);
  EXPECT_EQ(body.rdev, 1u);
  EXPECT_EQ(body.device_class, event::GpuClass::kOther);
  EXPECT_EQ(body.cmd, 0xc020462au);
  EXPECT_EQ(body.size, 32u);
  EXPECT_FALSE(body.first);
  EXPECT_TRUE(body.watched);
  EXPECT_EQ(body.params_len, 64u);
  EXPECT_EQ(body.params[0], 1);
  EXPECT_EQ(body.params[63], 64);
  record.why = MOAT_IOCTL_FIRST;
  record.params_len = 0;
  body = Good<event::GpuCall>(record);
  EXPECT_TRUE(body.first);
  EXPECT_FALSE(body.watched);
  EXPECT_EQ(body.params_len, 0);
  record.params_len = MOAT_GPU_PARAMS_LEN + 1;
  EXPECT_EQ(DecodeOf(record), Outcome::kLength);
  record.params_len = 256;  // 0 in eight bits
  EXPECT_EQ(DecodeOf(record), Outcome::kLength);
  record.params_len = 0;
  record.nested_len = MOAT_GPU_NESTED_LEN + 1;
  EXPECT_EQ(DecodeOf(record), Outcome::kLength);
  record.nested_len = 0;
  record.class_id = MOAT_GPU_CLASSES;
  EXPECT_EQ(DecodeOf(record), Outcome::kValue);
  record.class_id = MOAT_GPU_DRM | MOAT_GPU_DRIVER_COUNT << 8;
  EXPECT_EQ(DecodeOf(record), Outcome::kValue);
}

moat_endpoints MakeEndpoints() {
  moat_endpoints ep{};
  ep.local[0] = 127;
  ep.local[3] = 1;
  ep.remote[0] = 10;
  ep.remote[15] = 9;
  ep.local_port = 50000;
  ep.remote_port = 443;
  ep.family = AF_INET;
  ep.protocol = 262;
  return ep;
}

void CheckEndpoints(const event::Endpoints& ep) {
  EXPECT_EQ(ep.local.bytes[0], 127);
  EXPECT_EQ(ep.local.bytes[3], 1);
  EXPECT_EQ(ep.remote.bytes[0], 10);
  EXPECT_EQ(ep.remote.bytes[15], 9);
  EXPECT_EQ(ep.local.port, 50000);
  EXPECT_EQ(ep.remote.port, 443);
  EXPECT_EQ(ep.protocol, 262);
}

TEST(Decode, Net) {
  for (int kind : {MOAT_KIND_NET_CONNECT, MOAT_KIND_NET_SEND, MOAT_KIND_NET_LISTEN, MOAT_KIND_NET_ACCEPT}) {
    auto record = Make<moat_net_event>(kind);
    record.cookie = 1;
    record.ep = MakeEndpoints();
    auto body = Good<event::Net>(record);
    EXPECT_EQ(body.cookie, 1u);
    CheckEndpoints(body.ep);
    EXPECT_FALSE(body.ep.ipv6);
    EXPECT_FALSE(body.ep.mapped);
    record.net_flags = MOAT_NET_MAPPED;
    EXPECT_TRUE(Good<event::Net>(record).ep.mapped);
    record.ep.family = AF_INET6;
    EXPECT_TRUE(Good<event::Net>(record).ep.ipv6);
    for (int family : {AF_UNSPEC, AF_UNIX, AF_NETLINK, 0xffff}) {
      record.ep.family = static_cast<uint16_t>(family);
      EXPECT_EQ(DecodeOf(record), Outcome::kValue);
    }
    for (int family : {AF_PACKET, AF_VSOCK}) {
      record.ep.family = static_cast<uint16_t>(family);
      EXPECT_EQ(Good<event::Net>(record).ep.other_family, family);
    }
  }
}

TEST(Decode, NetTotalsBelongToTheOwner) {
  for (int kind : {MOAT_KIND_NET_CLOSE, MOAT_KIND_NET_FLOW}) {
    auto record = Make<moat_net_close>(kind);
    record.hdr.flags = MOAT_F_NO_OWNER | MOAT_F_LABEL_LOST;
    record.hdr.pid = record.hdr.tid = 0;
    record.hdr.start_ns = 0;
    record.cookie = 1;
    record.flow.start_ns = 2;
    record.flow.cgroup_id = 3;
    record.flow.opened_ns = 4;
    record.flow.last_ns = 5;
    record.flow.bytes_out = 6;
    record.flow.bytes_in = 7;
    record.flow.sends = 8;
    record.flow.receives = 9;
    record.flow.labels = 10;
    record.flow.pid = 11;
    record.flow.uid = 12;
    record.flow.net_flags = MOAT_NET_PASSIVE;
    record.flow.ep = MakeEndpoints();
    std::strcpy(record.flow.comm, "curl");
    event::Event out;
    ASSERT_EQ(DecodeOf(record, out), Outcome::kOk);
    const auto& body = std::get<event::NetTotals>(out.body);
    EXPECT_EQ(body.cookie, 1u);
    CheckEndpoints(body.ep);
    EXPECT_EQ(body.opened_ns, 4u);
    EXPECT_EQ(body.bytes_out, 6u);
    EXPECT_EQ(body.bytes_in, 7u);
    EXPECT_EQ(body.sends, 8u);
    EXPECT_EQ(body.receives, 9u);
    EXPECT_FALSE(body.established);
    EXPECT_TRUE(body.passive);
    EXPECT_FALSE(body.shared);
    EXPECT_EQ(out.header.process, (event::ProcessKey{11, 2}));
    EXPECT_EQ(out.header.flags, event::kFlagLabelLost);
    EXPECT_EQ(out.header.uid, 12u);
    EXPECT_EQ(out.header.cgroup_id, 3u);
    EXPECT_EQ(out.header.labels, 10u);
    EXPECT_EQ(out.header.comm.view(), "curl");

    record.flow.net_flags = MOAT_NET_ESTABLISHED | MOAT_NET_SHARED;
    record.hdr.pid = 11;
    record.hdr.tid = 13;
    record.hdr.start_ns = 2;
    ASSERT_EQ(DecodeOf(record, out), Outcome::kOk);
    EXPECT_TRUE(body.established);
    EXPECT_FALSE(body.passive);
    EXPECT_TRUE(body.shared);
    EXPECT_EQ(out.header.tid, 13u);

    // A flow without an owner leaves the header as it is.
    record.flow.pid = 0;
    record.hdr.labels = 1;
    ASSERT_EQ(DecodeOf(record, out), Outcome::kOk);
    EXPECT_EQ(out.header.process, (event::ProcessKey{11, 2}));
    EXPECT_EQ(out.header.flags, event::kFlagNoOwner | event::kFlagLabelLost);
    EXPECT_EQ(out.header.labels, 1u);
    EXPECT_EQ(out.header.comm.view(), "python3");
  }
}

}  // namespace
}  // namespace moat::decode
