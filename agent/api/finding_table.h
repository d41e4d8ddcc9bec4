// SPDX-License-Identifier: Apache-2.0
// Findings as they were told last, for who asks later. Taken on the pipeline thread, read on any.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "agent/event/batch.h"
#include "agent/event/finding.h"

namespace moat::api {

struct FindingRows {
  std::vector<event::FindingPtr> rows{};  // the one told last first
  uint64_t forgotten = 0;  // for want of room
};

// Of one kind and severity, since the agent started.
struct FindingTotal {
  event::FindingKind kind = event::FindingKind::kNone;
  event::Severity severity = event::Severity::kInfo;
  uint64_t news = 0;  // findings, each counted under the severity that it began with
  uint64_t seen = 0;  // how often they were seen, as far as has been told
};

class FindingTable : public event::Consumer {
 public:
  static std::unique_ptr<FindingTable> Create(size_t max_findings);
  virtual FindingRows Get() const = 0;
  virtual std::vector<FindingTotal> Totals() const = 0;
};

}  // namespace moat::api
