// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/certificates.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <atomic>
#include <stdexcept>

namespace moat::test {
namespace {

std::atomic<uint64_t> next_serial{1000};

template <typename Write>
std::string ToPem(const Write& write) {
  BIO* const out = BIO_new(BIO_s_mem());
  write(out);
  char* text = nullptr;
  const long size = BIO_get_mem_data(out, &text);
  std::string pem(text, static_cast<size_t>(size));
  BIO_free(out);
  return pem;
}

std::shared_ptr<EVP_PKEY> NewKey() { return {EVP_EC_gen("P-256"), EVP_PKEY_free}; }

void Add(X509* to, X509* issuer, int what, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, to, nullptr, nullptr, 0);
  X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, &context, what, value.c_str());
  if (extension == nullptr) {
    throw std::runtime_error("a wrong extension: " + value);
  }
  X509_add_ext(to, extension, -1);
  X509_EXTENSION_free(extension);
}

std::shared_ptr<X509> NewCertificate(const std::string& name, EVP_PKEY* key, X509* issuer, int64_t begins_s, int64_t ends_s) {
  const std::shared_ptr<X509> made(X509_new(), X509_free);
  X509_set_version(made.get(), 2);
  ASN1_INTEGER_set_uint64(X509_get_serialNumber(made.get()), next_serial++);
  X509_gmtime_adj(X509_getm_notBefore(made.get()), begins_s);
  X509_gmtime_adj(X509_getm_notAfter(made.get()), ends_s);
  X509_set_pubkey(made.get(), key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(made.get()), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  X509_set_issuer_name(made.get(), X509_get_subject_name(issuer != nullptr ? issuer : made.get()));
  return made;
}

Pem Finish(const CertificateSpec& spec, X509* issuer, EVP_PKEY* issuer_key, uint64_t* serial) {
  const std::shared_ptr<EVP_PKEY> key = NewKey();
  const std::shared_ptr<X509> made = NewCertificate(spec.name, key.get(), issuer, spec.begins_s, spec.ends_s);
  X509* const by = issuer != nullptr ? issuer : made.get();
  Add(made.get(), by, NID_basic_constraints, "CA:FALSE");
  if (!spec.purpose.empty()) {
    Add(made.get(), by, NID_ext_key_usage, spec.purpose);
  }
  if (!spec.san.empty()) {
    Add(made.get(), by, NID_subject_alt_name, spec.san);
  }
  X509_sign(made.get(), issuer_key != nullptr ? issuer_key : key.get(), EVP_sha256());
  if (serial != nullptr) {
    ASN1_INTEGER_get_uint64(serial, X509_get0_serialNumber(made.get()));
  }
  return {ToPem([&](BIO* out) { PEM_write_bio_X509(out, made.get()); }),
          ToPem([&](BIO* out) { PEM_write_bio_PrivateKey(out, key.get(), nullptr, nullptr, 0, nullptr, nullptr); })};
}

}  // namespace

Authority::Authority(const std::string& name) : key_(NewKey()) {
  certificate_ = NewCertificate(name, key_.get(), nullptr, -86'400, 86'400);
  Add(certificate_.get(), certificate_.get(), NID_basic_constraints, "critical,CA:TRUE");
  Add(certificate_.get(), certificate_.get(), NID_key_usage, "critical,keyCertSign,cRLSign");
  Add(certificate_.get(), certificate_.get(), NID_subject_key_identifier, "hash");
  X509_sign(certificate_.get(), key_.get(), EVP_sha256());
  pem_ = ToPem([this](BIO* out) { PEM_write_bio_X509(out, certificate_.get()); });
}

Pem Authority::Issue(const CertificateSpec& spec) {
  uint64_t serial = 0;
  Pem pem = Finish(spec, certificate_.get(), key_.get(), &serial);
  serials_.push_back(serial);
  return pem;
}

Pem Authority::SelfSigned(const CertificateSpec& spec) { return Finish(spec, nullptr, nullptr, nullptr); }

std::string Authority::Revoke(size_t count, int64_t ends_s) const {
  const std::shared_ptr<X509_CRL> list(X509_CRL_new(), X509_CRL_free);
  X509_CRL_set_version(list.get(), 1);
  X509_CRL_set_issuer_name(list.get(), X509_get_subject_name(certificate_.get()));
  ASN1_TIME* const time = ASN1_TIME_new();
  X509_gmtime_adj(time, -7200);
  X509_CRL_set1_lastUpdate(list.get(), time);
  for (size_t i = serials_.size() - count; i < serials_.size(); ++i) {
    X509_REVOKED* const one = X509_REVOKED_new();
    ASN1_INTEGER* const serial = ASN1_INTEGER_new();
    ASN1_INTEGER_set_uint64(serial, serials_[i]);
    X509_REVOKED_set_serialNumber(one, serial);
    X509_REVOKED_set_revocationDate(one, time);
    ASN1_INTEGER_free(serial);
    X509_CRL_add0_revoked(list.get(), one);
  }
  X509_gmtime_adj(time, ends_s);
  X509_CRL_set1_nextUpdate(list.get(), time);
  ASN1_TIME_free(time);
  X509_CRL_sort(list.get());
  X509_CRL_sign(list.get(), key_.get(), EVP_sha256());
  return ToPem([&](BIO* out) { PEM_write_bio_X509_CRL(out, list.get()); });
}

}  // namespace moat::test
