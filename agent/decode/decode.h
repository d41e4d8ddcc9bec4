// SPDX-License-Identifier: Apache-2.0
// Records of bpf/abi -> events. Pure: no state, no clock, any thread. Every byte of a record is hostile: nothing in it is used as
// a length, an index or an enumerator before it was checked, and nothing is read in place (a record may lie at any alignment).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "agent/event/event.h"

namespace moat::decode {

enum class Outcome : uint8_t {
  kOk,
  kShort,  // not even a header
  kVersion,  // another MOAT_ABI_VERSION
  kKind,  // no record has this kind (a gap is made in user space and never a record)
  kSize,  // the header's size, the record's length and the kind's struct do not agree
  kLength,  // a length inside the record exceeds its array
  kValue,  // an enumerator or number that consumers may use as an index is out of its range
};
const char* OutcomeName(Outcome outcome);  // "ok", "short", ...

// Overwrites out: header and body, header.seq = 0, header.info = null. Meant for an event that is used again and again; only exec
// and scan records allocate. On any outcome but kOk out is valid but says nothing.
[[nodiscard]] Outcome Decode(std::span<const std::byte> record, event::Event& out);

// The kind that a record claims, to count it by when it could not be decoded; kNone when it claims none.
event::Kind ClaimedKind(std::span<const std::byte> record);

}  // namespace moat::decode
