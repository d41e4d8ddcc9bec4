// SPDX-License-Identifier: Apache-2.0
// What tracing costs the traced program: base, empty, ring-only and moat by turns.
#pragma once

#include "tests/bench/host.h"
#include "tests/bench/report.h"

namespace moat::bench {

struct Options {
  int load_cpu = 1, agent_cpu = 0;
  bool full = false;
};

Status MeasureCost(const Host& host, const Options& options, Report& report);
Status MeasureThroughput(const Host& host, const Options& options, Report& report);  // in this process
Status MeasureAgent(const Host& host, const Options& options, Report& report);       // the real moatd and a subscriber

}  // namespace moat::bench
