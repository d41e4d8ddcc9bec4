// SPDX-License-Identifier: Apache-2.0
#include "agent/sink/syslog.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <string_view>
#include <utility>

#include "agent/sink/shrink.h"
#include "agent/sink/transports.h"

namespace moat::sink {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr size_t kLongestHostname = 255, kLongestProcid = 128, kLongestMsgid = 32;  // RFC 5424, 6
constexpr size_t kChunk = 256u << 10;       // of what is sent again, between looks at the clock
constexpr milliseconds kLongestEnd{2000};  // of waiting for a receiver to take its leave

// A field of the header: printable ASCII, at most `longest`.
std::string Field(std::string_view text, size_t longest) {
  std::string field(text.substr(0, longest));
  std::ranges::replace_if(field, [](char c) { return c <= ' ' || c >= 0x7f; }, '?');
  return field.empty() ? "-" : field;
}

// PARAM-VALUE: UTF-8 in which these three are escaped.
void AppendParam(std::string& to, std::string_view name, std::string_view value) {
  to.append(" ").append(name).append("=\"");
  for (const char c : value) {
    if (c == '"' || c == '\\' || c == ']') {
      to += '\\';
    }
    to += c;
  }
  to += '"';
}

std::string Timestamp(uint64_t unix_ns) {
  const auto seconds = static_cast<time_t>(unix_ns / 1'000'000'000);
  tm parts{};
  ::gmtime_r(&seconds, &parts);
  char day[32], text[48];
  ::strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(text, sizeof text, "%s.%06uZ", day, static_cast<unsigned>(unix_ns / 1000 % 1'000'000));
  return text;
}

unsigned SyslogSeverity(event::Severity severity) {
  switch (severity) {
    case event::Severity::kCritical: return 2;  // critical
    case event::Severity::kHigh: return 3;      // error
    case event::Severity::kMedium: return 4;    // warning
    case event::Severity::kLow: return 5;       // notice
    case event::Severity::kInfo: break;
  }
  return 6;  // informational
}

}  // namespace

std::string FormatSyslog(const Message& message, uint8_t facility, const std::string& hostname, const std::string& procid) {
  std::string line = "<" + std::to_string(facility * 8 + SyslogSeverity(message.severity)) + ">1 " +
                     Timestamp(message.time_unix_ns) + " " + Field(hostname, kLongestHostname) + " moatd " +
                     Field(procid, kLongestProcid) + " " + Field(message.kind, kLongestMsgid) + " [moat@32473";
  AppendParam(line, "id", message.id);
  AppendParam(line, "revision", std::to_string(message.revision));
  AppendParam(line, "kind", message.kind);
  AppendParam(line, "severity", event::SeverityName(message.severity));
  return line.append("] ").append(message.text);  // no byte order mark: receivers keep it as part of the text
}

Syslog::Syslog(config::SyslogSink config, const Origin& origin, std::string directory, const WindowOptions& options)
    : config_(std::move(config)),
      hostname_(origin.hostname),
      procid_(std::to_string(::getpid())),
      window_(std::move(directory), options) {}

Syslog::~Syslog() {
  const auto limit = steady_clock::now() + std::min(milliseconds(config_.timeout_ms), kLongestEnd);
  if (connection_ && !again_ && connection_->Close(limit)) {
    window_.Clear();  // it has read all
  }
}

// All that is kept may not have arrived.
void Syslog::Lost() {
  connection_.reset();
  window_.Rewind();
  again_ = true;
}

Status Syslog::Ready(Deadline deadline) {
  MOAT_TRY(window_.Open());
  if (!opened_) {
    opened_ = true;
    Lost();  // what the last run left: it was killed, or saw no orderly end
  }
  if (connection_ && !connection_->Check()) {
    Lost();
  }
  if (connection_ && connection_->FilesChanged()) {
    if (!connection_->Close(std::min(deadline, steady_clock::now() + kLongestEnd))) {
      Lost();  // nobody knows what it has read
    }
    connection_.reset();
  }
  if (!connection_) {
    MOAT_ASSIGN(connection_, TlsConnection::Connect(config_.host, config_.port, config_.tls, deadline));
  }
  return SendAgain(deadline);
}

Status Syslog::SendAgain(Deadline deadline) {
  again_ = again_ && !window_.empty();
  while (again_) {
    if (deadline - steady_clock::now() < milliseconds(config_.timeout_ms) / 2) {  // the next Send() goes on with it
      return Fail(Code::kDeadlineExceeded,
                  config_.host + ": still sending again what may have been lost with the last connection");
    }
    const std::vector<Message> messages = window_.Next(kChunk);
    if (messages.empty()) {
      again_ = false;
      break;
    }
    resent_ += messages.size();
    MOAT_TRY(SendAll(messages, deadline));
  }
  return {};
}

Status Syslog::SendAll(std::span<const Message> messages, Deadline deadline) {
  std::string all;
  for (const Message& message : messages) {
    const std::string line = FormatSyslog(message, config_.facility, hostname_, procid_);
    all.append(std::to_string(line.size())).append(" ").append(line);
  }
  Status sent = connection_->Write(all, deadline);
  if (sent) {
    sent = connection_->Confirm(deadline);
  }
  if (!sent) {
    Lost();
  }
  return sent;
}

// A receiver cuts what is longer, or ends the connection each time that it comes.
bool Syslog::Fits(const Message& message) const {
  constexpr size_t kLongestHead = 1024;  // of what is not in the message
  const size_t most = kLongestHead + 4 * message.kind.size() + 2 * message.id.size() + message.text.size();
  return most <= kMaxMessage || FormatSyslog(message, config_.facility, hostname_, procid_).size() <= kMaxMessage;
}

Delivery Syslog::Send(std::span<const Message> messages) {
  const auto long_one = std::ranges::find_if_not(messages, [this](const Message& message) { return Fits(message); });
  if (long_one != messages.end()) {
    const auto before = static_cast<size_t>(long_one - messages.begin());
    Delivery delivery = before == 0 ? Delivery{} : Send(messages.first(before));
    if (delivery.delivered == before) {
      delivery.outcome = Outcome::kRejected;
      delivery.why = "it is longer than " + std::to_string(kMaxMessage >> 10) + " KiB, the most that receivers of syslog take";
    }
    return delivery;
  }
  const Deadline deadline = steady_clock::now() + milliseconds(config_.timeout_ms);
  Status sent = Ready(deadline);
  if (sent) {
    sent = SendAll(messages, deadline);
  }
  if (!sent) {
    return {.delivered = 0, .outcome = Outcome::kRetry, .why = sent.error().message};
  }
  window_.SeenAlive();
  window_.Add(messages);
  return {.delivered = messages.size()};
}

Result<std::unique_ptr<Transport>> MakeSyslog(const config::SyslogSink& config, const Origin& origin, const std::string& spool) {
  return std::make_unique<Syslog>(config, origin, spool);
}

}  // namespace moat::sink
