// SPDX-License-Identifier: Apache-2.0
#include "agent/enrich/unix_http.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "agent/base/clock.h"
#include "agent/base/fd.h"
#include "agent/base/utf8.h"

namespace moat::enrich {

namespace {

constexpr size_t kChunk = 64 << 10;
constexpr size_t kToldBytes = 200;

class Exchange {
 public:
  Exchange(const std::string& socket, const HttpLimits& limits)
      : socket_(socket), limits_(limits), end_ns_(MonotonicNs() + limits.ms * 1'000'000) {}

  Result<std::string> Get(const std::string& target) {
    MOAT_TRY(Connect());
    MOAT_TRY(Send("GET " + target + " HTTP/1.0\r\nHost: localhost\r\n\r\n"));
    MOAT_ASSIGN(const std::string answer, Receive());
    const std::string_view line = std::string_view(answer).substr(0, answer.find("\r\n"));
    const size_t body = answer.find("\r\n\r\n");
    if (!line.starts_with("HTTP/1.") || line.size() < 12 || body == std::string::npos) {
      return Fail(Code::kDataLoss, socket_ + ": no HTTP answer");
    }
    if (line.substr(8, 4) != " 200") {
      return Fail(Code::kUnavailable, socket_ + ": answers " + Printable(line.substr(9, kToldBytes)));
    }
    return answer.substr(body + 4);
  }

 private:
  Status Connect() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (socket_.size() >= sizeof(address.sun_path)) {
      return Fail(Code::kInvalidArgument, socket_ + ": longer than a unix socket's path may be");
    }
    std::memcpy(address.sun_path, socket_.data(), socket_.size());
    fd_ = Fd(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd_) {
      return FailErrno(errno, "cannot make a socket");
    }
    // EAGAIN: its queue of connections is full. It is not waited for: nobody has answered for a while then.
    if (connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
      const auto refused = FailErrno(errno, "cannot connect to " + socket_);
      return refused.error().code == Code::kPermissionDenied ? refused : Fail(Code::kUnavailable, refused.error().message);
    }
    return {};
  }

  Status Wait(short events) {
    for (;;) {
      const uint64_t now_ns = MonotonicNs();
      if (now_ns >= end_ns_) {
        return Fail(Code::kDeadlineExceeded, socket_ + ": no answer within " + std::to_string(limits_.ms) + " ms");
      }
      pollfd ready{fd_.get(), events, 0};
      const int got = poll(&ready, 1, static_cast<int>(std::min<uint64_t>((end_ns_ - now_ns) / 1'000'000 + 1, 1000)));
      if (got > 0) {
        return {};
      }
      if (got < 0 && errno != EINTR) {
        return FailErrno(errno, "poll");
      }
    }
  }

  Status Send(std::string_view text) {
    while (!text.empty()) {
      MOAT_TRY(Wait(POLLOUT));
      const ssize_t sent = send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        return FailErrno(errno, "cannot ask " + socket_);
      }
      text.remove_prefix(sent < 0 ? 0 : static_cast<size_t>(sent));
    }
    return {};
  }

  Result<std::string> Receive() {
    std::string answer;
    for (;;) {
      MOAT_TRY(Wait(POLLIN));
      const size_t had = answer.size();
      answer.resize(had + kChunk);
      const ssize_t got = recv(fd_.get(), answer.data() + had, kChunk, 0);
      const int error = errno;
      answer.resize(had + (got < 0 ? 0 : static_cast<size_t>(got)));
      if (got == 0) {
        return answer;
      }
      if (got < 0 && error != EAGAIN && error != EINTR) {
        return FailErrno(error, "cannot read from " + socket_);
      }
      if (answer.size() > limits_.bytes) {
        return Fail(Code::kResourceExhausted, socket_ + ": answers more than " + std::to_string(limits_.bytes) + " bytes");
      }
    }
  }

  const std::string& socket_;
  const HttpLimits& limits_;
  const uint64_t end_ns_;
  Fd fd_;
};

}  // namespace

Result<std::string> HttpGet(const std::string& socket, const std::string& target, const HttpLimits& limits) {
  return Exchange(socket, limits).Get(target);
}

}  // namespace moat::enrich
