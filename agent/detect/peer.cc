// SPDX-License-Identifier: Apache-2.0
#include "agent/detect/peer.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

namespace moat::detect {
namespace {

constexpr std::array<std::array<uint8_t, 4>, 3> kMetadata = {{{169, 254, 169, 254}, {169, 254, 170, 2}, {100, 100, 100, 200}}};
constexpr std::array<uint8_t, 16> kMetadata6 = {0xfd, 0x00, 0x0e, 0xc2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x54};
constexpr uint16_t kDns = 53;

}  // namespace

bool IsHere(const event::Endpoints& ep) {
  if (ep.other_family != 0) {
    return false;
  }
  const auto& to = ep.remote.bytes;
  const size_t length = ep.ipv6 ? 16 : 4;
  const bool none = std::all_of(to.begin(), to.begin() + static_cast<std::ptrdiff_t>(length), [](uint8_t b) { return b == 0; });
  const bool one = std::all_of(to.begin(), to.begin() + 15, [](uint8_t b) { return b == 0; }) && to[15] == 1;
  return none || (ep.ipv6 ? one : to[0] == 127) || std::memcmp(to.data(), ep.local.bytes.data(), length) == 0;
}

bool IsInternal(const event::Endpoints& ep) {
  if (ep.other_family != 0) {
    return true;
  }
  const auto& to = ep.remote.bytes;
  if (ep.ipv6) {
    return (to[0] & 0xfe) == 0xfc || (to[0] == 0xfe && (to[1] & 0xc0) == 0x80);
  }
  return to[0] == 10 || (to[0] == 172 && (to[1] & 0xf0) == 16) || (to[0] == 192 && to[1] == 168) ||
         (to[0] == 100 && (to[1] & 0xc0) == 64) || (to[0] == 169 && to[1] == 254);
}

bool IsMetadata(const event::Endpoints& ep) {
  if (ep.other_family != 0 || ep.remote.port == kDns) {
    return false;
  }
  if (ep.ipv6) {
    return ep.remote.bytes == kMetadata6;
  }
  return std::ranges::any_of(
      kMetadata, [&](const auto& address) { return std::memcmp(address.data(), ep.remote.bytes.data(), address.size()) == 0; });
}

std::string PeerAddress(const event::Endpoints& ep) {
  if (ep.other_family != 0) {
    uint32_t number = 0;
    std::memcpy(&number, ep.remote.bytes.data() + (ep.other_family == AF_VSOCK ? 4 : 0), sizeof(number));
    return (ep.other_family == AF_VSOCK ? "vsock:" : "interface:") + std::to_string(number);
  }
  const std::string both = event::AddressToString(ep.remote, ep.ipv6);
  return both.substr(0, both.rfind(':'));
}

std::string PeerName(const event::Endpoints& ep) {
  return ep.other_family != 0 || ep.remote.port == 0 ? PeerAddress(ep) : event::AddressToString(ep.remote, ep.ipv6);
}

}  // namespace moat::detect
