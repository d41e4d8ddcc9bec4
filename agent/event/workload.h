// SPDX-License-Identifier: Apache-2.0
// Whose a cgroup is: pod, container, Slurm job, systemd unit. What it is not is empty.
#pragma once

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

}  // namespace moat::event
