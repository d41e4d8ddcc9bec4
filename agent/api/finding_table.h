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

class FindingTable : public event::Consumer {
 public:
  static std::unique_ptr<FindingTable> Create(size_t max_findings);
  virtual FindingRows Get() const = 0;
  // Findings and updates so far, by kind.
  virtual std::vector<uint64_t> Told() const = 0;
};

}  // namespace moat::api
