// SPDX-License-Identifier: Apache-2.0
#include "agent/policy/values.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>
#include <utility>

#include "bpf/abi/name.h"

namespace moat::policy {
namespace {

// Digits and nothing else.
std::optional<uint64_t> Digits(std::string_view text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return number;
}

std::unexpected<Error> Bad(std::string message) { return Fail(Code::kInvalidArgument, std::move(message)); }

// "12GiB": the number and its unit, which is the longest rest that is no digit.
std::pair<std::optional<uint64_t>, std::string_view> NumberAndUnit(std::string_view text) {
  const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  return {Digits(text.substr(0, digits)), text.substr(digits)};
}

bool IsAddress(std::string_view text) {
  const std::string address(text);
  in6_addr unused{};
  return inet_pton(AF_INET, address.c_str(), &unused) == 1 || inet_pton(AF_INET6, address.c_str(), &unused) == 1;
}

// Sets the bits behind the prefix to 0; whether any was 1.
bool ClearHostBits(Cidr& cidr) {
  bool any = false;
  for (size_t bit = cidr.length; bit < (cidr.v6 ? 128u : 32u); ++bit) {
    const auto mask = static_cast<uint8_t>(0x80 >> bit % 8);
    any = any || (cidr.address[bit / 8] & mask) != 0;
    cidr.address[bit / 8] &= static_cast<uint8_t>(~mask);
  }
  return any;
}

}  // namespace

std::string ToString(const Cidr& cidr) {
  char text[INET6_ADDRSTRLEN] = "";
  inet_ntop(cidr.v6 ? AF_INET6 : AF_INET, cidr.address.data(), text, sizeof(text));
  return std::string(text) + "/" + std::to_string(cidr.length);
}

Result<Cidr> ParseCidr(std::string_view text) {
  const size_t slash = text.find('/');
  const std::string address(text.substr(0, slash));
  Cidr cidr;
  cidr.v6 = address.find(':') != std::string::npos;
  if (address.find('\0') != std::string::npos ||
      inet_pton(cidr.v6 ? AF_INET6 : AF_INET, address.c_str(), cidr.address.data()) != 1) {
    return Bad("is no network, as 10.0.0.0/8 or fd00::/8");
  }
  const uint64_t longest = cidr.v6 ? 128 : 32;
  if (slash == std::string_view::npos) {
    return Bad("has no prefix length: a single address is " + address + "/" + std::to_string(longest));
  }
  const auto length = Digits(text.substr(slash + 1));
  if (!length || *length > longest) {
    return Bad("has a prefix length that is not 0 to " + std::to_string(longest));
  }
  cidr.length = static_cast<uint8_t>(*length);
  constexpr uint8_t kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (cidr.v6 && std::memcmp(cidr.address.data(), kMapped, sizeof(kMapped)) == 0) {
    return Bad("is an IPv4 network in IPv6 form: write it as IPv4, which counts for both");
  }
  if (ClearHostBits(cidr)) {
    return Bad("has bits set behind its prefix: did you mean " + ToString(cidr) + "?");
  }
  return cidr;
}

Result<Ports> ParsePorts(std::string_view text) {
  constexpr const char* kForm = "must be a port or a range with its protocol, as 443/tcp or 8000-8100/udp, or icmp";
  if (text == "icmp") {
    return Ports{.protocol = Protocol::kIcmp};
  }
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) {
    return Digits(text) ? Bad("has no protocol: did you mean " + std::string(text) + "/tcp?") : Bad(kForm);
  }
  const std::string_view protocol = text.substr(slash + 1), range = text.substr(0, slash);
  if (protocol != "tcp" && protocol != "udp") {
    return Bad(std::string("names a protocol that is neither tcp nor udp; it ") + kForm);
  }
  const size_t dash = range.find('-');
  const auto low = Digits(range.substr(0, dash));
  const auto high = dash == std::string_view::npos ? low : Digits(range.substr(dash + 1));
  if (!low || !high) {
    return Bad(kForm);
  }
  if (*low < 1 || *high > 65535) {
    return Bad("must lie in 1 to 65535");
  }
  if (*low > *high) {
    return Bad("ends before it begins");
  }
  return Ports{.protocol = protocol == "tcp" ? Protocol::kTcp : Protocol::kUdp,
               .low = static_cast<uint16_t>(*low),
               .high = static_cast<uint16_t>(*high)};
}

