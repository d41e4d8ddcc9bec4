// SPDX-License-Identifier: Apache-2.0
// A TLS connection to a receiver, whose certificate is checked, by one thread. Nothing blocks beyond the deadline given. The process must
// ignore SIGPIPE.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "agent/base/error.h"
#include "agent/config/sinks.h"
#include "agent/sink/socket.h"

namespace moat::sink {

// inode, device, size and times of the PEM files, which another file of the same name does not share.
using PemStamp = std::array<int64_t, 18>;
PemStamp StampOf(const config::Tls& tls);

class TlsConnection {
 public:
  // TLS 1.2 at least. The PEM files are read anew each time. An error ends a connection: it can only be destroyed. Messages name the address.
  // A receiver that does not accept this side's certificate says so after the handshake is over on this side: that is waited for, up to a
  // second or a quarter of the time left, or until it sends session tickets, as OpenSSL does once it has accepted.
  static Result<std::unique_ptr<TlsConnection>> Connect(const std::string& host, uint16_t port, const config::Tls& tls,
                                                        Deadline deadline);
  virtual ~TlsConnection() = default;

  // Reads and drops what the receiver says; fails when it has closed.
  virtual Status Check() = 0;
  virtual Status Write(std::string_view bytes, Deadline deadline) = 0;
  // Waits until the receiver's kernel has all that was written. More than that TLS receivers do not tell: neither OpenSSL nor GnuTLS answers
  // even TLS 1.3's request to update keys before it has something to send itself.
  virtual Status Confirm(Deadline deadline) = 0;
  // A PEM file is another one than it was when the connection was made.
  virtual bool FilesChanged() const = 0;
  // close_notify, then waits for the receiver to close too, so that nothing that it has not read is lost with the connection. False: it has not, or not in
  // order.
  virtual bool Close(Deadline deadline) = 0;
};

}  // namespace moat::sink
