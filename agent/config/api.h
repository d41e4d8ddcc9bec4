// SPDX-License-Identifier: Apache-2.0
// The settings of the API's other doors, as plain data: TCP with TLS, health for the kubelet, the record of calls.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace moat::config {

struct RoleBinding {
  std::string san;   // "spiffe://cluster/ns/moat/*", "soc.example", "ops@example"
  std::string role;  // viewer | policy-admin
  bool operator==(const RoleBinding&) const = default;
};

struct Rate {  // a token bucket
  uint32_t per_second = 0, burst = 0;
  bool operator==(const Rate&) const = default;
};

struct TcpApi {
  std::string address;  // "0.0.0.0:7443", "[::]:7443"; empty: there is no TCP
  std::string certificate, key, client_ca, crl;  // PEM files; crl empty: none
  uint32_t max_connections = 64;
  uint32_t handshake_ms = 5000;    // from accept to a verified certificate
  uint32_t max_age_s = 86'400;     // of a connection; a certificate's end, and its revocation, end it before
  std::vector<RoleBinding> roles;
  Rate rate{50, 100};    // calls of one identity
  Rate accept{20, 40};   // connections of one source address
  bool operator==(const TcpApi&) const = default;
};

struct AuditLog {
  std::string file;  // empty: the agent's log
  uint32_t max_bytes = 64 << 20;  // then it is renamed to FILE.1
  uint32_t keep = 4;              // FILE.1 to FILE.4
  bool operator==(const AuditLog&) const = default;
};

}  // namespace moat::config
