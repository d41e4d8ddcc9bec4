// SPDX-License-Identifier: Apache-2.0
// A CA of the tests' own, its certificates and its list of revoked ones, as PEM.
#pragma once

#include <openssl/x509.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace moat::test {

struct CertificateSpec {
  std::string name = "test";            // common name
  std::string san = "";  // as OpenSSL's configuration has it: "URI:spiffe://a/b,DNS:x,IP:127.0.0.1"; empty: none
  std::string purpose = "clientAuth";  // extended key usage; empty: no such extension
  int64_t begins_s = -3600, ends_s = 3600;  // from now
};

struct Pem {
  std::string certificate, key;
};

class Authority {
 public:
  explicit Authority(const std::string& name);
  const std::string& certificate() const { return pem_; }
  Pem Issue(const CertificateSpec& spec);
  static Pem SelfSigned(const CertificateSpec& spec);
  // A list with the last `count` certificates that were issued.
  std::string Revoke(size_t count, int64_t ends_s = 3600) const;

 private:
  std::shared_ptr<EVP_PKEY> key_;
  std::shared_ptr<X509> certificate_;
  std::string pem_;
  std::vector<uint64_t> serials_;
};

}  // namespace moat::test
