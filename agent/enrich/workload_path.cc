// SPDX-License-Identifier: Apache-2.0
#include "agent/enrich/workload_path.h"

#include <algorithm>
#include <utility>

#include "agent/enrich/container.h"

namespace moat::enrich {

namespace {

// Where containerd does not use systemd's cgroup driver on a host that has systemd, containers lie below its own unit.
constexpr std::string_view kRuntimeUnits[] = {"containerd.service",  "k3s.service",        "k3s-agent.service",
                                              "rke2-server.service", "rke2-agent.service", "k0sworker.service"};

// "/user.slice/user-1000.slice/user@1000.service/..." -> "user@1000.service": the last name in it that root chose.
std::string UserManager(std::string_view path) {
  const size_t at = path.find("/user@");
  return at == std::string_view::npos ? "" : std::string(path.substr(at + 1, path.find('/', at + 1) - at - 1));
}

// May the names from the container on be somebody else's than the runtime's? Those of an unprivileged user's manager are, and so are
// those below a service: its processes may make cgroups there when systemd delegates them.
bool ChosenByOthers(const Container& container) {
  return container.user || (container.slurm_job.empty() && !container.unit.empty() &&
                            std::ranges::find(kRuntimeUnits, container.unit) == std::end(kRuntimeUnits));
}

Teller TellerOf(const Container& container) {
  if (!container.slurm_job.empty()) {
    return Teller::kSlurm;
  }
  if (!container.pod_uid.empty()) {
    return Teller::kCri;
  }
  switch (container.runtime) {
    case Runtime::kDocker: return Teller::kDocker;
    case Runtime::kContainerd:
    case Runtime::kCrio:
    case Runtime::kOther: return Teller::kCri;
    case Runtime::kPodman:
    case Runtime::kNone: break;
  }
  return Teller::kNone;
}

}  // namespace

WorkloadPath ReadWorkloadPath(std::string_view cgroup_path) {
  Container container = ParseContainer(cgroup_path);
  WorkloadPath read;
  read.told.cgroup = cgroup_path;
  read.told.unit = container.user ? UserManager(cgroup_path) : container.unit;
  if (container.root.empty() || ChosenByOthers(container)) {
    return read;
  }
  read.told.known = false;
  read.root = std::move(container.root);
  read.teller = TellerOf(container);
  if (read.teller == Teller::kSlurm) {
    read.told.slurm_job = std::move(container.slurm_job);
    return read;  // containers within a job are its owner's own
  }
  read.told.pod_uid = std::move(container.pod_uid);
  read.told.container_id = std::move(container.container_id);
  return read;
}

}  // namespace moat::enrich
