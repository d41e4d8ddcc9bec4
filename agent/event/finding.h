// SPDX-License-Identifier: Apache-2.0
// What the agent concludes from events, for a person who has to act on it. Made by detect, immutable afterwards: a later state of the same
// finding is another value with the same id.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agent/event/event.h"
#include "agent/event/workload.h"

namespace moat::event {

enum class Severity : uint8_t {
  kInfo = 1,
  kLow = 2,
  kMedium = 3,
  kHigh = 4,
  kCritical = 5
};  // numbered as severity_id of OCSF 1.8.0
const char* SeverityName(Severity severity);  // "info", "low", "medium", "high", "critical"
Severity SeverityFromName(std::string_view name);  // Severity{} when there is no such severity

// The names are what filters, metrics and rules of a SIEM go by: they stay.
enum class FindingKind : uint8_t {
  kNone,
  kWeightExfiltration,
  kWeightCollection,
  kCanaryTouched,
  kWeightTamper,
  kUnsafeLoad,
  kReverseShell,
  kFilelessExec,
  kCodeInjection,
  kGpuUndeclared,
  kGpuMisuse,
  kLateralMovement,
  kMetadataAccess,
  kDnsTunnel,
  kFailedLogins,
  kInteractiveShell,
  kNamespaceEscape,
  kPolicyDenial,
  kPolicyWouldDeny,
  kBudgetExhausted,
  kAgentTampering,
  kAgentDegraded,
  kEventsLost,
  kCount
};
const char* FindingKindName(FindingKind kind);  // "weight-exfiltration", ...; "unknown"
FindingKind FindingKindFromName(std::string_view name);  // kNone when there is no such kind

// Of MITRE ATLAS 5.6 ("AML.T0025") or ATT&CK ("T1496").
struct Technique {
  std::string_view id, name;  // of tables that live as long as the program
};

// A process as it was then.
struct FindingProcess {
  ProcessKey key{};
  uint32_t uid = 0;
  std::string exe{};  // empty: unknown
  std::vector<std::string> args{};  // cut: see kMaxFindingText
};

// Bounds of what anyone may have chosen. Texts are as the kernel had them: any bytes.
inline constexpr size_t kMaxFindingText = 4096, kMaxFindingArgs = 64, kMaxLineage = 16, kMaxEvidence = 16, kMaxNamed = 32;

struct Finding {
  std::string id;  // 32 hexadecimal digits; the same cause of the same run of the agent has the same
  uint64_t revision = 1;  // 1 up each time that it is told
  FindingKind kind = FindingKind::kNone;
  Severity severity = Severity::kInfo;  // the highest so far
  uint8_t confidence = 0;  // percent
  uint64_t first_unix_ns = 0, last_unix_ns = 0;
  uint64_t count = 0;  // how often it was seen, in all
  std::string title;  // one line
  std::string explanation;  // a paragraph in plain words
  std::string action;  // what to do about it
  std::shared_ptr<const Workload> workload;  // null: of none, or not known
  std::vector<FindingProcess> lineage;  // who did it first, then its parents
  std::vector<std::string> assets, devices, peers;  // by name
  std::vector<std::string> evidence;  // events in words, the first and the newest ones
  uint64_t omitted = 0;  // assets, devices, peers and events that are not named for want of room; in a message also what it cuts
  std::vector<Technique> techniques;
};

// Takes findings, new ones and updates. Called on the pipeline thread only; must not block.
class FindingConsumer {
 public:
  virtual ~FindingConsumer() = default;
  virtual void OnFinding(const FindingPtr& finding) = 0;
};

}  // namespace moat::event
