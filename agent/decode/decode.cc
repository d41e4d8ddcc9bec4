// SPDX-License-Identifier: Apache-2.0
#include "agent/decode/decode.h"

#include "agent/decode/domain.h"
#include "bpf/abi/access.h"
#include "bpf/abi/event.h"
#include "bpf/abi/file.h"
#include "bpf/abi/gpu.h"
#include "bpf/abi/login.h"
#include "bpf/abi/net.h"
#include "bpf/abi/privilege.h"
#include "bpf/abi/process.h"
#include "bpf/abi/verdict.h"

namespace moat::decode {

namespace {

using event::Kind;

// The numbers of event.h are those of the border.
#define MOAT_SAME(a, b) static_assert(static_cast<unsigned>(a) == static_cast<unsigned>(b))
MOAT_SAME(Kind::kNone, MOAT_KIND_NONE);
MOAT_SAME(Kind::kFork, MOAT_KIND_FORK);
MOAT_SAME(Kind::kExec, MOAT_KIND_EXEC);
MOAT_SAME(Kind::kExit, MOAT_KIND_EXIT);
MOAT_SAME(Kind::kScan, MOAT_KIND_SCAN);
MOAT_SAME(Kind::kProcessAccess, MOAT_KIND_PROCESS_ACCESS);
MOAT_SAME(Kind::kPrivilege, MOAT_KIND_PRIVILEGE);
MOAT_SAME(Kind::kLogin, MOAT_KIND_LOGIN);
MOAT_SAME(Kind::kFileOpen, MOAT_KIND_FILE_OPEN);
MOAT_SAME(Kind::kFileMap, MOAT_KIND_FILE_MAP);
MOAT_SAME(Kind::kFileTamper, MOAT_KIND_FILE_TAMPER);
MOAT_SAME(Kind::kFileIo, MOAT_KIND_FILE_IO);
MOAT_SAME(Kind::kGpuOpen, MOAT_KIND_GPU_OPEN);
MOAT_SAME(Kind::kGpuIoctl, MOAT_KIND_GPU_IOCTL);
MOAT_SAME(Kind::kGpuMap, MOAT_KIND_GPU_MAP);
MOAT_SAME(Kind::kNetConnect, MOAT_KIND_NET_CONNECT);
MOAT_SAME(Kind::kNetSend, MOAT_KIND_NET_SEND);
MOAT_SAME(Kind::kNetListen, MOAT_KIND_NET_LISTEN);
MOAT_SAME(Kind::kNetAccept, MOAT_KIND_NET_ACCEPT);
MOAT_SAME(Kind::kNetClose, MOAT_KIND_NET_CLOSE);
MOAT_SAME(Kind::kNetFlow, MOAT_KIND_NET_FLOW);
MOAT_SAME(Kind::kNetDns, MOAT_KIND_NET_DNS);
MOAT_SAME(Kind::kFinding, MOAT_KIND_FINDING);
MOAT_SAME(Kind::kGap, MOAT_KIND_GAP);
MOAT_SAME(Kind::kVerdict, MOAT_KIND_VERDICT);
MOAT_SAME(Kind::kCount, MOAT_KIND_COUNT);
MOAT_SAME(event::kFlagTruncated, MOAT_F_TRUNCATED);
MOAT_SAME(event::kFlagUnreadable, MOAT_F_UNREADABLE);
MOAT_SAME(event::kFlagNoOwner, MOAT_F_NO_OWNER);
MOAT_SAME(event::kFlagLabelLost, MOAT_F_LABEL_LOST);
MOAT_SAME(event::kFlagNoResult, MOAT_F_NO_RESULT);
MOAT_SAME(event::kNoAsset, MOAT_NO_ASSET);
MOAT_SAME(event::kMaxAssets, MOAT_MAX_ASSETS);

struct Row {
  uint32_t size = 0;
  Outcome (*decode)(const std::byte* record, event::Event& out) = nullptr;
};

constexpr std::array<Row, MOAT_KIND_COUNT> kRows = [] {
  std::array<Row, MOAT_KIND_COUNT> rows{};
  rows[MOAT_KIND_FORK] = {sizeof(moat_fork), DecodeFork};
  rows[MOAT_KIND_EXEC] = {sizeof(moat_exec), DecodeExec};
  rows[MOAT_KIND_EXIT] = {sizeof(moat_exit), DecodeExit};
  rows[MOAT_KIND_SCAN] = {sizeof(moat_exec), DecodeExec};
  rows[MOAT_KIND_PROCESS_ACCESS] = {sizeof(moat_access), DecodeProcessAccess};
  rows[MOAT_KIND_PRIVILEGE] = {sizeof(moat_privilege), DecodePrivilege};
  rows[MOAT_KIND_LOGIN] = {sizeof(moat_login), DecodeLogin};
  rows[MOAT_KIND_FILE_OPEN] = {sizeof(moat_file_open), DecodeFileOpen};
  rows[MOAT_KIND_FILE_MAP] = {sizeof(moat_file_map), DecodeFileMap};
  rows[MOAT_KIND_FILE_TAMPER] = {sizeof(moat_file_tamper), DecodeFileTamper};
  rows[MOAT_KIND_FILE_IO] = {sizeof(moat_file_io), DecodeFileIo};
  rows[MOAT_KIND_GPU_OPEN] = {sizeof(moat_gpu_open), DecodeGpuOpen};
  rows[MOAT_KIND_GPU_MAP] = {sizeof(moat_gpu_map), DecodeGpuMap};
  rows[MOAT_KIND_GPU_IOCTL] = {sizeof(moat_gpu_ioctl), DecodeGpuIoctl};
  rows[MOAT_KIND_NET_CONNECT] = {sizeof(moat_net_event), DecodeNet};
  rows[MOAT_KIND_NET_SEND] = {sizeof(moat_net_event), DecodeNet};
  rows[MOAT_KIND_NET_LISTEN] = {sizeof(moat_net_event), DecodeNet};
  rows[MOAT_KIND_NET_ACCEPT] = {sizeof(moat_net_event), DecodeNet};
  rows[MOAT_KIND_NET_CLOSE] = {sizeof(moat_net_close), DecodeNetTotals};
  rows[MOAT_KIND_NET_FLOW] = {sizeof(moat_net_close), DecodeNetTotals};
  rows[MOAT_KIND_NET_DNS] = {sizeof(moat_dns), DecodeDns};
  rows[MOAT_KIND_VERDICT] = {sizeof(moat_verdict), DecodeVerdict};
  return rows;
}();

}  // namespace

Outcome Decode(std::span<const std::byte> record, event::Event& out) {
  if (record.size() < sizeof(moat_hdr)) {
    return Outcome::kShort;
  }
  auto hdr = Load<moat_hdr>(record.data());
  if (hdr.version != MOAT_ABI_VERSION) {
    return Outcome::kVersion;
  }
  if (hdr.kind >= kRows.size() || !kRows[hdr.kind].decode) {
    return Outcome::kKind;
  }
  const Row& row = kRows[hdr.kind];
  if (hdr.size != record.size() || hdr.size != row.size) {
    return Outcome::kSize;
  }
  event::Header& header = out.header;
  header.kind = static_cast<Kind>(hdr.kind);
  header.flags = hdr.flags;
  header.seq = 0;
  header.time_ns = hdr.time_ns;
  header.process = {hdr.pid, hdr.start_ns};
  header.tid = hdr.tid;
  header.uid = hdr.uid;
  header.cgroup_id = hdr.cgroup_id;
  header.labels = hdr.labels;
  LoadString(record.data() + offsetof(moat_hdr, comm), header.comm, header.flags);
  if (header.info) {
    header.info.reset();
  }
  return row.decode(record.data(), out);
}

Kind ClaimedKind(std::span<const std::byte> record) {
  if (record.size() < sizeof(moat_hdr)) {
    return Kind::kNone;
  }
  auto kind = MOAT_FIELD(record.data(), moat_hdr, kind);
  return kind < kRows.size() && kRows[kind].decode ? static_cast<Kind>(kind) : Kind::kNone;
}

const char* OutcomeName(Outcome outcome) {
  switch (outcome) {
    case Outcome::kOk: return "ok";
    case Outcome::kShort: return "short";
    case Outcome::kVersion: return "version";
    case Outcome::kKind: return "kind";
    case Outcome::kSize: return "size";
    case Outcome::kLength: return "length";
    case Outcome::kValue: return "value";
  }
  return "unknown";
}

}  // namespace moat::decode
