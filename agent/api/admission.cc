// SPDX-License-Identifier: Apache-2.0
#include "agent/api/admission.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <string_view>
#include <utility>

namespace moat::api {
namespace {

constexpr int kMaxDepth = 8;
constexpr std::string_view kAlpn("\x02h2", 3);

std::string OpensslError() {
  std::array<char, 256> text{};
  const unsigned long code = ERR_peek_error();
  ERR_error_string_n(code, text.data(), text.size());
  ERR_clear_error();
  const char* const reason = ERR_reason_error_string(code);
  return code == 0 ? "" : reason != nullptr ? reason : text.data();
}

std::unexpected<Error> Wrong(const char* setting, const std::string& file, const char* what) {
  const std::string reason = OpensslError();
  return Fail(Code::kInvalidArgument,
              std::string("api.tcp.") + setting + " " + file + " " + what + (reason.empty() ? "" : ": " + reason));
}

Refusal RefusalOf(int error) {
  switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED: return Refusal::kExpired;
    case X509_V_ERR_CERT_NOT_YET_VALID: return Refusal::kNotYetValid;
    case X509_V_ERR_CERT_REVOKED: return Refusal::kRevoked;
    case X509_V_ERR_INVALID_PURPOSE: return Refusal::kPurpose;
    case X509_V_ERR_APPLICATION_VERIFICATION: return Refusal::kNoRole;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_UNTRUSTED:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE: return Refusal::kUntrusted;
    case X509_V_ERR_UNABLE_TO_GET_CRL:
    case X509_V_ERR_CRL_NOT_YET_VALID:
    case X509_V_ERR_CRL_HAS_EXPIRED:
    case X509_V_ERR_CRL_SIGNATURE_FAILURE:
    case X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER: return Refusal::kCrl;
    default: return Refusal::kBadCertificate;
  }
}

std::string SubjectOf(X509* certificate) {
  BIO* const out = BIO_new(BIO_s_mem());
  X509_NAME_print_ex(out, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253);
  char* text = nullptr;
  const long size = BIO_get_mem_data(out, &text);
  std::string subject(text, static_cast<size_t>(std::clamp(size, 0L, 200L)));
  BIO_free(out);
  return subject.empty() ? "no subject" : subject;
}

// A name with a NUL or another control character is read differently by different programs: it is not taken at all.
Names NamesOf(X509* certificate) {
  Names names;
  auto* const all = static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(all); ++i) {
    const GENERAL_NAME* const name = sk_GENERAL_NAME_value(all, i);
    auto* const to = name->type == GEN_URI     ? &names.uris
                     : name->type == GEN_DNS   ? &names.dns
                     : name->type == GEN_EMAIL ? &names.emails
                                               : nullptr;
    if (to == nullptr) {
      continue;
    }
    const ASN1_STRING* const value = name->d.ia5;
    std::string text(reinterpret_cast<const char*>(ASN1_STRING_get0_data(value)), static_cast<size_t>(ASN1_STRING_length(value)));
    if (std::ranges::all_of(text, [](char c) { return c > ' ' && c <= '~'; })) {
      to->push_back(std::move(text));
    }
  }
  GENERAL_NAMES_free(all);
  return names;
}

std::string Text(const Names& names) {
  std::string text;
  for (const auto* list : {&names.uris, &names.dns, &names.emails}) {
    for (const std::string& name : *list) {
      text += (text.empty() ? "" : ", ") + name;
    }
  }
  return text.empty() ? "it has no URI, DNS or e-mail name" : text;
}

uint64_t EndOf(const STACK_OF(X509) * chain) {
  uint64_t end = UINT64_MAX;
  for (int i = 0; i < sk_X509_num(chain); ++i) {
    tm parts{};
    if (ASN1_TIME_to_tm(X509_get0_notAfter(sk_X509_value(chain, i)), &parts) == 1) {
      end = std::min(end, static_cast<uint64_t>(std::max<time_t>(timegm(&parts), 0)));
    }
  }
  return end;
}

int NoPassword(char*, int, int, void*) { return 0; }  // never ask on the terminal

