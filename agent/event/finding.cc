// SPDX-License-Identifier: Apache-2.0
#include "agent/event/finding.h"

#include <algorithm>
#include <array>
#include <iterator>

namespace moat::event {
namespace {

constexpr std::array<const char*, 6> kSeverities = {"unknown", "info", "low", "medium", "high", "critical"};
constexpr std::array<const char*, static_cast<size_t>(FindingKind::kCount)> kKinds = {
    "unknown",           "weight-exfiltration", "weight-collection", "canary-touched",    "weight-tamper",    "unsafe-load",
    "reverse-shell",     "fileless-exec",       "code-injection",    "gpu-undeclared",    "gpu-misuse",       "lateral-movement",
    "metadata-access",   "dns-tunnel",          "failed-logins",     "interactive-shell", "namespace-escape", "policy-denial",
    "policy-would-deny", "budget-exhausted",    "agent-tampering",   "agent-degraded",    "events-lost"};

template <typename Enum, size_t N>
Enum FromName(const std::array<const char*, N>& names, std::string_view name) {
  const auto found = std::ranges::find_if(names.begin() + 1, names.end(), [&](const char* one) { return name == one; });
  return found == names.end() ? Enum{} : static_cast<Enum>(std::distance(names.begin(), found));
}

}  // namespace

const char* SeverityName(Severity severity) {
  const auto index = static_cast<size_t>(severity);
  return index < kSeverities.size() ? kSeverities[index] : kSeverities[0];
}
Severity SeverityFromName(std::string_view name) { return FromName<Severity>(kSeverities, name); }

const char* FindingKindName(FindingKind kind) {
  const auto index = static_cast<size_t>(kind);
  return index < kKinds.size() ? kKinds[index] : kKinds[0];
}
FindingKind FindingKindFromName(std::string_view name) { return FromName<FindingKind>(kKinds, name); }

}  // namespace moat::event
