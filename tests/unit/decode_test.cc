// SPDX-License-Identifier: Apache-2.0
// Records into events: the header, process life, and what is refused. (The other domains: decode_domains_test.cc.)
#include <gmock/gmock.h>

#include <vector>

#include "bpf/abi/file.h"
#include "bpf/abi/process.h"
#include "tests/unit/decode_records.h"

namespace moat::decode {
namespace {

using event::Kind;
using testing::ElementsAre;

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

TEST(Decode, WhatIsSaidOfStreamsAndEnvironmentOfAnImage) {
  auto record = MakeExec();
  record.exec_flags = MOAT_EXEC_STDIO_SOCKET | MOAT_EXEC_STDIO_INET | MOAT_EXEC_TTY | MOAT_EXEC_PRELOAD | MOAT_EXEC_ENV_TRUNCATED;
  EXPECT_EQ(Image(record)->exec_flags,
            event::kExecStdioSocket | event::kExecStdioInet | event::kExecTty | event::kExecPreload | event::kExecEnvTruncated);
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
  for (int kind : {0, 12, 19, int{MOAT_KIND_FINDING}, int{MOAT_KIND_GAP}, 32, 33, 0xffff}) {
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
