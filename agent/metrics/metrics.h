// SPDX-License-Identifier: Apache-2.0
// What Prometheus is told: plain structs in, metric families out. Names and units are Prometheus' own conventions (_total, _bytes,
// _seconds); they stay, since dashboards and alerts go by them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/status.h"

namespace moat::metrics {

// Bounds of what anyone may have chosen. Rows of a family beyond the bound are one row together, with "(others)" for each label, so that
// sums stay exact; a value that is cut ends in "...".
inline constexpr size_t kMaxRows = 2000, kMaxValueBytes = 200;
inline constexpr std::string_view kOthers = "(others)";

struct Decisions {
  std::string policy{}, mode{};  // "serving", "enforce"
  uint64_t allowed = 0, denied = 0, would_deny = 0;
};

struct Findings {
  std::string kind, severity;  // FindingKindName, SeverityName
  uint64_t raised = 0;  // findings that were new
  uint64_t seen = 0;  // how often their causes were seen
};

// A count by one more word than its owner's name.
struct Counted {
  std::string what;
  uint64_t count = 0;
};

struct Sink {
  std::string name{}, transport{};  // "siem", "syslog"
  uint64_t delivered = 0;  // messages
  uint64_t dropped = 0;  // messages that a full queue or spool gave up
  uint64_t dead_letters = 0;
  uint64_t resent = 0;  // messages sent again after a fault, that may have arrived twice
  uint64_t spool_messages = 0, spool_bytes = 0;  // that are not delivered yet
  double lag_seconds = 0;  // age of the oldest of them
  std::vector<Counted> errors{};  // by reason
};

struct ApiCalls {
  std::string method, code;  // "moat.v1.Monitor/Watch", "OK"
  uint64_t calls = 0;
};

// Of one moment. What is empty or zero is left out or zero; nothing is required.
struct Input {
  std::string version{}, kernel{};
  uint64_t started_unix_ns = 0;
  uint64_t attach_ms = 0;
  uint64_t cpu_ns = 0, rss_bytes = 0;
  std::vector<DomainStatus> domains{};
  Ledger ledger{};
  std::vector<RingStatus> rings{};
  uint64_t policy_generation = 0, policy_exposures = 0, policy_problems = 0;
  std::vector<Decisions> decisions{};
  std::vector<Findings> findings{};
  uint64_t expected_findings = 0;  // times that the configuration expects of its workload
  std::vector<Sink> sinks{};
  std::vector<ApiCalls> api_calls{};
  std::vector<Counted> refused_connections{};  // by reason
  uint64_t subscribers = 0, subscriber_losses = 0;
  uint64_t connections = 0;  // of the network, open now
  uint64_t rate_limited_calls = 0, denied_calls = 0;
  uint64_t reloads_failed = 0;  // of the API's certificates and roles
  std::vector<Counted> audit_lost{};  // lines, by reason
};

// The text exposition format (0.0.4). Pure; any thread.
std::string Render(const Input& input);

}  // namespace moat::metrics