int SelectAlpn(SSL*, const unsigned char** out, unsigned char* size, const unsigned char* in, unsigned in_size, void*) {
  const auto* const ours = reinterpret_cast<const unsigned char*>(kAlpn.data());
  auto** const selected = const_cast<unsigned char**>(out);
  return SSL_select_next_proto(selected, size, ours, kAlpn.size(), in, in_size) == OPENSSL_NPN_NEGOTIATED
             ? SSL_TLSEXT_ERR_OK
             : SSL_TLSEXT_ERR_ALERT_FATAL;
}

// Whether a list within an extension of the hello has an entry. Entries are `width` bytes, or with 0 as long as the byte before them says.
bool HasEntry(SSL* connection, unsigned type, size_t prefix, size_t width, std::string_view entry) {
  const unsigned char* data = nullptr;
  size_t size = 0;
  if (SSL_client_hello_get0_ext(connection, type, &data, &size) != 1 || size < prefix) {
    return false;
  }
  std::string_view rest(reinterpret_cast<const char*>(data) + prefix, size - prefix);
  while (!rest.empty()) {
    const size_t length = width != 0 ? width : static_cast<unsigned char>(rest.front());
    rest.remove_prefix(width != 0 ? 0 : 1);
    if (rest.size() < length) {
      return false;
    }
    if (rest.substr(0, length) == entry) {
      return true;
    }
    rest.remove_prefix(length);
  }
  return false;
}

}  // namespace

Admission::~Admission() { SSL_CTX_free(context_); }

Result<std::shared_ptr<const Admission>> Admission::Load(const config::TcpApi& config) {
  ERR_clear_error();
  std::shared_ptr<Admission> admission(new Admission);
  admission->bindings_ = Bindings(config.roles);
  SSL_CTX* const context = admission->context_ = SSL_CTX_new(TLS_server_method());
  if (context == nullptr) {
    return Fail(Code::kInternal, "OpenSSL has no TLS: " + OpensslError());
  }
  SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
  // A resumed session would not show its certificate again.
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context, 0);
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_default_passwd_cb(context, NoPassword);
  SSL_CTX_set_client_hello_cb(context, OnHello, nullptr);
  SSL_CTX_set_alpn_select_cb(context, SelectAlpn, nullptr);

  if (SSL_CTX_use_certificate_chain_file(context, config.certificate.c_str()) != 1) {
    return Wrong("certificate", config.certificate, "is no PEM certificate that can be read");
  }
  if (SSL_CTX_use_PrivateKey_file(context, config.key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return Wrong("key", config.key, "is no PEM key without password that can be read, or another certificate's");
  }
  if (SSL_CTX_check_private_key(context) != 1) {
    return Wrong("key", config.key, "does not belong to the certificate");
  }
  STACK_OF(X509_NAME)* const names = SSL_load_client_CA_file(config.client_ca.c_str());
  if (names == nullptr || SSL_CTX_load_verify_file(context, config.client_ca.c_str()) != 1) {
    sk_X509_NAME_pop_free(names, X509_NAME_free);
    return Wrong("client_ca", config.client_ca, "has no PEM certificates that can be read");
  }
  SSL_CTX_set_client_CA_list(context, names);  // takes them
  if (!config.crl.empty()) {
    X509_LOOKUP* const lookup = X509_STORE_add_lookup(SSL_CTX_get_cert_store(context), X509_LOOKUP_file());
    if (X509_load_crl_file(lookup, config.crl.c_str(), X509_FILETYPE_PEM) < 1) {
      return Wrong("crl", config.crl, "has no PEM lists that can be read");
    }
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context), X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
  }
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  SSL_CTX_set_verify_depth(context, kMaxDepth);
  SSL_CTX_set_cert_verify_callback(context, OnCertificate, admission.get());
  ERR_clear_error();
  return admission;
}

std::string Admission::Fingerprint(const config::TcpApi& config) {
  std::string text;
  for (const std::string* file : {&config.certificate, &config.key, &config.client_ca, &config.crl}) {
    struct stat info{};
    if (!file->empty() && stat(file->c_str(), &info) == 0) {
      text += std::to_string(info.st_dev) + "." + std::to_string(info.st_ino) + "." + std::to_string(info.st_size) + "." +
              std::to_string(info.st_mtim.tv_sec) + "." + std::to_string(info.st_mtim.tv_nsec);
    }
    text += ";";
  }
  return text;
}

