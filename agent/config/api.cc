// SPDX-License-Identifier: Apache-2.0
// The section "api" of moatd.yaml.
#include "agent/config/api.h"

#include <arpa/inet.h>

#include <charconv>
#include <string_view>
#include <system_error>
#include <utility>

#include "agent/config/config.h"
#include "agent/config/read.h"
#include "agent/config/section.h"

namespace moat::config {
namespace {

constexpr size_t kMaxRoles = 256;
constexpr size_t kMaxSan = 2048;  // SPIFFE's limit for an id

// "10.0.0.1:7443" or "[::1]:7443", numbers only: a name could come to mean another interface. Port 0: the kernel chooses.
bool IsListenAddress(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) {
    return false;
  }
  uint16_t port = 0;
  const char* const end = text.data() + text.size();
  if (const auto [at, error] = std::from_chars(text.data() + colon + 1, end, port); error != std::errc() || at != end) {
    return false;
  }
  const bool v6 = text.front() == '[' && colon >= 2 && text[colon - 1] == ']';
  const std::string host(v6 ? text.substr(1, colon - 2) : text.substr(0, colon));
  in6_addr unused{};
  return inet_pton(v6 ? AF_INET6 : AF_INET, host.c_str(), &unused) == 1;
}

void ReadAddress(Section& section, std::string_view key, std::string& field) {
  section.Text(key, field);
  if (const Node* node = section.Child(key); node != nullptr && !field.empty() && !IsListenAddress(field)) {
    section.Complain(*node,
                     section.Path(key) + " must be an address and a port, as 0.0.0.0:7443 or [::]:7443, not " + Quoted(field));
    field.clear();
  }
}

void ReadRate(const Reading& reading, Section& tcp, std::string_view key, Rate& rate) {
  Section section(reading, tcp.Child(key), tcp.Path(key));
  section.Number("per_second", rate.per_second, 1, 1'000'000);
  section.Number("burst", rate.burst, 1, 1'000'000);
}

// A wildcard stands for all below a path of a trust domain, and nowhere else: "moat.*" would be anybody's host.
std::string WrongSan(const std::string& san) {
  const size_t star = san.find('*');
  if (san.empty() || san.size() > kMaxSan) {
    return "must have 1 to " + std::to_string(kMaxSan) + " bytes";
  }
  for (const char c : san) {
    if (c <= ' ' || c > '~') {
      return "must be printable ASCII without spaces";
    }
  }
  if (star != std::string::npos && (san.find("://") == std::string::npos || star + 1 != san.size() || !san.ends_with("/*"))) {
    return "may have a '*' only at its end, after the '/' of a URI, as spiffe://cluster/ns/moat/*";
  }
  if (star != std::string::npos && san.find("://") + 3 >= star - 1) {
    return "must name a trust domain before its '*', as spiffe://cluster/*";
  }
  return "";
}

void ReadTcp(const Reading& reading, Section& api, TcpApi& tcp) {
  Section section(reading, api.Child("tcp"), "api.tcp");
  ReadAddress(section, "address", tcp.address);
  for (const auto& [key, field] :
       {std::pair{"certificate", &tcp.certificate}, {"key", &tcp.key}, {"client_ca", &tcp.client_ca}}) {
    ReadPathOrNone(section, key, *field);
    if (!tcp.address.empty() && field->empty()) {
      section.Complain(section.node(), std::string("api.tcp.") + key + " is missing: with an address, it must be there");
    }
  }
  ReadPathOrNone(section, "crl", tcp.crl);
  section.Number("max_connections", tcp.max_connections, 1, 4096);
  section.Number("handshake_ms", tcp.handshake_ms, 100, 60'000);
  section.Number("max_age_s", tcp.max_age_s, 1, 7 * 86'400);
  section.Each("roles", [&](const Node& node) {
    Section item(reading, &node, "api.tcp.roles[]");
    RoleBinding binding;
    item.Required("role");
    item.OneOf("role", binding.role, {"viewer", "policy-admin"});
    const Node* const san = item.Required("san");
    item.Text("san", binding.san);
    if (san == nullptr) {
      return;
    }
    if (const std::string wrong = WrongSan(binding.san); !wrong.empty()) {
      item.Complain(*san, "api.tcp.roles[].san " + wrong);
      return;
    }
    tcp.roles.push_back(std::move(binding));
  });
  if (tcp.roles.size() > kMaxRoles) {
    section.Complain(section.node(), "api.tcp.roles has more than " + std::to_string(kMaxRoles) + " bindings");
  }
  ReadRate(reading, section, "rate", tcp.rate);
  ReadRate(reading, section, "accept", tcp.accept);
}

}  // namespace

void ReadApiDoors(const Reading& reading, Section& api, Config& config) {
  ReadTcp(reading, api, config.tcp);
  ReadAddress(api, "health", config.health_address);
  Section audit(reading, api.Child("audit"), "api.audit");
  ReadPathOrNone(audit, "file", config.audit.file);
  audit.Size("max_bytes", config.audit.max_bytes, 4096, 1u << 30);
  audit.Number("keep", config.audit.keep, 1, 100);
}

}  // namespace moat::config
