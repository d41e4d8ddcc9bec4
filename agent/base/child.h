// SPDX-License-Identifier: Apache-2.0
// Runs a program and takes what it says, within bounds of time and size: it may hang, or never stop talking.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "agent/base/error.h"

namespace moat {

struct ChildLimits {
  uint64_t ms = 10'000;
  size_t bytes = 1 << 20;  // of standard output; of standard error the first 16 KiB are kept and the rest is read and dropped
};

struct ChildResult {
  int status = 0;  // exit status; of a program that a signal ended, 128 and the signal
  std::string out, err;
};

// args: without the program's own name. Its standard input is /dev/null. Fails when the program cannot be run, or goes beyond a
// limit: then it, and nothing but it, is killed. What it started may live on and hold the pipes: they are not waited for.
Result<ChildResult> RunChild(const std::string& program, const std::vector<std::string>& args, const ChildLimits& limits);

}  // namespace moat