SSL* Admission::NewConnection(Verdict* verdict) const {
  SSL* const connection = SSL_new(context_);
  if (connection != nullptr) {
    SSL_set_app_data(connection, verdict);
    SSL_set_accept_state(connection);
  }
  return connection;
}

int Admission::OnHello(SSL* connection, int* alert, void*) {
  auto* const verdict = static_cast<Verdict*>(SSL_get_app_data(connection));
  if (!HasEntry(connection, TLSEXT_TYPE_supported_versions, 1, 2, std::string_view("\x03\x04", 2))) {
    verdict->refusal = Refusal::kTlsVersion;
    verdict->detail = "the client does not offer TLS 1.3";
    *alert = SSL_AD_PROTOCOL_VERSION;
    return SSL_CLIENT_HELLO_ERROR;
  }
  if (!HasEntry(connection, TLSEXT_TYPE_application_layer_protocol_negotiation, 2, 0, "h2")) {
    verdict->refusal = Refusal::kNoHttp2;
    verdict->detail = "the client does not offer the protocol h2 (ALPN)";
    *alert = SSL_AD_NO_APPLICATION_PROTOCOL;
    return SSL_CLIENT_HELLO_ERROR;
  }
  return SSL_CLIENT_HELLO_SUCCESS;
}

int Admission::OnCertificate(X509_STORE_CTX* context, void* self) {
  auto* const connection = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(context, SSL_get_ex_data_X509_STORE_CTX_idx()));
  return static_cast<const Admission*>(self)->Verify(context, static_cast<Verdict*>(SSL_get_app_data(connection)));
}

int Admission::Verify(X509_STORE_CTX* context, Verdict* verdict) const {
  X509* const leaf = X509_STORE_CTX_get0_cert(context);
  if (X509_verify_cert(context) == 1) {
    const Names names = NamesOf(leaf);
    if (std::optional<Identity> identity = bindings_.Find(names)) {
      verdict->identity = std::move(*identity);
      verdict->ends_unix_s = EndOf(X509_STORE_CTX_get0_chain(context));
      return 1;
    }
    X509_STORE_CTX_set_error(context, X509_V_ERR_APPLICATION_VERIFICATION);
    verdict->detail = "api.tcp.roles binds none of its names: " + Text(names);
  } else {
    verdict->detail = X509_verify_cert_error_string(X509_STORE_CTX_get_error(context));
  }
  verdict->refusal = RefusalOf(X509_STORE_CTX_get_error(context));
  verdict->detail += " (" + SubjectOf(leaf) + ")";
  return 0;
}

void Admission::Explain(Verdict* verdict, bool ended_by_peer) {
  const unsigned long code = ERR_peek_error();
  const int reason = ERR_GET_REASON(code);
  const std::string text = OpensslError();
  if (verdict->refusal) {
    return;
  }
  verdict->detail = text;
  if (reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) {
    verdict->refusal = Refusal::kNoCertificate;
  } else if (reason == SSL_R_UNSUPPORTED_PROTOCOL || reason == SSL_R_VERSION_TOO_LOW) {
    verdict->refusal = Refusal::kTlsVersion;
  } else if (reason >= SSL_AD_REASON_OFFSET) {  // an alert of the client's
    verdict->refusal = Refusal::kAborted;
  } else if (ended_by_peer || code == 0 || reason == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
    verdict->refusal = Refusal::kAborted;
    verdict->detail = "the client ended the connection before the handshake was over";
  } else {
    verdict->refusal = Refusal::kTls;
  }
}

Verdict Admission::Check(SSL* connection) const {
  Verdict verdict;
  X509* const leaf = SSL_get0_peer_certificate(connection);
  X509_STORE_CTX* const context = X509_STORE_CTX_new();
  if (leaf == nullptr || context == nullptr ||
      X509_STORE_CTX_init(context, SSL_CTX_get_cert_store(context_), leaf, SSL_get_peer_cert_chain(connection)) != 1) {
    verdict.refusal = Refusal::kInternal;
  } else {
    X509_STORE_CTX_set_default(context, "ssl_client");
    X509_VERIFY_PARAM_set1(X509_STORE_CTX_get0_param(context), SSL_CTX_get0_param(context_));
    Verify(context, &verdict);
  }
  X509_STORE_CTX_free(context);
  return verdict;
}

}  // namespace moat::api
