// SPDX-License-Identifier: Apache-2.0
// Syslog, RFC 5424 messages in RFC 5425 frames over TLS.
//
// Syslog has no acknowledgements. A batch counts as delivered when the receiver's host has it (tls.h: Confirm), and what was delivered is kept
// for a while (window.h): a receiver that dies takes with it what it had not yet read and written, so all that is kept is sent again on the
// next connection, also by the next run when this one is killed. So after a fault messages arrive twice, with the same id and revision; after
// an orderly end or change of connections none does. A receiver that dies shows when the next message is to be sent, not before.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "agent/config/sinks.h"
#include "agent/sink/sink.h"
#include "agent/sink/tls.h"
#include "agent/sink/window.h"

namespace moat::sink {

// "<PRI>1 ..." without the frame. What RFC 5424 does not allow in a header field becomes "?", what is too long is cut.
std::string FormatSyslog(const Message& message, uint8_t facility, const std::string& hostname, const std::string& procid);

class Syslog final : public Transport {
 public:
  // directory: of its spool, which must be open by the first Send().
  Syslog(config::SyslogSink config, const Origin& origin, std::string directory, const WindowOptions& options = {});
  ~Syslog() override;
  const char* name() const override { return "syslog"; }
  Delivery Send(std::span<const Message> messages) override;

  // resent: beside those that Send() was given again.
  TransportStats stats() const override { return {.resent = resent_, .unkept = window_.unkept()}; }

 private:
  Status Ready(Deadline deadline);
  Status SendAgain(Deadline deadline);
  Status SendAll(std::span<const Message> messages, Deadline deadline);
  void Lost();
  bool Fits(const Message& message) const;

  const config::SyslogSink config_;
  const std::string hostname_, procid_;
  std::unique_ptr<TlsConnection> connection_;
  Window window_;
  bool opened_ = false;  // the window
  bool again_ = false;  // not all of the window was sent again
  uint64_t resent_ = 0;
};

}  // namespace moat::sink
