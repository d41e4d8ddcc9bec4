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
  enum class Says : uint8_t {
    kNothing,
    kExpected,
    kAskAgain,  // its runtime has not told yet whose it is, and some rule may name it
  };
  // workload: null when it is nobody's.
  Says Of(event::FindingKind kind, const event::Workload* workload) const;

 private:
  struct Rule {
    uint64_t kinds = 0;  // bit n: FindingKind n
    config::Expected who;
  };
  std::vector<Rule> rules_;
};

}  // namespace moat::detect
