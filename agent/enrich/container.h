// SPDX-License-Identifier: Apache-2.0
// What runs in a cgroup, told by its path alone: pod, container, Slurm job, systemd unit. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace moat::enrich {

enum class Runtime : uint8_t { kNone, kDocker, kContainerd, kCrio, kPodman, kOther };
const char* RuntimeName(Runtime runtime);  // "docker", "containerd", "cri-o", "podman", "other"; ""

struct Container {
  Runtime runtime = Runtime::kNone;
  std::string pod_uid{};       // "0f3b...-...": of a Kubernetes pod
  std::string container_id{};  // 64 hexadecimal digits; may be empty in a pod (its own cgroup, or a runtime with short names)
  std::string slurm_job{}, slurm_step{};  // "1234", "0" | "batch" | "extern" | "interactive"
  std::string unit{};         // "vllm.service", "session-3.scope": the outermost systemd unit
  // The cgroup that the runtime made for that container, else pod, else job: whoever runs in it chose the names below.
  std::string root{};
  bool user = false;  // below user@UID.service: the names were chosen by that user (rootless podman and docker), not by root
};

// A process that may make cgroups below its own may give them any name. So the outermost container wins, pods and jobs count only
// where the kubelet and slurmstepd put them, and what a user's own manager holds is marked as such.
Container ParseContainer(std::string_view cgroup_path);

}  // namespace moat::enrich
