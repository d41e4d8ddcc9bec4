// SPDX-License-Identifier: Apache-2.0
// DNS questions and answers and TLS ClientHellos, as bytes.
#pragma once

#include <arpa/inet.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace moat::test {

inline std::string U16(size_t n) { return {static_cast<char>(n >> 8), static_cast<char>(n)}; }
inline std::string U24(size_t n) { return static_cast<char>(n >> 16) + U16(n); }
inline std::string U32(size_t n) { return U16(n >> 16) + U16(n); }

// "a.example" as labels.
inline std::string Labels(std::string_view name) {
  std::string out;
  for (size_t begin = 0; begin < name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    out += static_cast<char>(end - begin);
    out += name.substr(begin, end - begin);
    begin = end + 1;
  }
  return out + '\0';
}

struct DnsQuestion {
  std::string name{};
  size_t type = 1, id = 0x4242, flags = 0x0100, count = 1;

  std::string Bytes() const {
    return U16(id) + U16(flags) + U16(count) + U16(0) + U16(0) + U16(0) + Labels(name) + U16(type) + U16(1);
  }
};

struct DnsAnswer {
  std::string name{};
  std::vector<std::string> addresses{};  // of one family
  uint32_t ttl = 60;
  std::string alias{};  // of which the addresses are
  uint32_t alias_ttl = 60;

  std::string Bytes() const {
    const bool v6 = addresses.front().find(':') != std::string::npos;
    const std::string type = U16(v6 ? 28 : 1), in = U16(1);
    const size_t count = addresses.size() + (alias.empty() ? 0 : 1);
    std::string out = U16(0x4242) + U16(0x8180) + U16(1) + U16(count) + U16(0) + U16(0) + Labels(name) + type + in;
    std::string owner = U16(0xc00c);
    if (!alias.empty()) {
      out += owner + U16(5) + in + U32(alias_ttl) + U16(Labels(alias).size()) + Labels(alias);
      owner = Labels(alias);
    }
    for (const std::string& address : addresses) {
      char raw[16] = {};
      inet_pton(v6 ? AF_INET6 : AF_INET, address.c_str(), raw);
      out += owner + type + in + U32(ttl) + U16(v6 ? 16 : 4) + std::string(raw, v6 ? 16 : 4);
    }
    return out;
  }
};

struct Hello {
  std::string name{};  // empty: no SNI
  bool ech = false;
  size_t padding = 0;
  size_t record = 16384;  // bytes of the message in one record
  bool twice = false;  // two names

  std::string Bytes() const {
    std::string extensions;
    const auto add = [&extensions](size_t type, const std::string& body) { extensions += U16(type) + U16(body.size()) + body; };
    add(43, std::string("\x02\x03\x04", 3));
    add(21, std::string(padding, '\0'));
    if (!name.empty()) {
      std::string names;
      for (int i = 0; i < (twice ? 2 : 1); ++i) {
        names += '\0' + U16(name.size()) + name;
      }
      add(0, U16(names.size()) + names);
    }
    if (ech) {
      add(0xfe0d, std::string(32, 'e'));
    }
    const std::string body = std::string("\x03\x03", 2) + std::string(32, 'r') + '\x20' + std::string(32, 's') + U16(2) +
                             std::string("\x13\x01", 2) + std::string("\x01\x00", 2) + U16(extensions.size()) + extensions;
    const std::string message = '\x01' + U24(body.size()) + body;
    std::string out;
    for (size_t at = 0; at < message.size(); at += record) {
      const std::string part = message.substr(at, record);
      out += std::string("\x16\x03\x01", 3) + U16(part.size()) + part;
    }
    return out;
  }
};

// What OpenSSL 3.0 sends for ok.example.
inline std::string OpenSslHello() {
  constexpr std::string_view kHex =
      "1603010200010001fc0303926ad45e6678ea4e0352030e1a0fd027545a1bd81e238e8915540359942706a820890f8d55790bdf85138e5ba4a111cd5ba955"
      "804b10d50de9d854ecf9ed77cdf20024130213031301c02cc030c02bc02fcca9cca8c024c028c023c027009f009e006b006700ff0100018f0000000f000d"
      "00000a6f6b2e6578616d706c65000b000403000102000a00160014001d0017001e00190018010001010102010301040023000000160000001700"
      "00000d002a0028040305030603080708080809080a080b080408050806040105010601030303010302040205020602002b0005040304030300"
      "2d00020101003300260024001d0020e85bc0d012de25e8149e0e537aecd0b2a50cdeda6428d6b2eef67b99315b0a01001500e3";
  std::string out;
  for (size_t i = 0; i + 1 < kHex.size(); i += 2) {
    out += static_cast<char>(std::stoi(std::string(kHex.substr(i, 2)), nullptr, 16));
  }
  return out + std::string(0xe3, '\0');
}

}  // namespace moat::test
