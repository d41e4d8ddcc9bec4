// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/tls.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>

#include "agent/base/fd.h"
#include "agent/cli/text.h"

namespace moat::cli {
namespace {

constexpr int kConnectSeconds = 3;
constexpr int kAlertSeconds = 1;  // a server that refuses says so at once
constexpr int kAlert = SSL_AD_REASON_OFFSET;

struct HostPort {
  std::string host, port;
};

HostPort Split(const std::string& address) {
  const size_t colon = address.rfind(':');
  HostPort out{address.substr(0, colon), colon == std::string::npos ? "" : address.substr(colon + 1)};
  if (out.host.starts_with('[') && out.host.ends_with(']')) {
    out.host = out.host.substr(1, out.host.size() - 2);
  }
  return out;
}

bool ReadPem(const char* option, const std::string& file, std::string* text) {
  std::ifstream in(file, std::ios::binary);
  text->assign(std::istreambuf_iterator<char>(in), {});
  if (in.bad() || text->find("-----BEGIN ") == std::string::npos) {
    std::fprintf(stderr, "moatctl: %s %s: %s\n", option, Safe(file).c_str(),
                 in.is_open() ? "there is nothing in PEM format in it" : std::strerror(errno));
    return false;
  }
  return true;
}

Fd Dial(const HostPort& to, std::string* why) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  if (const int error = getaddrinfo(to.host.c_str(), to.port.c_str(), &hints, &found); error != 0) {
    *why = "the host is not known: " + std::string(gai_strerror(error));
    return {};
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, freeaddrinfo);
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    Fd fd(socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const timeval limit{.tv_sec = kConnectSeconds, .tv_usec = 0};
    setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    if (connect(fd.get(), one->ai_addr, one->ai_addrlen) == 0) {
      return fd;
    }
    *why = errno == ECONNREFUSED  ? "nobody listens there: moatd does not run, or api.tcp.address is another"
           : errno == EINPROGRESS ? "nobody answers: is a firewall between, or the host down?"
                                  : std::strerror(errno);
  }
  return {};
}

// What the agent's last word was.
std::string AlertText(int alert) {
  switch (alert) {
    case SSL_AD_CERTIFICATE_EXPIRED: return "the agent refused the certificate of --tls-cert: it has expired";
    case SSL_AD_CERTIFICATE_REVOKED: return "the agent refused the certificate of --tls-cert: it is revoked";
    case SSL_AD_UNKNOWN_CA:
      return "the agent refused the certificate of --tls-cert: it is of no CA that it trusts (api.tcp.client_ca)";
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
      return "the agent refused the certificate of --tls-cert: it is not for clients (clientAuth)";
    case SSL_AD_BAD_CERTIFICATE:
      return "the agent refused the certificate of --tls-cert: it is not yet valid, or broken; its audit says more";
    case TLS13_AD_CERTIFICATE_REQUIRED: return "the agent wants a client certificate: --tls-cert and --tls-key";
    case SSL_AD_HANDSHAKE_FAILURE:
      return "the agent refused the certificate of --tls-cert: its names are bound to no role (api.tcp.roles)";
    case SSL_AD_PROTOCOL_VERSION: return "the agent speaks TLS 1.3 only, and this client could not";
    default: return std::string("the agent ended the handshake: ") + SSL_alert_desc_string_long(alert);
  }
}

std::string ErrorText(SSL* connection) {
  const unsigned long code = ERR_peek_last_error();
  const int reason = ERR_GET_REASON(code);
  ERR_clear_error();
  if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
    const long verify = SSL_get_verify_result(connection);
    if (verify == X509_V_ERR_HOSTNAME_MISMATCH || verify == X509_V_ERR_IP_ADDRESS_MISMATCH) {
      return "its certificate is for another name: --tls-server-name says which name it has";
    }
    return std::string("its certificate is not to be trusted: ") + X509_verify_cert_error_string(verify) +
           "; --tls-ca must be the CA that signed it";
  }
  if (reason > kAlert) {
    return AlertText(reason - kAlert);
  }
  if (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_UNSUPPORTED_PROTOCOL) {
    return "what answers there is no TLS 1.3: is it moatd's port?";
  }
  return "it closed the connection at once: it has too many, or is no moatd";
}

}  // namespace

