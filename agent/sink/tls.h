// SPDX-License-Identifier: Apache-2.0
// A TLS connection to a receiver, whose certificate is checked, by one thread. Nothing blocks beyond the deadline given. The process must
// ignore SIGPIPE.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "agent/base/error.h"
#include "agent/config/sinks.h"
#include "agent/sink/socket.h"

namespace moat::sink {

class TlsConnection {
 public:
  // TLS 1.2 at least. The PEM files are read anew each time. Succeeds when the receiver has accepted this side's certificate too. An error
  // ends a connection: it can only be destroyed. Messages name the address.
  static Result<std::unique_ptr<TlsConnection>> Connect(const std::string& host, uint16_t port, const config::Tls& tls, Deadline deadline);
  virtual ~TlsConnection() = default;

  // Reads and drops what the receiver says; fails when it has closed.
  virtual Status Check() = 0;
  virtual Status Write(std::string_view bytes, Deadline deadline) = 0;
  // Waits until the receiver's program has read all that was written, or, when it gives no sign of reading (answers()), until its kernel
  // has all.
  virtual Status Confirm(Deadline deadline) = 0;
  // By TLS 1.3's request to update keys, which has to be answered. GnuTLS answers only when it has something to say itself, and before
  // TLS 1.3 there is no such thing.
  virtual bool answers() const = 0;
  // A PEM file is another one than it was when the connection was made.
  virtual bool FilesChanged() const = 0;
  // close_notify, then waits for the receiver to close too, so that nothing that it has not read is lost with the connection.
  virtual void Close(Deadline deadline) = 0;
};

}  // namespace moat::sink
