// SPDX-License-Identifier: Apache-2.0
// Whose a cgroup is. The path tells what it is; whose a pod, container or job is, only its runtime can tell, which is asked once for each
// and remembered until the cgroup goes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
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
  std::stop_token stop{};  // ends Refresh and Check soon: at once, but for a scontrol that runs
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
  uint64_t asked = 0, failed = 0;  // questions so far, and those of them without an answer
};

// Any thread. Nothing but Refresh and Check blocks on a runtime: call these on one thread that may wait.
class Workloads {
 public:
  // news: called, on the thread of Resolve, when there is something new to ask about; it must not call back.
  static std::unique_ptr<Workloads> Create(WorkloadOptions options, std::function<void()> news = {});
  virtual ~Workloads() = default;

  // What is known now. A pod, container or job that is new here is what the next Refresh asks about: call it at once when a cgroup
  // comes, for a runtime knows a container before it starts it. Paths below a container's own cgroup are that container's.
  virtual event::Workload Resolve(std::string_view cgroup_path) = 0;

  // Asks about what is not known yet and due: at once, then after 50 ms, 100 ms, ... 1 s (a job: 30 s, its answer costs a process and a
  // question to the cluster's controller); after five minutes each 30 s. True: something is known or other than before, so resolve again.
  // now_ns: any clock that goes on.
  virtual bool Refresh(uint64_t now_ns) = 0;
  // When Refresh has something to ask: 0 at once, UINT64_MAX never.
  virtual uint64_t next_refresh_ns() const = 0;
  // Has each been asked about at least once, whatever the answer?
  virtual bool all_asked() const = 0;
  // The next Refresh asks about what is known, too, but for jobs: labels may have changed. What is not answered stays as it was.
  virtual void AskAgain() = 0;

  // The cgroup is gone. Of a cgroup below a container's own there is nothing to forget.
  virtual void Forget(std::string_view cgroup_path) = 0;
  // Forgets all whose cgroup is gone, for when notices were lost or came late. Returns how many.
  virtual size_t Prune(const std::function<bool(const std::string& cgroup_path)>& exists) = 0;

  // All pods, containers and jobs, each with the cgroup that its runtime made, by path.
  virtual std::vector<event::Workload> List() const = 0;

  // Asks each source who it is, for Sources.
  virtual void Check() = 0;
  virtual std::vector<WorkloadSource> Sources() const = 0;  // as of the last Refresh or Check
  virtual size_t kept() const = 0;  // pods, containers and jobs
};

}  // namespace moat::enrich
