// SPDX-License-Identifier: Apache-2.0
#include "agent/api/door_connection.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>
#include <utility>

namespace moat::api {
namespace {

constexpr int kRounds = 16;               // of one connection, before others have their turn
constexpr size_t kDrainBytes = 64 << 10;  // of a refused client
constexpr uint8_t kTlsHandshake = 22;

std::string WhatInstead(std::string_view begin) {
  if (begin.starts_with("PRI * HTTP/2")) {
    return "the client speaks gRPC in plaintext";
  }
  for (const std::string_view word : {"GET ", "POST ", "PUT ", "HEAD ", "OPTIONS ", "CONNECT "}) {
    if (begin.starts_with(word)) {
      return "the client speaks HTTP in plaintext";
    }
  }
  return "what the client sent is no TLS";
}

}  // namespace

DoorConnection::DoorConnection(Fd outer, std::string address, std::shared_ptr<const Admission> admission)
    : address_(std::move(address)), admission_(std::move(admission)), outer_(std::move(outer)) {
  tls_ = admission_->NewConnection(&verdict_);
  if (tls_ == nullptr || SSL_set_fd(tls_, outer_.get()) != 1) {
    Refuse(Refusal::kInternal, "no memory for TLS");
  }
}

DoorConnection::~DoorConnection() { SSL_free(tls_); }

void DoorConnection::Refuse(Refusal refusal, std::string detail) {
  verdict_.refusal = refusal;
  verdict_.detail = std::move(detail);
  state_ = State::kRefused;
}

DoorConnection::State DoorConnection::Advance() {
  interest_ = {};
  switch (state_) {
    case State::kHandshake: return state_ = Handshake();
    case State::kOpen: return state_ = Pump();
    case State::kRefused: return Drain();
    case State::kAdmitted:
    case State::kDone: return state_;
  }
  return state_;
}

DoorConnection::State DoorConnection::Handshake() {
  if (!first_byte_seen_) {
    std::array<char, 24> begin{};
    const ssize_t got = recv(outer_.get(), begin.data(), begin.size(), MSG_PEEK | MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) {
      interest_.outer = EPOLLIN;
      return State::kHandshake;
    }
    if (got > 0 && static_cast<uint8_t>(begin.front()) != kTlsHandshake) {
      Refuse(Refusal::kNotTls, WhatInstead({begin.data(), static_cast<size_t>(got)}));
      return state_;
    }
    first_byte_seen_ = true;
  }
  ERR_clear_error();
  const int result = SSL_accept(tls_);
  if (result == 1) {
    return State::kAdmitted;
  }
  switch (SSL_get_error(tls_, result)) {
    case SSL_ERROR_WANT_READ: interest_.outer = EPOLLIN; return State::kHandshake;
    case SSL_ERROR_WANT_WRITE: interest_.outer = EPOLLOUT; return State::kHandshake;
    case SSL_ERROR_SYSCALL: Admission::Explain(&verdict_, true); break;
    default: Admission::Explain(&verdict_, false); break;
  }
  return State::kRefused;
}

Result<Fd> DoorConnection::OpenInner(std::string* inner_name) {
  std::array<int, 2> pair{};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair.data()) != 0) {
    return FailErrno(errno, "cannot make a pair of sockets");
  }
  inner_ = Fd(pair[0]);
  Fd theirs(pair[1]);
  // With no name given the kernel chooses one that nobody has, in the abstract space: gRPC reads it as the name of its peer. Nobody can
  // connect to it, as nothing listens.
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  socklen_t size = sizeof(name.sun_family);
  if (bind(inner_.get(), reinterpret_cast<const sockaddr*>(&name), size) != 0) {
    return FailErrno(errno, "cannot name a socket");
  }
  size = sizeof(name);
  if (getsockname(inner_.get(), reinterpret_cast<sockaddr*>(&name), &size) != 0) {
    return FailErrno(errno, "cannot read a socket's name");
  }
  constexpr size_t kBefore = offsetof(sockaddr_un, sun_path) + 1;
  *inner_name = "unix-abstract:" + std::string(&name.sun_path[1], size > kBefore ? size - kBefore : 0);
  in_ = std::make_unique<Buffer>();
  out_ = std::make_unique<Buffer>();
  state_ = State::kOpen;
  return theirs;
}

