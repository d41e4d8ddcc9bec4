// SPDX-License-Identifier: Apache-2.0
// Who is let in by TLS: moatd's certificate, the CA of clients, the revoked ones and the roles, as they were when read. Immutable; a
// connection keeps the one that it began with alive.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "agent/api/refusal.h"
#include "agent/api/roles.h"
#include "agent/base/error.h"
#include "agent/config/api.h"

struct ssl_ctx_st;
struct ssl_st;
struct x509_store_ctx_st;

namespace moat::api {

// What came out of a handshake.
struct Verdict {
  std::optional<Refusal> refusal;
  std::string detail;  // why, in plain words, with the certificate's subject
  Identity identity;  // of who is let in
  uint64_t ends_unix_s = UINT64_MAX;  // when the first certificate of the chain ends
};

class Admission {
 public:
  // Reads the files. An error names the file.
  static Result<std::shared_ptr<const Admission>> Load(const config::TcpApi& config);
  ~Admission();
  Admission(const Admission&) = delete;
  Admission& operator=(const Admission&) = delete;

  // What changes when one of the files is written or replaced; a file that is not there counts, too.
  static std::string Fingerprint(const config::TcpApi& config);

  // A server's side of a connection. verdict and this must outlive it. Only TLS 1.3, "h2", no resumption, no early data; the certificate is
  // checked with chain, validity, purpose, revocation and role, and verdict says why not.
  ssl_st* NewConnection(Verdict* verdict) const;
  // After SSL_accept has failed for good: the verdict, made from OpenSSL's errors where nobody has said it yet.
  static void Explain(Verdict* verdict, bool ended_by_peer);
  // Whether the client of an established connection would be let in by this one.
  Verdict Check(ssl_st* connection) const;

 private:
  Admission() = default;
  static int OnHello(ssl_st* connection, int* alert, void* unused);
  static int OnCertificate(x509_store_ctx_st* context, void* self);
  int Verify(x509_store_ctx_st* context, Verdict* verdict) const;

  ssl_ctx_st* context_ = nullptr;
  Bindings bindings_;
};

}  // namespace moat::api
