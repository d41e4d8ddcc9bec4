// SPDX-License-Identifier: Apache-2.0
// What the configuration says of workloads that are there to do what else would be a finding: a driver of the cluster's network or storage, an
// installer of GPU drivers, an agent that looks at everybody. Pure but for its counters; pipeline thread only.
#pragma once

#include <cstdint>
#include <vector>

#include "agent/config/detect.h"
#include "agent/event/finding.h"
#include "agent/event/workload.h"

namespace moat::detect {

class Expectations {
 public:
  explicit Expectations(const std::vector<config::Expected>& expected);
  // A workload that is not known (null, or a pod that no runtime has told of yet) is nobody's.
  bool Names(event::FindingKind kind, const event::Workload* workload) const;

 private:
  struct Rule {
    uint64_t kinds = 0;  // bit n: FindingKind n
    config::Expected who;
  };
  std::vector<Rule> rules_;
};

}  // namespace moat::detect
