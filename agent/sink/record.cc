// SPDX-License-Identifier: Apache-2.0
#include "agent/sink/record.h"

#include <zlib.h>

namespace moat::sink {
namespace {

constexpr std::string_view kMark = "\xff\x4d\x52\xfe";

template <typename T>
void Put(std::string& to, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) {
    to += static_cast<char>(static_cast<uint64_t>(value) >> 8 * i);
  }
}

template <typename T>
T Get(std::string_view from, size_t at) {
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) {
    value |= uint64_t{static_cast<unsigned char>(from[at + i])} << 8 * i;
  }
  return static_cast<T>(value);
}

uint32_t Crc(std::string_view bytes) {
  return static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()));
}

bool HeadIsGood(std::string_view bytes) {
  return bytes.size() >= kRecordHead && bytes.starts_with(kMark) && Crc(bytes.substr(0, 16)) == Get<uint32_t>(bytes, 16) &&
         Get<uint32_t>(bytes, 4) >= kBodyHead && Get<uint32_t>(bytes, 4) <= kMaxBody;
}

}  // namespace

size_t RecordBytes(const Message& message) {
  return kRecordHead + kBodyHead + message.kind.size() + message.id.size() + message.text.size();
}

void AppendRecord(std::string& to, uint64_t seq, const Message& message) {
  const size_t head = to.size();
  to += kMark;
  Put(to, static_cast<uint32_t>(RecordBytes(message) - kRecordHead));
  Put(to, seq);
  Put(to, Crc(std::string_view(to).substr(head)));
  Put(to, uint32_t{0});  // of the body, below
  const size_t body = to.size();
  Put(to, message.time_unix_ns);
  Put(to, message.revision);
  Put(to, static_cast<uint8_t>(message.severity));
  Put(to, uint8_t{0});
  Put(to, static_cast<uint16_t>(message.kind.size()));
  Put(to, static_cast<uint16_t>(message.id.size()));
  Put(to, uint16_t{0});
  to += message.kind;
  to += message.id;
  to += message.text;
  std::string crc;
  Put(crc, Crc(std::string_view(to).substr(body)));
  to.replace(body - sizeof(uint32_t), sizeof(uint32_t), crc);
}

Record ReadRecord(std::string_view bytes, bool want_message) {
  Record record;
  if (!HeadIsGood(bytes)) {
    return record;
  }
  const size_t length = Get<uint32_t>(bytes, 4);
  record.seq = Get<uint64_t>(bytes, 8);
  record.bytes = kRecordHead + length;
  if (bytes.size() < record.bytes) {
    record.is = Record::Is::kCut;
    return record;
  }
  const std::string_view body = bytes.substr(kRecordHead, length);
  const size_t kind = Get<uint16_t>(body, 18), id = Get<uint16_t>(body, 20);
  if (Crc(body) != Get<uint32_t>(bytes, 20) || kBodyHead + kind + id > length) {
    record.is = Record::Is::kBroken;
    return record;
  }
  record.is = Record::Is::kGood;
  record.message.time_unix_ns = Get<uint64_t>(body, 0);
  if (want_message) {
    record.message.revision = Get<uint64_t>(body, 8);
    record.message.severity = static_cast<event::Severity>(body[16]);
    record.message.kind = body.substr(kBodyHead, kind);
    record.message.id = body.substr(kBodyHead + kind, id);
    record.message.text = body.substr(kBodyHead + kind + id);
  }
  return record;
}

size_t NextRecord(std::string_view bytes, size_t at) {
  for (at = bytes.find(kMark, at); at != std::string_view::npos; at = bytes.find(kMark, at + 1)) {
    if (HeadIsGood(bytes.substr(at))) {
      return at;
    }
  }
  return bytes.size();
}

}  // namespace moat::sink
