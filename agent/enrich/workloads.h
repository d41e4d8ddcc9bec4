// SPDX-License-Identifier: Apache-2.0
// Whose a cgroup is. The path tells what it is; whose a pod, container or job is, only its runtime can tell, which is asked once for each
// and remembered until the cgroup goes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agent/event/workload.h"

namespace moat::enrich {

struct WorkloadOptions {
  std::vector<std::string> cri_sockets{};  // each that is there is asked
  std::string docker_socket{};  // empty: off
  std::string scontrol{};  // path of the program; empty: off
  uint64_t call_ms = 2000;  // for one answer
  uint64_t refresh_ms = 3000;  // for Refresh: no question is asked after it
  size_t max_kept = 16384;  // pods, containers and jobs; beyond, those longest not asked for are forgotten
};

struct WorkloadSource {
  std::string kind{};  // "cri", "docker", "slurm"
  std::string address{};  // socket or program
  bool present = false;  // something is there
  bool reachable = false;  // it answered when it was asked last
  std::string version{};  // "containerd 1.6.20"; empty: not asked yet
  std::string error{};  // in words; not escaped for a terminal
  uint64_t refused = 0;  // names that it told last and that were not taken: not UTF-8, or beyond all bounds
};

// One thread at a time. Nothing but Refresh and Check blocks.
class Workloads {
 public:
  static std::unique_ptr<Workloads> Create(WorkloadOptions options);
  virtual ~Workloads() = default;

  // What is known now. A pod, container or job that is new here is what the next Refresh asks about: call it at once when a cgroup
  // comes, for a runtime knows a container before it starts it. Paths below a container's own cgroup are that container's.
  virtual event::Workload Resolve(std::string_view cgroup_path) = 0;

  // Asks about what is not known yet and due: at once, then after 25 ms, 50 ms, ... 30 s; what a runtime that answers does not know
  // for five minutes is forgotten. True: something became known, so resolve again what was not. now_ns: any clock that goes on.
  virtual bool Refresh(uint64_t now_ns) = 0;
  // When Refresh has something to ask: 0 at once, UINT64_MAX never.
  virtual uint64_t next_refresh_ns() const = 0;

  // The cgroup is gone. Of a cgroup below a container's own there is nothing to forget.
  virtual void Forget(std::string_view cgroup_path) = 0;
  // Forgets all whose cgroup is gone, for when notices were lost or came late. Returns how many.
  virtual size_t Prune(const std::function<bool(const std::string& cgroup_path)>& exists) = 0;

  // Asks each source who it is, for Sources.
  virtual void Check() = 0;
  virtual std::vector<WorkloadSource> Sources() const = 0;
  virtual size_t kept() const = 0;  // pods, containers and jobs
};

}  // namespace moat::enrich
