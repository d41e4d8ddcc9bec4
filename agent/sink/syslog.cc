// SPDX-License-Identifier: Apache-2.0
#include "agent/sink/syslog.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <string_view>
#include <utility>

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

Syslog::Syslog(config::SyslogSink config, const Origin& origin, const SyslogOptions& options)
    : config_(std::move(config)), options_(options), hostname_(origin.hostname), procid_(std::to_string(::getpid())) {}

Syslog::~Syslog() {
  if (connection_) {
    connection_->Close(steady_clock::now() + std::min(milliseconds(config_.timeout_ms), kLongestEnd));
  }
}

// All that is kept may not have arrived.
void Syslog::Lost() {
  connection_.reset();
  again_ = kept_.size();
}

// The connection is alive: what was read long ago is written by now.
void Syslog::Forget() {
  const auto old = steady_clock::now() - options_.keep_for;
  while (kept_.size() > again_ && (kept_.front().at < old || kept_bytes_ > options_.keep_bytes)) {
    kept_bytes_ -= kept_.front().frame.size();
    kept_.pop_front();
  }
}

void Syslog::Keep(std::string frame) {
  kept_bytes_ += frame.size();
  kept_.push_back({.at = steady_clock::now(), .frame = std::move(frame)});
}

Status Syslog::Ready(Deadline deadline) {
  if (connection_ && !connection_->Check()) {
    Lost();
  }
  if (connection_ && connection_->FilesChanged()) {
    connection_->Close(std::min(deadline, steady_clock::now() + kLongestEnd));
    connection_.reset();
  }
  if (!connection_) {
    MOAT_ASSIGN(connection_, TlsConnection::Connect(config_.host, config_.port, config_.tls, deadline));
  }
  return SendAgain(deadline);
}

Status Syslog::SendAgain(Deadline deadline) {
  while (again_ > 0) {
    if (deadline - steady_clock::now() < milliseconds(config_.timeout_ms) / 2) {  // the next Send() goes on with it
      return Fail(Code::kDeadlineExceeded,
                  config_.host + ": still sending again what may have been lost with the last connection");
    }
    std::string frames;
    size_t count = 0;
    for (auto it = kept_.end() - static_cast<std::ptrdiff_t>(again_); it != kept_.end() && frames.size() < kChunk;
         ++it, ++count) {
      frames += it->frame;
    }
    resent_ += count;
    Status sent = connection_->Write(frames, deadline);
    if (sent) {
      sent = connection_->Confirm(deadline);
    }
    if (!sent) {
      Lost();
      return sent;
    }
    again_ -= count;
  }
  return {};
}

Status Syslog::SendNew(std::span<const Message> messages, Deadline deadline) {
  std::vector<std::string> frames;
  std::string all;
  for (const Message& message : messages) {
    const std::string line = FormatSyslog(message, config_.facility, hostname_, procid_);
    frames.push_back(std::to_string(line.size()) + " " + line);
    all += frames.back();
  }
  Status sent = connection_->Write(all, deadline);
  if (sent) {
    sent = connection_->Confirm(deadline);
  }
  if (!sent) {
    Lost();
    return sent;
  }
  for (std::string& frame : frames) {
    Keep(std::move(frame));
  }
  Forget();
  return {};
}

Delivery Syslog::Send(std::span<const Message> messages) {
  const Deadline deadline = steady_clock::now() + milliseconds(config_.timeout_ms);
  Status sent = Ready(deadline);
  if (sent) {
    sent = SendNew(messages, deadline);
  }
  if (!sent) {
    return {.delivered = 0, .outcome = Outcome::kRetry, .why = sent.error().message};
  }
  return {.delivered = messages.size()};
}

Result<std::unique_ptr<Transport>> MakeSyslog(const config::SyslogSink& config, const Origin& origin) {
  return std::make_unique<Syslog>(config, origin);
}

}  // namespace moat::sink