// After an SSL_read or SSL_write: what it waits for, or that it is over.
bool DoorConnection::TlsMoved(int result, bool* eof) {
  if (result > 0) {
    return true;
  }
  switch (SSL_get_error(tls_, result)) {
    case SSL_ERROR_WANT_READ: interest_.outer |= EPOLLIN; break;
    case SSL_ERROR_WANT_WRITE: interest_.outer |= EPOLLOUT; break;
    case SSL_ERROR_ZERO_RETURN: *eof = true; break;
    default: outer_gone_ = true; break;
  }
  ERR_clear_error();
  return false;
}

bool DoorConnection::OuterToInner() {
  bool moved = false;
  if (in_->empty() && !outer_eof_) {
    ERR_clear_error();
    const int got = SSL_read(tls_, in_->bytes.data(), static_cast<int>(in_->bytes.size()));
    if (TlsMoved(got, &outer_eof_)) {
      in_->begin = 0;
      in_->end = static_cast<size_t>(got);
      moved = true;
    }
  }
  if (!in_->empty()) {
    const ssize_t sent = send(inner_.get(), &in_->bytes[in_->begin], in_->end - in_->begin, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      in_->begin += static_cast<size_t>(sent);
      moved = true;
    } else if (errno == EAGAIN) {
      interest_.inner |= EPOLLOUT;
    } else {
      in_->begin = in_->end;  // gRPC has closed: nobody reads it
      inner_gone_ = true;
    }
  }
  if (outer_eof_ && in_->empty() && !std::exchange(inner_shut_, true)) {
    shutdown(inner_.get(), SHUT_WR);
  }
  return moved;
}

bool DoorConnection::InnerToOuter() {
  bool moved = false;
  if (out_->empty() && !inner_eof_) {
    const ssize_t got = recv(inner_.get(), out_->bytes.data(), out_->bytes.size(), MSG_DONTWAIT);
    if (got > 0) {
      out_->begin = 0;
      out_->end = static_cast<size_t>(got);
      moved = true;
    } else if (got < 0 && errno == EAGAIN) {
      interest_.inner |= EPOLLIN;
    } else {
      inner_eof_ = true;
    }
  }
  if (!out_->empty()) {
    bool unused = false;
    ERR_clear_error();
    const int wrote = SSL_write(tls_, &out_->bytes[out_->begin], static_cast<int>(out_->end - out_->begin));
    if (TlsMoved(wrote, &unused)) {
      out_->begin += static_cast<size_t>(wrote);
      moved = true;
    }
  }
  return moved;
}

DoorConnection::State DoorConnection::Pump() {
  bool moved = true;
  for (int round = 0; round < kRounds && moved && !outer_gone_; ++round) {
    interest_ = {};
    const bool in = OuterToInner();
    const bool out = InnerToOuter();
    moved = in || out;
    if (inner_eof_ && out_->empty()) {  // gRPC is done with it
      SSL_shutdown(tls_);
      ERR_clear_error();
      return State::kDone;
    }
  }
  interest_.again = moved;
  return outer_gone_ ? State::kDone : State::kOpen;
}

DoorConnection::State DoorConnection::Drain() {
  interest_ = {};
  shutdown(outer_.get(), SHUT_WR);
  std::array<char, 4096> unused{};
  ssize_t got = 0;
  while (drained_ < kDrainBytes && (got = recv(outer_.get(), unused.data(), unused.size(), MSG_DONTWAIT)) > 0) {
    drained_ += static_cast<size_t>(got);
  }
  if (got < 0 && errno == EAGAIN && drained_ < kDrainBytes) {
    interest_.outer = EPOLLIN;
    return State::kRefused;
  }
  return state_ = State::kDone;
}

}  // namespace moat::api
