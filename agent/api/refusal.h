// SPDX-License-Identifier: Apache-2.0
// Why a connection is refused or closed: a stable word each, for the audit and for counters.
#pragma once

#include <cstddef>
#include <cstdint>

namespace moat::api {

enum class Refusal : uint8_t {
  kRate,            // connections of this source
  kTooMany,         // connections of all
  kNotTls,          // plaintext, or garbage
  kTlsVersion,      // no TLS 1.3 offered
  kNoHttp2,         // no "h2" in ALPN
  kNoCertificate,
  kExpired,
  kNotYetValid,
  kUntrusted,       // of no CA of client_ca
  kPurpose,         // not for clients
  kRevoked,
  kCrl,             // the list of revoked certificates is itself too old, or of another CA
  kBadCertificate,  // anything else that is wrong with it
  kNoRole,          // its names are bound to no role
  kTimeout,         // the handshake took too long
  kAborted,         // the client went, or refused our certificate
  kTls,             // what it sent breaks the protocol
  kInternal,        // no descriptor, no memory
  kCount,
};

inline const char* RefusalName(Refusal refusal) {
  static constexpr const char* kNames[static_cast<size_t>(Refusal::kCount)] = {
      "rate",          "too_many",  "not_tls",       "tls_version", "no_http2", "no_certificate",  "expired",
      "not_yet_valid", "untrusted", "wrong_purpose", "revoked",     "crl",      "bad_certificate", "no_role",
      "timeout",       "aborted",   "bad_tls",       "internal"};
  return kNames[static_cast<size_t>(refusal)];
}

}  // namespace moat::api
