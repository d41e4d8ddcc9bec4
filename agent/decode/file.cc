// SPDX-License-Identifier: Apache-2.0
// Assets: opens, maps, tampering, sums.
#include "bpf/abi/file.h"
#include "agent/decode/domain.h"

namespace moat::decode {

static_assert(static_cast<int>(event::TamperOp::kWrite) == MOAT_TAMPER_WRITE);
static_assert(static_cast<int>(event::TamperOp::kTruncate) == MOAT_TAMPER_TRUNCATE);
static_assert(static_cast<int>(event::TamperOp::kRename) == MOAT_TAMPER_RENAME);
static_assert(static_cast<int>(event::TamperOp::kUnlink) == MOAT_TAMPER_UNLINK);
static_assert(static_cast<int>(event::TamperOp::kLink) == MOAT_TAMPER_LINK);
static_assert(static_cast<int>(event::TamperOp::kMapWrite) == MOAT_TAMPER_MAP_WRITE);
static_assert(static_cast<int>(event::TamperOp::kReplace) == MOAT_TAMPER_REPLACE);
static_assert(sizeof(event::FileOpen::name.bytes) == MOAT_NAME_LEN);

Outcome DecodeFileOpen(const std::byte* record, event::Event& out) {
  auto& body = Body<event::FileOpen>(out);
  body.inode = MOAT_FIELD(record, moat_file_open, inode);
  body.size = MOAT_FIELD(record, moat_file_open, bytes);
  body.dev = MOAT_FIELD(record, moat_file_open, dev);
  body.asset = MOAT_FIELD(record, moat_file_open, asset);
  body.open_flags = MOAT_FIELD(record, moat_file_open, open_flags);
  body.fd = static_cast<int32_t>(MOAT_FIELD(record, moat_file_open, fd));
  LoadString(record + offsetof(moat_file_open, name), body.name, out.header.flags);
  return GoodAsset(body.asset) ? Outcome::kOk : Outcome::kValue;
}

Outcome DecodeFileMap(const std::byte* record, event::Event& out) {
  auto& body = Body<event::FileMap>(out);
  body.inode = MOAT_FIELD(record, moat_file_map, inode);
  body.length = MOAT_FIELD(record, moat_file_map, length);
  body.offset = MOAT_FIELD(record, moat_file_map, offset);
  body.dev = MOAT_FIELD(record, moat_file_map, dev);
  body.asset = MOAT_FIELD(record, moat_file_map, asset);
  body.prot = MOAT_FIELD(record, moat_file_map, prot);
  body.map_flags = MOAT_FIELD(record, moat_file_map, map_flags);
  LoadString(record + offsetof(moat_file_map, name), body.name, out.header.flags);
  return GoodAsset(body.asset) ? Outcome::kOk : Outcome::kValue;
}

Outcome DecodeFileTamper(const std::byte* record, event::Event& out) {
  auto op = MOAT_FIELD(record, moat_file_tamper, op);
  if (op < MOAT_TAMPER_WRITE || op > MOAT_TAMPER_REPLACE) {
    return Outcome::kValue;
  }
  auto& body = Body<event::FileTamper>(out);
  body.inode = MOAT_FIELD(record, moat_file_tamper, inode);
  body.bytes = MOAT_FIELD(record, moat_file_tamper, bytes);
  body.dev = MOAT_FIELD(record, moat_file_tamper, dev);
  body.asset = MOAT_FIELD(record, moat_file_tamper, asset);
  body.fd = static_cast<int32_t>(MOAT_FIELD(record, moat_file_tamper, fd));
  body.op = static_cast<event::TamperOp>(op);
  LoadString(record + offsetof(moat_file_tamper, name), body.name, out.header.flags);
  return GoodAsset(body.asset) ? Outcome::kOk : Outcome::kValue;
}

Outcome DecodeFileIo(const std::byte* record, event::Event& out) {
  auto sum = MOAT_FIELD(record, moat_file_io, sum);
  auto& body = Body<event::FileIo>(out);
  body.asset = MOAT_FIELD(record, moat_file_io, asset);
  body.last = MOAT_FIELD(record, moat_file_io, last) != 0;
  body.bytes_read = sum.bytes_read;
  body.reads = sum.reads;
  body.bytes_written = sum.bytes_written;
  body.writes = sum.writes;
  return GoodAsset(body.asset) ? Outcome::kOk : Outcome::kValue;
}

}  // namespace moat::decode
