// SPDX-License-Identifier: Apache-2.0
// Whose a Slurm job is, by Slurm's own scontrol.
#pragma once

#include <string>
#include <string_view>

#include "agent/base/child.h"
#include "agent/base/error.h"

namespace moat::enrich {

struct SlurmJob {
  std::string account{}, user{}, partition{};  // empty where Slurm says "(null)"
};

// Reads what "scontrol show job JOB -o" prints. A job's name, command, folders and comments are in it, and their owner writes what they
// like there, "UserId=root(0)" too: a field that stands there twice and differs is an error.
Result<SlurmJob> ParseSlurmJob(std::string_view text, std::string_view job);

// scontrol: path of the program. job: digits. Any thread; blocks, at most limits.ms.
Result<SlurmJob> AskScontrol(const std::string& scontrol, const std::string& job, const ChildLimits& limits);

}  // namespace moat::enrich
