// SPDX-License-Identifier: Apache-2.0
// Messages as bytes of a spool's segment. Pure; any thread. What is read is taken for hostile: a disk may have lost or turned any bit.
//
// A segment: magic "MOATSPL1" (the digit is the version), then records. A record, all numbers little-endian:
//   u32 mark, u32 length of the body, u64 seq, u32 CRC-32 of these 16 bytes, u32 CRC-32 of the body
//   body: u64 time, u64 revision, u8 severity, u8 0, u16 length of kind, u16 length of id, u16 0, kind, id, text
// The mark has bytes that no UTF-8 has, so that who looks for the next record behind a broken one does not find one that a text only tells of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "agent/sink/sink.h"

namespace moat::sink {

inline constexpr std::string_view kSegmentMagic = "MOATSPL1";
inline constexpr size_t kRecordHead = 24, kBodyHead = 24;
inline constexpr size_t kMaxBody = 16u << 20;  // far above what a finding can become

void AppendRecord(std::string& to, uint64_t seq, const Message& message);
size_t RecordBytes(const Message& message);

// What lies at the beginning of some bytes.
struct Record {
  enum class Is : uint8_t {
    kGood,
    kBroken,  // its head is good and its body is not: seq and bytes can be believed, the message is lost
    kCut,  // a good head, and the bytes end before the body does: bytes is what it would have
    kNone  // no record
  };
  Is is = Is::kNone;
  uint64_t seq = 0;
  size_t bytes = 0;
  Message message{};  // when good
};
Record ReadRecord(std::string_view bytes, bool want_message);

// Where the next record with a good head begins, from `at` on; bytes.size() when there is none.
size_t NextRecord(std::string_view bytes, size_t at);

}  // namespace moat::sink
