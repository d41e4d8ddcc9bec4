// SPDX-License-Identifier: Apache-2.0
// The parts of the bench, and the operations that they have the load generator do.
#pragma once

#include <array>

#include "tests/bench/host.h"
#include "tests/bench/report.h"

namespace moat::bench {

struct Options {
  int load_cpu = 1, agent_cpu = 0;
  bool full = false;
};

struct Operation {
  const char* name;
  const char* title;
  uint64_t batch;       // per measurement: some 20 ms
  bool ring_makes_one;  // ring-only sends a record for it
};
constexpr std::array<Operation, 13> kOperations = {{
    {"getppid", "bystander: getppid", 60'000, false},
    {"read_plain", "bystander: read of another file", 25'000, false},
    {"ioctl_plain", "bystander: ioctl of no device", 50'000, false},
    {"ioctl_sibling", "ioctl, same major, no accelerator", 50'000, false},
    {"open_plain", "open+close, no asset", 5'000, false},
    {"open_read_plain", "open+read+close, no asset", 5'000, false},
    {"open_asset", "open+close, asset, 1 event", 5'000, true},
    {"read_asset", "read of an asset, summed", 25'000, false},
    {"ioctl_counted", "ioctl, counted", 50'000, false},
    {"ioctl_watched", "ioctl, 1 event", 40'000, true},
    {"connect", "connect+accept+close", 500, true},
    {"send", "send+receive of 64 bytes", 2'500, false},
    {"spawn", "fork+exec+exit", 60, true},
}};

Status MeasureCost(const Host& host, const Options& options, Report& report);
Status MeasureThroughput(const Host& host, const Options& options, Report& report);  // in this process
Status MeasureAgent(const Host& host, const Options& options, Report& report);       // the real moatd and a subscriber

Status MeasurePolicy(const Host& host, const Options& options, Report& report);      // compiled and swapped in

Status Profile(const Host& host, const Options& options);  // prints by itself

}  // namespace moat::bench
