// SPDX-License-Identifier: Apache-2.0
#include "agent/app/identity.h"

#include <filesystem>
#include <string>

#include "agent/base/cgroup.h"
#include "agent/enrich/workload_path.h"

namespace moat::app {
namespace {

// What its path tells already, so that a runtime's answer changes nobody's budgets.
std::string BudgetsOf(const event::Workload& workload) {
  return !workload.pod_uid.empty()        ? "pod " + workload.pod_uid
         : !workload.container_id.empty() ? "container " + workload.container_id
         : !workload.slurm_job.empty()    ? "job " + workload.slurm_job
                                          : "";
}

}  // namespace

policy::Identity IdentityOf(const event::Workload& workload) {
  return {.known = workload.known,
          .cgroup = workload.cgroup,
          .workload = BudgetsOf(workload),
          .executable = "",
          .unit = workload.unit,
          .pod_namespace = workload.pod_namespace,
          .pod_container = workload.pod_container,
          .pod_labels = workload.pod_labels,
          .container_name = workload.container_name,
          .container_image = workload.container_image,
          .container_labels = workload.container_labels,
          .slurm_account = workload.slurm_account,
          .slurm_user = workload.slurm_user,
          .slurm_partition = workload.slurm_partition,
          .slurm_job = workload.slurm_job};
}

event::Workload WhoseCgroup(const std::string& cgroup, WorkloadWatch* workloads) {
  const bool plain = workloads != nullptr && std::filesystem::path(cgroup).lexically_normal() == cgroup;
  if (!plain) {
    return enrich::ReadWorkloadPath(cgroup).told;
  }
  static const auto mount = FindCgroup2Mount();  // it was there when workloads began, and is asked for by the thousand
  return mount && CgroupId(*mount, cgroup) ? workloads->OfPath(cgroup) : enrich::ReadWorkloadPath(cgroup).told;
}

}  // namespace moat::app
