// SPDX-License-Identifier: Apache-2.0
#include "agent/sink/tls.h"

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <thread>
#include <utility>

namespace moat::sink {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kRefusal{1000};  // how long a refusal of this side's certificate may take
constexpr size_t kMostSaid = 1 << 20;  // by a receiver at once: a protocol in which it has nothing to say

struct FreeContext {
  void operator()(SSL_CTX* it) const { SSL_CTX_free(it); }
};
struct FreeSsl {
  void operator()(SSL* it) const { SSL_free(it); }
};

// What went wrong last on this thread, in words.
std::string Why() {
  const unsigned long error = ERR_peek_last_error();
  ERR_clear_error();
  const char* reason = ERR_SYSTEM_ERROR(error) ? nullptr : ERR_reason_error_string(error);
  return reason != nullptr ? reason : "the connection was closed";
}

int NoPassword(char*, int, int, void*) { return 0; }  // instead of asking on the terminal

Result<std::unique_ptr<SSL_CTX, FreeContext>> MakeContext(const config::Tls& tls) {
  std::unique_ptr<SSL_CTX, FreeContext> context(SSL_CTX_new(TLS_client_method()));
  if (!context) {
    return Fail(Code::kInternal, "OpenSSL: " + Why());
  }
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_default_passwd_cb(context.get(), NoPassword);
  if (SSL_CTX_load_verify_file(context.get(), tls.ca.c_str()) != 1) {
    return Fail(Code::kFailedPrecondition, "ca " + tls.ca + " cannot be used: " + Why());
  }
  if (!tls.cert.empty()) {
    if (SSL_CTX_use_certificate_chain_file(context.get(), tls.cert.c_str()) != 1) {
      return Fail(Code::kFailedPrecondition, "cert " + tls.cert + " cannot be used: " + Why());
    }
    if (SSL_CTX_use_PrivateKey_file(context.get(), tls.key.c_str(), SSL_FILETYPE_PEM) != 1) {
      return Fail(Code::kFailedPrecondition, "key " + tls.key + " cannot be used: " + Why());
    }
  }
  return context;
}

bool IsAddress(const std::string& name) {
  in6_addr unused{};
  return inet_pton(AF_INET, name.c_str(), &unused) == 1 || inet_pton(AF_INET6, name.c_str(), &unused) == 1;
}

class Connection final : public TlsConnection {
 public:
  Connection(std::string where, PemStamp stamp, const config::Tls& tls, std::unique_ptr<SSL_CTX, FreeContext> context)
      : where_(std::move(where)), stamp_(stamp), tls_(tls), context_(std::move(context)), ssl_(SSL_new(context_.get())) {}

  Status Open(const std::string& host, uint16_t port, Deadline deadline);
  Status Check() override;
  Status Write(std::string_view bytes, Deadline deadline) override;
  Status Confirm(Deadline deadline) override;
  bool FilesChanged() const override { return StampOf(tls_) != stamp_; }
  bool Close(Deadline deadline) override;

 private:
  static void OnMessage(int write, int version, int type, const void* bytes, size_t size, SSL* ssl, void* self);
  std::unexpected<Error> Broken(const std::string& why) const { return Fail(Code::kUnavailable, where_ + ": " + why); }
  // After an operation gave `result`: waits until it can be repeated. An error: it cannot.
  Status Await(int result, Deadline deadline, const char* doing);
  Status AwaitAccepted(Deadline deadline);

  const std::string where_;
  const PemStamp stamp_;
  const config::Tls tls_;
  const std::unique_ptr<SSL_CTX, FreeContext> context_;
  Fd fd_;
  const std::unique_ptr<SSL, FreeSsl> ssl_;
  bool ticket_ = false;  // the receiver has sent one
};

void Connection::OnMessage(int write, int /*version*/, int type, const void* bytes, size_t size, SSL* /*ssl*/, void* self) {
  if (write == 0 && type == SSL3_RT_HANDSHAKE && size > 0 &&
      *static_cast<const unsigned char*>(bytes) == SSL3_MT_NEWSESSION_TICKET) {
    static_cast<Connection*>(self)->ticket_ = true;
  }
}

Status Connection::Await(int result, Deadline deadline, const char* doing) {
  const int error = SSL_get_error(ssl_.get(), result);
  if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
    const long verified = SSL_get_verify_result(ssl_.get());
    if (verified != X509_V_OK) {
      ERR_clear_error();
      return Broken(std::string("its certificate is not accepted: ") + X509_verify_cert_error_string(verified));
    }
    std::string why = Why();
    if (error == SSL_ERROR_SYSCALL && SSL_is_init_finished(ssl_.get()) == 1) {
      if (const Status said = Check(); !said) {  // it may have said why before it closed
        return said;
      }
    }
    return Broken(std::string("broke off ") + doing + ": " + why);
  }
  pollfd poll{.fd = fd_.get(), .events = static_cast<short>(error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT), .revents = 0};
  const int left = MillisUntil(deadline);
  if (::poll(&poll, 1, left) == 0 || left == 0) {
    return Fail(Code::kDeadlineExceeded, where_ + ": took too long " + doing);
  }
  return {};
}

