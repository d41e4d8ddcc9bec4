// SPDX-License-Identifier: Apache-2.0
// Questions to DNS servers, as they are on the wire (RFC 1035 4.1.2).
#include "agent/decode/domain.h"
#include "bpf/abi/net.h"

namespace moat::decode {
namespace {

constexpr uint8_t kLongestLabel = 63;  // above it are pointers, which a question's name has no use for

static_assert(sizeof(event::Dns::name.bytes) >= 255, "the longest name on the wire, less its two lengths");

uint8_t Byte(std::span<const std::byte> wire, size_t at) { return std::to_integer<uint8_t>(wire[at]); }

// A label within which there is a dot would look like two, and a 0 ends strings elsewhere.
char Letter(uint8_t byte) { return byte == 0 || byte == '.' ? '?' : static_cast<char>(byte); }

// Where the name ends; 0: nowhere that a name may. What there is of it is kept.
size_t LoadName(std::span<const std::byte> wire, event::FixedString<256>& to) {
  to.bytes = {};
  to.length = 0;
  for (size_t at = 0; at < wire.size();) {
    const uint8_t length = Byte(wire, at++);
    if (length == 0) {
      return at;
    }
    if (length > kLongestLabel || to.length + 1 + length > 254) {
      return 0;
    }
    if (to.length != 0) {
      to.bytes[to.length++] = '.';
    }
    for (uint8_t i = 0; i < length && at < wire.size(); ++i) {
      to.bytes[to.length++] = Letter(Byte(wire, at++));
    }
  }
  return 0;
}

}  // namespace

Outcome DecodeDns(const std::byte* record, event::Event& out) {
  const auto length = MOAT_FIELD(record, moat_dns, question_len);
  if (length > MOAT_DNS_QUESTION_LEN) {
    return Outcome::kLength;
  }
  auto& body = Body<event::Dns>(out);
  body.cookie = MOAT_FIELD(record, moat_dns, cookie);
  body.payload = MOAT_FIELD(record, moat_dns, payload);
  body.id = MOAT_FIELD(record, moat_dns, id);
  const std::span wire(record + offsetof(moat_dns, question), length);
  const size_t end = LoadName(wire, body.name);
  body.type = 0;
  if (end != 0 && end + 2 <= wire.size()) {
    body.type = static_cast<uint16_t>(Byte(wire, end) << 8 | Byte(wire, end + 1));
  } else {
    out.header.flags |= event::kFlagTruncated;
  }
  return LoadEndpoints(record + offsetof(moat_dns, ep), MOAT_FIELD(record, moat_dns, net_flags), body.ep);
}

}  // namespace moat::decode
