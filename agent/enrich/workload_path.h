// SPDX-License-Identifier: Apache-2.0
// What a cgroup's path tells of its workload, and which runtime can tell the rest. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "agent/event/workload.h"

namespace moat::enrich {

enum class Teller : uint8_t { kNone, kCri, kDocker, kSlurm };

struct WorkloadPath {
  event::Workload told{};  // known: false for each pod, container and job, also where nobody can be asked about it (podman's)
  Teller teller = Teller::kNone;
  std::string root{};  // the cgroup that the runtime made; empty: the path tells all that there is
};

WorkloadPath ReadWorkloadPath(std::string_view cgroup_path);

}  // namespace moat::enrich
