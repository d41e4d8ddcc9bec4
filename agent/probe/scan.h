// SPDX-License-Identifier: Apache-2.0
// Who is here already: reads the task iterator.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "agent/base/error.h"
#include "bpf/abi/process.h"

struct bpf_program;

namespace moat::probe {

// One record per process in scope, parents before children. Any thread, one at a time.
Result<std::vector<moat_exec>> ScanProcesses(bpf_program* program);

// The record of one process; nothing when it is gone or not in scope. Kernel 6.1.
std::optional<moat_exec> ScanProcess(bpf_program* program, uint32_t pid);

}  // namespace moat::probe
