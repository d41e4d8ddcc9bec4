// SPDX-License-Identifier: Apache-2.0
// Syslog, RFC 5424 messages in RFC 5425 frames over TLS.
//
// Syslog has no acknowledgements. A batch counts as delivered when the receiver's host has it (tls.h: Confirm), and what was delivered is kept
// for a while: a receiver that dies takes with it what it had not yet read and written, so all that is kept is sent again on the next
// connection. Only what is older than `keep_for` when a connection is seen alive, or beyond `keep_bytes`, is given up. So after a
// fault of the receiver messages arrive twice, with the same id and revision; after an orderly change of connections none does. What is kept
// is in memory: the death of both the receiver and this agent, one after the other, can lose what a receiver had in its memory.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>

#include "agent/config/sinks.h"
#include "agent/sink/sink.h"
#include "agent/sink/tls.h"

namespace moat::sink {

// "<PRI>1 ..." without the frame. What RFC 5424 does not allow in a header field becomes "?", what is too long is cut.
std::string FormatSyslog(const Message& message, uint8_t facility, const std::string& hostname, const std::string& procid);

struct SyslogOptions {
  size_t keep_bytes = 16u << 20;  // above what a receiver's socket and its queue hold
  std::chrono::milliseconds keep_for{60'000};
};

class Syslog final : public Transport {
 public:
  Syslog(config::SyslogSink config, const Origin& origin, const SyslogOptions& options = {});
  ~Syslog() override;
  const char* name() const override { return "syslog"; }
  Delivery Send(std::span<const Message> messages) override;

  // Messages sent again that may have arrived already, beside those that Send() was given again. The sender's thread.
  uint64_t resent() const { return resent_; }

 private:
  struct Kept {
    std::chrono::steady_clock::time_point at;
    std::string frame;
  };
  Status Ready(Deadline deadline);
  Status SendAgain(Deadline deadline);
  Status SendNew(std::span<const Message> messages, Deadline deadline);
  void Keep(std::string frame);
  void Forget();
  void Lost();

  const config::SyslogSink config_;
  const SyslogOptions options_;
  const std::string hostname_, procid_;
  std::unique_ptr<TlsConnection> connection_;
  std::deque<Kept> kept_;  // delivered, the oldest first
  size_t kept_bytes_ = 0;
  size_t again_ = 0;  // of kept_, how many of the newest have to be sent again
  uint64_t resent_ = 0;
};

}  // namespace moat::sink
