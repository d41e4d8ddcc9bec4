// SPDX-License-Identifier: Apache-2.0
// The hooks that moat uses, read back from the links that this process holds while a Probe runs: the baselines are attached to
// exactly those, so that they cannot drift away from moat's own table.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "agent/base/error.h"
#include "agent/base/fd.h"

namespace moat::bench {

struct Hook {
  enum class Type { kTpBtf, kCgroup };
  Type type = Type::kTpBtf;
  std::string name;  // "sched_process_exec"; cgroup: the attach type, for people
  int cgroup_attach_type = 0;
};

// One entry per link, so a hook with two programs is there twice. Iterators are left out: they run only when read.
Result<std::vector<Hook>> HooksOfThisProcess();
// The ids of the programs on those links, each once.
Result<std::vector<uint32_t>> ProgramsOfThisProcess();

// Links a loaded program; the descriptor is the link's.
Result<Fd> Attach(const Hook& hook, int program, int cgroup_fd);

// A program of two instructions that fits the hook: r0 = 0 (cgroup: 1, allow), exit.
Result<Fd> LoadEmpty(const Hook& hook);

}  // namespace moat::bench
