// SPDX-License-Identifier: Apache-2.0
// The record of who came to the API and what was said to them: one line of JSON for each call and each connection. Nothing of what was
// asked or answered is in it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "agent/base/error.h"
#include "agent/config/api.h"

namespace moat::api {

struct AuditLine {
  enum class Event : uint8_t { kCall, kConnection };
  enum class Decision : uint8_t { kAllowed, kDenied, kClosed };  // kClosed: allowed once, and now no more
  Event event = Event::kCall;
  Decision decision = Decision::kAllowed;
  uint64_t unix_ns = 0;
  std::string peer = {};  // "10.0.0.7:51312", "[fd00::1]:51312", "unix"
  std::string identity = {};  // of the certificate; empty: none that counts
  std::string role = {};
  std::string method = {};  // of calls: "/moat.v1.Status/Get"
  std::string reason = {};  // a stable word, of what was denied or closed: "expired", "role", "rate"
  std::string detail = {};  // the same in plain words
  int code = 0;  // of calls: gRPC's
  uint64_t duration_ns = 0;  // of calls
  uint64_t times = 1;  // of a flood of connections: how many were refused so
};

// Without a line end. What the client chose (method, names) is cut at 512 bytes and made valid UTF-8.
std::string ToJson(const AuditLine& line);
const char* CodeName(int code);  // "PERMISSION_DENIED"; of a number that is no gRPC code "UNKNOWN"

struct AuditCounts {
  uint64_t written = 0, dropped = 0, failed = 0;  // dropped: the queue was full; failed: the file could not be written
};

class Audit {
 public:
  // Opens the file, or fails. Its thread writes; what waits is bounded, and what finds no place is dropped and counted.
  static Result<std::unique_ptr<Audit>> Start(const config::AuditLog& config);
  virtual ~Audit() = default;  // writes what waits

  // Any thread; never waits.
  virtual void Write(AuditLine line) = 0;
  virtual AuditCounts Counts() const = 0;
};

}  // namespace moat::api