bool IsNetwork(const std::string& address) { return !address.starts_with("unix:") && !address.starts_with('/'); }

int ReadTls(Options& options) {
  if (!IsNetwork(options.address)) {
    return kExitOk;
  }
  TlsWords& tls = options.tls;
  if (const HostPort to = Split(options.address); to.host.empty() || to.port.empty()) {
    std::fprintf(stderr, "moatctl: --address %s is neither unix:///PATH nor HOST:PORT\n", Safe(options.address).c_str());
    return kExitUsage;
  }
  if (tls.ca.empty() || tls.certificate.empty() || tls.key.empty()) {
    std::fprintf(stderr,
                 "moatctl: the agent at %s is reached by TLS with a client certificate: --tls-ca, --tls-cert and --tls-key, or\n"
                 "  MOAT_TLS_CA, MOAT_TLS_CERT and MOAT_TLS_KEY, name the files\n",
                 Safe(options.address).c_str());
    return kExitUsage;
  }
  return ReadPem("--tls-ca", tls.ca, &tls.ca_pem) && ReadPem("--tls-cert", tls.certificate, &tls.certificate_pem) &&
                 ReadPem("--tls-key", tls.key, &tls.key_pem)
             ? kExitOk
             : kExitUsage;
}

std::string WhyNoTls(const Options& options) {
  std::signal(SIGPIPE, SIG_IGN);  // OpenSSL writes to a socket that the agent may have closed
  const HostPort to = Split(options.address);
  std::string why;
  const Fd fd = Dial(to, &why);
  if (!fd) {
    return why;
  }
  const std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  SSL_CTX_set_min_proto_version(context.get(), TLS1_3_VERSION);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  if (SSL_CTX_load_verify_file(context.get(), options.tls.ca.c_str()) != 1) {
    return "--tls-ca has no certificate that can be read";
  }
  if (SSL_CTX_use_certificate_chain_file(context.get(), options.tls.certificate.c_str()) != 1) {
    return "--tls-cert has no certificate that can be read";
  }
  if (SSL_CTX_use_PrivateKey_file(context.get(), options.tls.key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return "--tls-key has no key that can be read, or not that of --tls-cert";
  }
  static constexpr std::array<unsigned char, 3> kAlpn = {2, 'h', '2'};
  SSL_CTX_set_alpn_protos(context.get(), kAlpn.data(), kAlpn.size());
  const std::unique_ptr<SSL, void (*)(SSL*)> connection(SSL_new(context.get()), SSL_free);
  const std::string& name = options.tls.server_name.empty() ? to.host : options.tls.server_name;
  in6_addr unused{};
  if (inet_pton(AF_INET, name.c_str(), &unused) == 1 || inet_pton(AF_INET6, name.c_str(), &unused) == 1) {
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(connection.get()), name.c_str());
  } else {
    SSL_set1_host(connection.get(), name.c_str());
    SSL_set_tlsext_host_name(connection.get(), name.c_str());
  }
  SSL_set_fd(connection.get(), fd.get());
  ERR_clear_error();
  if (SSL_connect(connection.get()) != 1) {
    return ErrorText(connection.get());
  }
  // In TLS 1.3 a client is done before the server has seen its certificate: a refusal comes as the first thing that is read.
  const timeval limit{.tv_sec = kAlertSeconds, .tv_usec = 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  char byte = 0;
  const int got = SSL_read(connection.get(), &byte, 1);
  return got > 0 || SSL_get_error(connection.get(), got) == SSL_ERROR_WANT_READ ? "" : ErrorText(connection.get());
}

}  // namespace moat::cli
