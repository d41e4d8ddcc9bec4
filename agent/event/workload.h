// SPDX-License-Identifier: Apache-2.0
// Whose a cgroup is: pod, container, Slurm job, systemd unit. What it is not is empty.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace moat::event {

struct Workload {
  // false: the path says that it is a pod, container or job, and no runtime has said yet whose. What the path tells (unit, pod_uid,
  // container_id, slurm_job) is there all the same.
  bool known = true;
  std::string cgroup{};  // path below the cgroup2 mount
  std::string unit{};  // "vllm.service"; of what runs under a user's own manager: that manager, "user@1000.service"
  std::string pod_namespace{}, pod_name{}, pod_uid{};
  std::string pod_container{};  // the container's name in its pod; empty for the pod's own cgroups
  std::string container_id{};
  std::string container_name{};  // docker's
  std::string container_image{};  // as whoever started it named it
  std::string image_digest{};  // "sha256:..."
  std::string slurm_job{}, slurm_account{}, slurm_user{}, slurm_partition{};
  std::map<std::string, std::string> pod_labels{}, container_labels{};

  bool operator==(const Workload&) const = default;
};

enum class WorkloadKind : uint8_t { kOther, kUnit, kPod, kContainer, kJob };  // kPod: its own cgroups; kContainer: in a pod, too

inline WorkloadKind KindOf(const Workload& workload) {
  if (!workload.slurm_job.empty()) {
    return WorkloadKind::kJob;
  }
  // The container that holds a pod together has a number and no name.
  const bool pause = workload.known && !workload.pod_uid.empty() && workload.pod_container.empty();
  if (!workload.container_id.empty() && !pause) {
    return WorkloadKind::kContainer;
  }
  if (!workload.pod_uid.empty()) {
    return WorkloadKind::kPod;
  }
  return workload.unit.empty() ? WorkloadKind::kOther : WorkloadKind::kUnit;
}

}  // namespace moat::event
