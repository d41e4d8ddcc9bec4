// SPDX-License-Identifier: Apache-2.0
// Records of the border, made by hand, into events: every field, every refusal.
#include "agent/decode/decode.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cstring>
#include <vector>

#include "bpf/abi/file.h"
#include "bpf/abi/gpu.h"
#include "bpf/abi/net.h"
#include "bpf/abi/process.h"

namespace moat::decode {
namespace {

using event::Kind;
using testing::ElementsAre;

template <typename T>
T Make(int kind) {
  T record;
  std::memset(&record, 0, sizeof(record));
  record.hdr.size = sizeof(T);
  record.hdr.version = MOAT_ABI_VERSION;
  record.hdr.kind = static_cast<uint16_t>(kind);
  record.hdr.flags = MOAT_F_UNREADABLE;
  record.hdr.uid = 1001;
  record.hdr.time_ns = 111;
  record.hdr.pid = 42;
  record.hdr.tid = 43;
  record.hdr.start_ns = 222;
  record.hdr.cgroup_id = 333;
  record.hdr.labels = 5;
  std::strcpy(record.hdr.comm, "python3");
  return record;
}

template <typename T>
std::span<const std::byte> Bytes(const T& record) {
  return std::as_bytes(std::span(&record, 1));
}

template <typename T>
Outcome DecodeOf(const T& record, event::Event& out) {
  return Decode(Bytes(record), out);
}

template <typename T>
Outcome DecodeOf(const T& record) {
  event::Event out;
  return Decode(Bytes(record), out);
}

// Decodes over an event that held another body and another header before: nothing of it may be left.
template <typename Body, typename T>
Body Good(const T& record) {
  event::Event out;
  out.header.seq = 99;
  out.header.info = std::make_shared<event::Process>();
  out.header.comm.length = 15;
  out.body = event::Gap{Kind::kExec, 1, 2};
  EXPECT_EQ(Decode(Bytes(record), out), Outcome::kOk);
  EXPECT_EQ(static_cast<int>(out.header.kind), record.hdr.kind);
  EXPECT_EQ(out.header.seq, 0u);
  EXPECT_EQ(out.header.info, nullptr);
  EXPECT_EQ(out.header.time_ns, 111u);
  const Body* body = std::get_if<Body>(&out.body);
  EXPECT_NE(body, nullptr);
  return body ? *body : Body{};
}

TEST(Decode, Header) {
  event::Event out;
  ASSERT_EQ(DecodeOf(Make<moat_exit>(MOAT_KIND_EXIT), out), Outcome::kOk);
  EXPECT_EQ(out.header.kind, Kind::kExit);
  EXPECT_EQ(out.header.flags, event::kFlagUnreadable);
  EXPECT_EQ(out.header.uid, 1001u);
  EXPECT_EQ(out.header.time_ns, 111u);
  EXPECT_EQ(out.header.process, (event::ProcessKey{42, 222}));
  EXPECT_EQ(out.header.tid, 43u);
  EXPECT_EQ(out.header.cgroup_id, 333u);
  EXPECT_EQ(out.header.labels, 5u);
  EXPECT_EQ(out.header.comm.view(), "python3");
}

TEST(Decode, StringWithoutEndIsCutAndFlagged) {
  auto record = Make<moat_file_open>(MOAT_KIND_FILE_OPEN);
  std::memset(record.name, 'n', sizeof(record.name));
  std::memset(record.hdr.comm, 'c', sizeof(record.hdr.comm));
  event::Event out;
  ASSERT_EQ(DecodeOf(record, out), Outcome::kOk);
  EXPECT_EQ(out.header.comm.view(), std::string(15, 'c'));
  EXPECT_EQ(std::get<event::FileOpen>(out.body).name.view(), std::string(127, 'n'));
  EXPECT_EQ(out.header.flags, event::kFlagUnreadable | event::kFlagTruncated);
  // One byte less is whole.
  record.name[127] = '\0';
  record.hdr.comm[15] = '\0';
  ASSERT_EQ(DecodeOf(record, out), Outcome::kOk);
  EXPECT_EQ(std::get<event::FileOpen>(out.body).name.view(), std::string(127, 'n'));
  EXPECT_EQ(out.header.flags, event::kFlagUnreadable);
}

TEST(Decode, Fork) {
  auto record = Make<moat_fork>(MOAT_KIND_FORK);
  record.child_pid = 77;
  record.child_start_ns = 888;
  EXPECT_EQ(Good<event::Fork>(record).child, (event::ProcessKey{77, 888}));
}

moat_exec MakeExec(int kind = MOAT_KIND_EXEC) {
  auto record = Make<moat_exec>(kind);
  record.parent_start_ns = 10;
  record.ppid = 11;
  record.inode = 12;
  record.dev = 13;
  record.cap_permitted = 14;
  record.cap_effective = 15;
  record.euid = 16;
  record.gid = 17;
  return record;
}

template <size_t N>
void SetPath(moat_exec& record, const char (&names)[N]) {
  std::memcpy(record.path, names, N);
  record.path_len = N;  // with the last NUL
}

template <size_t N>
void SetArgv(moat_exec& record, const char (&args)[N]) {
  std::memcpy(record.argv, args, N);
  record.argv_len = N;
}

std::shared_ptr<const event::Process> Image(const moat_exec& record) { return Good<event::Exec>(record).image; }

TEST(Decode, Exec) {
  auto record = MakeExec();
  record.exec_flags = MOAT_EXEC_SETUID | MOAT_EXEC_ARGV_TRUNCATED;
  std::strcpy(record.filename, "./python3");
  SetPath(record, "python3\0bin\0usr");
  SetArgv(record, "python3\0-c\0\0print()");
  auto image = Image(record);
  ASSERT_TRUE(image);
  EXPECT_EQ(image->key, (event::ProcessKey{42, 222}));
  EXPECT_EQ(image->parent, (event::ProcessKey{11, 10}));
  EXPECT_EQ(image->uid, 1001u);
  EXPECT_EQ(image->euid, 16u);
  EXPECT_EQ(image->gid, 17u);
  EXPECT_EQ(image->cap_permitted, 14u);
  EXPECT_EQ(image->cap_effective, 15u);
  EXPECT_EQ(image->cgroup_id, 333u);
  EXPECT_EQ(image->cgroup, "");
  EXPECT_EQ(image->exe, "/usr/bin/python3");
  EXPECT_EQ(image->filename, "./python3");
  EXPECT_THAT(image->args, ElementsAre("python3", "-c", "", "print()"));
  EXPECT_EQ(image->exe_inode, 12u);
  EXPECT_EQ(image->exe_dev, 13u);
  EXPECT_EQ(image->exec_flags, event::kExecSetuid | event::kExecArgvTruncated);
  EXPECT_FALSE(image->from_scan);
  EXPECT_TRUE(Image(MakeExec(MOAT_KIND_SCAN))->from_scan);
}

TEST(Decode, ExecPaths) {
  auto exe = [](auto&& names, uint32_t flags) {
    auto record = MakeExec();
    record.exec_flags = flags;
    SetPath(record, names);
    return Image(record)->exe;
  };
  EXPECT_EQ(exe("init", 0), "/init");
  EXPECT_EQ(exe("b\0/\0a\0/", 0), "/a/b");  // the roots of two mounts
  EXPECT_EQ(exe("b\0\0a", 0), "/a/b");
  EXPECT_EQ(exe("", 0), "");
  EXPECT_EQ(exe("memfd:x", MOAT_EXEC_MEMFD | MOAT_EXEC_DELETED), "/memfd:x (deleted)");
  EXPECT_EQ(exe("memfd:a/b", MOAT_EXEC_MEMFD), "/memfd:a/b (deleted)");
  EXPECT_EQ(exe("gone\0tmp", MOAT_EXEC_DELETED), "/tmp/gone");
  EXPECT_EQ(exe("c\0b", MOAT_EXEC_PATH_TRUNCATED), "b/c");  // never passes for absolute
  // Without the last NUL, and none at all.
  auto record = MakeExec();
  SetPath(record, "ls\0bin");
  record.path_len = 6;
  EXPECT_EQ(Image(record)->exe, "/bin/ls");
  record.path_len = 0;
  EXPECT_EQ(Image(record)->exe, "");
  std::memset(record.path, 'p', sizeof(record.path));
  record.path_len = sizeof(record.path);
  EXPECT_EQ(Image(record)->exe, "/" + std::string(MOAT_PATH_LEN, 'p'));
}

TEST(Decode, ExecArguments) {
  auto record = MakeExec();
  EXPECT_TRUE(Image(record)->args.empty());
  SetArgv(record, "");
  EXPECT_THAT(Image(record)->args, ElementsAre(""));
  SetArgv(record, "a\0b\0cut");
  record.argv_len = 7;  // cut inside the last
  EXPECT_THAT(Image(record)->args, ElementsAre("a", "b", "cut"));
  std::memset(record.argv, 0, sizeof(record.argv));
  record.argv_len = MOAT_ARGV_LEN;
  EXPECT_EQ(Image(record)->args.size(), size_t{MOAT_ARGV_LEN});
  std::memset(record.filename, 'f', sizeof(record.filename));
  EXPECT_EQ(Image(record)->filename, std::string(MOAT_FILENAME_LEN, 'f'));
}

TEST(Decode, ExecLengthsBeyondTheirArraysAreRefused) {
  auto record = MakeExec();
  record.argv_len = MOAT_ARGV_LEN + 1;
  EXPECT_EQ(DecodeOf(record), Outcome::kLength);
  record.argv_len = 0;
  record.path_len = MOAT_PATH_LEN + 1;
  EXPECT_EQ(DecodeOf(record), Outcome::kLength);
  record.path_len = 0xffff;
  EXPECT_EQ(DecodeOf(record), Outcome::kLength);
}

TEST(Decode, Exit) {
  auto record = Make<moat_exit>(MOAT_KIND_EXIT);
  record.code = 255;
  record.signal = 11;
  record.core = 1;
  auto body = Good<event::Exit>(record);
  EXPECT_EQ(body.code, 255u);
  EXPECT_EQ(body.signal, 11u);
  EXPECT_TRUE(body.core);
  record.code = 256;
  EXPECT_EQ(DecodeOf(record), Outcome::kValue);
  record.code = 0;
  record.signal = 128;
  EXPECT_EQ(DecodeOf(record), Outcome::kValue);
  record.signal = 0;
  record.core = 2;
  EXPECT_EQ(DecodeOf(record), Outcome::kValue);
}

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
  EXPECT_EQ(body.fd, 6u);
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
    EXPECT_EQ(body.fd, 6u);
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
    for (auto [asset, want] : {std::pair{0u, Outcome::kOk}, {63u, Outcome::kOk}, {64u, Outcome::kValue},
                               {0xfffffffeu, Outcome::kValue}, {MOAT_NO_ASSET, Outcome::kOk}}) {
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
  record.class_id = MOAT_GPU_OTHER + 1;
  EXPECT_EQ(DecodeOf(record), Outcome::kValue);
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
  record.params_len = 128;
  for (int i = 0; i < 128; ++i) {
    record.params[i] = static_cast<uint8_t>(i + 1);
  }
  auto body = Good<event::GpuIoctl>(record);
  EXPECT_EQ(body.arg, 0xdeadbeefu);
  EXPECT_EQ(body.result, -22);
  EXPECT_EQ(body.count, 9u);
  EXPECT_EQ(body.rdev, 1u);
  EXPECT_EQ(body.device_class, event::GpuClass::kOther);
  EXPECT_EQ(body.cmd, 0xc020462au);
  EXPECT_EQ(body.size, 32u);
  EXPECT_FALSE(body.first);
  EXPECT_TRUE(body.watched);
  EXPECT_EQ(body.params_len, 128u);
  EXPECT_EQ(body.params[0], 1);
  EXPECT_EQ(body.params[127], 128);
  record.why = MOAT_IOCTL_FIRST;
  record.params_len = 0;
  body = Good<event::GpuIoctl>(record);
  EXPECT_TRUE(body.first);
  EXPECT_FALSE(body.watched);
  EXPECT_EQ(body.params_len, 0);
  record.params_len = 129;
  EXPECT_EQ(DecodeOf(record), Outcome::kLength);
  record.params_len = 256;  // 0 in eight bits
  EXPECT_EQ(DecodeOf(record), Outcome::kLength);
  record.params_len = 0;
  record.class_id = 0x100;  // kNone in eight bits
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
    for (int family : {AF_UNSPEC, AF_UNIX, AF_VSOCK, 0xffff}) {
      record.ep.family = static_cast<uint16_t>(family);
      EXPECT_EQ(DecodeOf(record), Outcome::kValue);
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

TEST(Decode, RefusesWhatIsNoRecord) {
  auto record = Make<moat_fork>(MOAT_KIND_FORK);
  event::Event out;
  auto bytes = Bytes(record);
  EXPECT_EQ(Decode({}, out), Outcome::kShort);
  EXPECT_EQ(Decode(bytes.first(sizeof(moat_hdr) - 1), out), Outcome::kShort);
  EXPECT_EQ(Decode(bytes.first(sizeof(moat_hdr)), out), Outcome::kSize);
  EXPECT_EQ(Decode(bytes.first(bytes.size() - 1), out), Outcome::kSize);

  record.hdr.version = MOAT_ABI_VERSION + 1;
  EXPECT_EQ(DecodeOf(record), Outcome::kVersion);
  record.hdr.version = MOAT_ABI_VERSION;
  for (int kind : {0, 5, 7, 12, 23, int{MOAT_KIND_GAP}, 31, 32, 33, 0xffff}) {
    record.hdr.kind = static_cast<uint16_t>(kind);
    EXPECT_EQ(DecodeOf(record), Outcome::kKind) << kind;
    EXPECT_EQ(ClaimedKind(Bytes(record)), Kind::kNone);
  }
  record.hdr.kind = MOAT_KIND_EXIT;  // of the same size as fork, by chance: a kind is taken at its word
  static_assert(sizeof(moat_exit) == sizeof(moat_fork));
  EXPECT_EQ(DecodeOf(record), Outcome::kOk);
  record.hdr.kind = MOAT_KIND_EXEC;
  EXPECT_EQ(DecodeOf(record), Outcome::kSize);
  EXPECT_EQ(ClaimedKind(Bytes(record)), Kind::kExec);
  record.hdr.kind = MOAT_KIND_FORK;
  record.hdr.size = sizeof(record) + 8;
  EXPECT_EQ(DecodeOf(record), Outcome::kSize);
  // Right by its header, but longer than its struct.
  struct {
    moat_fork fork;
    uint64_t more;
  } longer{record, 0};
  longer.fork.hdr.size = sizeof(longer);
  EXPECT_EQ(DecodeOf(longer), Outcome::kSize);
  EXPECT_EQ(ClaimedKind(Bytes(record).first(8)), Kind::kNone);
}

// A ring's records are 8-byte aligned, a file's need not be.
TEST(Decode, AnyAlignment) {
  auto record = Make<moat_file_io>(MOAT_KIND_FILE_IO);
  record.sum.bytes_read = 77;
  std::vector<std::byte> buffer(sizeof(record) + 8);
  for (size_t shift = 0; shift < 8; ++shift) {
    std::memcpy(buffer.data() + shift, &record, sizeof(record));
    event::Event out;
    ASSERT_EQ(Decode({buffer.data() + shift, sizeof(record)}, out), Outcome::kOk);
    EXPECT_EQ(std::get<event::FileIo>(out.body).bytes_read, 77u);
  }
}

TEST(Decode, OutcomeNames) {
  EXPECT_STREQ(OutcomeName(Outcome::kOk), "ok");
  EXPECT_STREQ(OutcomeName(Outcome::kShort), "short");
  EXPECT_STREQ(OutcomeName(Outcome::kVersion), "version");
  EXPECT_STREQ(OutcomeName(Outcome::kKind), "kind");
  EXPECT_STREQ(OutcomeName(Outcome::kSize), "size");
  EXPECT_STREQ(OutcomeName(Outcome::kLength), "length");
  EXPECT_STREQ(OutcomeName(Outcome::kValue), "value");
}

}  // namespace
}  // namespace moat::decode
