// SPDX-License-Identifier: Apache-2.0
// The events we want and, for each, the programs that can give it, best first. A fallback is a row here, not an if elsewhere.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "bpf/abi/event.h"

namespace moat::probe {

enum class Backend {
  kTpBtf,
  kSyscallExit /* reached through the tp_btf program of domain syscall */,
  kIter,
  kCgroupAddr,
  kCgroupSock
};
const char* BackendName(Backend backend);

struct Candidate {
  Backend backend;
  const char* program;
  // tp_btf: names of tracepoints; syscall exit: names of system calls, of which an architecture may lack some; others: empty.
  std::vector<std::string_view> attach;
  // The kind that a run which the kernel skipped (recursion) would have reported: such runs are counted as lost.
  moat_kind missed;
  std::vector<const char*> unseen;
  bool passes_on = false;  // syscall exit: ends with moat_pass_on(), so that a second program may look at the same call
};

struct Row {
  const char* event;
  const char* domain;
  std::vector<Candidate> candidates;
};

std::span<const Row> Table();

}  // namespace moat::probe