Status Connection::Open(const std::string& host, uint16_t port, Deadline deadline) {
  auto fd = ConnectTcp(host, port, deadline);
  if (!fd) {
    return Fail(fd.error().code, where_ + ": " + fd.error().message);
  }
  fd_ = std::move(*fd);
  SSL* ssl = ssl_.get();
  X509_VERIFY_PARAM_set_hostflags(SSL_get0_param(ssl), X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  const bool named =
      IsAddress(tls_.server_name)
          ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), tls_.server_name.c_str()) == 1
          : SSL_set1_host(ssl, tls_.server_name.c_str()) == 1 && SSL_set_tlsext_host_name(ssl, tls_.server_name.c_str()) == 1;
  if (tls_.server_name.empty() || !named || SSL_set_fd(ssl, fd_.get()) != 1) {
    return Broken("OpenSSL: " + Why());
  }
  SSL_set_msg_callback(ssl, OnMessage);
  SSL_set_msg_callback_arg(ssl, this);
  ERR_clear_error();
  for (int done = 0; (done = SSL_connect(ssl)) != 1;) {
    MOAT_TRY(Await(done, deadline, "in the handshake"));
  }
  if (SSL_version(ssl) < TLS1_3_VERSION) {
    return {};  // the receiver's last message of the handshake came after it had looked at the certificate
  }
  return AwaitAccepted(steady_clock::now() + std::min<steady_clock::duration>(
                                                 kRefusal, (deadline - steady_clock::now()) / 4));  // in TLS 1.3 it has not
}

Status Connection::Check() {
  ERR_clear_error();
  std::array<char, 4096> said;
  for (size_t all = 0; all < kMostSaid;) {
    const int got = SSL_read(ssl_.get(), said.data(), static_cast<int>(said.size()));
    if (got > 0) {
      all += static_cast<size_t>(got);
      continue;
    }
    const int error = SSL_get_error(ssl_.get(), got);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
      return {};
    }
    return Broken(error == SSL_ERROR_ZERO_RETURN ? "the receiver closed the connection" : "the receiver broke off: " + Why());
  }
  return Broken("it talks without end, as no receiver does");
}

Status Connection::Write(std::string_view bytes, Deadline deadline) {
  ERR_clear_error();
  while (!bytes.empty()) {
    const auto most = std::min(bytes.size(), size_t{1} << 20);
    const int done = SSL_write(ssl_.get(), bytes.data(), static_cast<int>(most));
    if (done > 0) {
      bytes.remove_prefix(static_cast<size_t>(done));
    } else {
      MOAT_TRY(Await(done, deadline, "while sending"));
    }
  }
  return {};
}

Status Connection::AwaitAccepted(Deadline deadline) {
  for (;;) {
    MOAT_TRY(Check());
    const int left = MillisUntil(deadline);
    if (ticket_ || left == 0) {
      return {};
    }
    pollfd poll{.fd = fd_.get(), .events = POLLIN, .revents = 0};
    ::poll(&poll, 1, left);
  }
}

Status Connection::Confirm(Deadline deadline) {
  for (milliseconds pause{1};; pause = std::min(pause * 2, milliseconds(20))) {
    MOAT_TRY(Check());
    int unsent = 0;
    if (::ioctl(fd_.get(), SIOCOUTQ, &unsent) != 0) {
      return Broken("the send queue cannot be read");
    }
    if (unsent == 0) {
      return Check();
    }
    if (MillisUntil(deadline) == 0) {
      return Fail(Code::kDeadlineExceeded, where_ + ": the receiver's host does not take what was sent");
    }
    std::this_thread::sleep_for(pause);
  }
}

bool Connection::Close(Deadline deadline) {
  ERR_clear_error();
  int done = 0;
  while ((done = SSL_shutdown(ssl_.get())) < 0) {
    if (!Await(done, deadline, "at the end")) {
      return false;
    }
  }
  ::shutdown(fd_.get(), SHUT_WR);
  for (;;) {
    // What comes now is dropped. Its end without an error means that the receiver came upon ours: with bytes unread it would have reset.
    char said[4096];
    const ssize_t got = ::recv(fd_.get(), said, sizeof said, 0);
    if (got == 0) {
      return true;
    }
    if (got < 0 && errno != EAGAIN && errno != EINTR) {
      return false;
    }
    const int left = MillisUntil(deadline);
    pollfd poll{.fd = fd_.get(), .events = POLLIN, .revents = 0};
    if (left == 0 || (got < 0 && ::poll(&poll, 1, left) == 0)) {
      return false;
    }
  }
}

}  // namespace

PemStamp StampOf(const config::Tls& tls) {
  PemStamp stamp{};
  size_t at = 0;
  for (const std::string* path : {&tls.ca, &tls.cert, &tls.key}) {
    struct stat stat{};
    if (!path->empty() && ::stat(path->c_str(), &stat) == 0) {
      for (const int64_t part :
           {static_cast<int64_t>(stat.st_ino), static_cast<int64_t>(stat.st_dev), static_cast<int64_t>(stat.st_size),
            static_cast<int64_t>(stat.st_mtim.tv_sec), static_cast<int64_t>(stat.st_mtim.tv_nsec), int64_t{1}}) {
        stamp[at++] = part;
      }
    } else {
      at += 6;
    }
  }
  return stamp;
}

Result<std::unique_ptr<TlsConnection>> TlsConnection::Connect(const std::string& host, uint16_t port, const config::Tls& tls,
                                                              Deadline deadline) {
  const PemStamp stamp = StampOf(tls);  // before they are read: one that changes now is seen as changed
  MOAT_ASSIGN(auto context, MakeContext(tls));
  const std::string where = (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" + std::to_string(port);
  auto connection = std::make_unique<Connection>(where, stamp, tls, std::move(context));
  MOAT_TRY(connection->Open(host, port, deadline));
  return connection;
}

}  // namespace moat::sink