std::string ToString(const Ports& ports) {
  if (ports.protocol == Protocol::kIcmp) {
    return "icmp";
  }
  return std::to_string(ports.low) + (ports.high != ports.low ? "-" + std::to_string(ports.high) : "") +
         (ports.protocol == Protocol::kTcp ? "/tcp" : "/udp");
}

Status CheckFqdn(std::string_view text) {
  if (IsAddress(text)) {
    return Bad("is an address: use cidr");
  }
  if (text == "*") {
    return Bad("matches every name: use egress.default: allow");
  }
  const std::string_view name = text.starts_with("*.") ? text.substr(2) : text;
  if (name.find('*') != std::string_view::npos) {
    return Bad("may have a '*' only in front, as *.example.com");
  }
  if (name.ends_with('.')) {
    return Bad("must not end with a dot");
  }
  constexpr size_t kMax = MOAT_POL_NAME_LEN - 2;  // a dot before it, or a 0 behind it, in the kernel's tables
  if (name.empty() || name.size() > kMax) {
    return Bad("must be a name of 1 to " + std::to_string(kMax) + " characters");
  }
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    const std::string_view label = name.substr(begin, end - begin);
    if (std::ranges::any_of(label, [](char c) { return c >= 'A' && c <= 'Z'; })) {
      return Bad("must be in lower case");
    }
    const bool good = std::ranges::all_of(
        label, [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'; });
    if (!good || label.empty() || label.size() > 63 || label.front() == '-' || label.back() == '-') {
      return Bad("has a part that is no name: each is 1 to 63 of a-z, 0-9, '-' and '_'; other alphabets in their xn-- form");
    }
    begin = end + 1;
  }
  return {};
}

Result<uint64_t> ParseDuration(std::string_view text) {
  constexpr uint64_t kMinute = 60, kDay = 24 * 60 * kMinute;
  const auto [number, unit] = NumberAndUnit(text);
  const uint64_t factor = unit == "s" ? 1 : unit == "m" ? kMinute : unit == "h" ? 60 * kMinute : unit == "d" ? kDay : 0;
  if (!number || factor == 0) {
    return Bad("must be a duration, as 90s, 30m, 24h or 7d");
  }
  if (*number > 30 * kDay / factor || *number * factor < kMinute) {
    return Bad("must be between 1m and 30d");
  }
  return *number * factor;
}

Result<uint64_t> ParseBytes(std::string_view text) {
  const auto [number, unit] = NumberAndUnit(text);
  const int shift = unit.empty() ? 0 : unit == "KiB" ? 10 : unit == "MiB" ? 20 : unit == "GiB" ? 30 : unit == "TiB" ? 40 : -1;
  if (!number || shift < 0) {
    return Bad("must be a size, as 500MiB, 2GiB or a number of bytes");
  }
  if (*number == 0) {
    return Bad("must be more than 0: to let nothing out, leave allow empty");
  }
  if (*number > (1ull << 50) >> shift) {
    return Bad("must be at most 1024TiB");
  }
  return *number << shift;
}

Result<uint32_t> ParsePercent(std::string_view text) {
  const size_t dot = std::min(text.find('.'), text.size());
  const auto whole = Digits(text.substr(0, dot));
  std::string decimals(text.substr(std::min(dot + 1, text.size())));
  if (!whole || decimals.size() > 4 || (dot != text.size() && decimals.empty())) {
    return Bad("must be a percentage above 0 up to 100, with at most four decimals, as 1 or 0.25");
  }
  decimals.resize(4, '0');
  const auto part = Digits(decimals);
  if (!part || *whole > 100 || *whole * 10'000 + *part > 1'000'000 || *whole * 10'000 + *part == 0) {
    return Bad("must be a percentage above 0 up to 100, with at most four decimals, as 1 or 0.25");
  }
  return static_cast<uint32_t>(*whole * 10'000 + *part);
}

}  // namespace moat::policy
