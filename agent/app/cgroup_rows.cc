// SPDX-License-Identifier: Apache-2.0
#include "agent/app/cgroup_rows.h"

#include <algorithm>

#include "agent/enrich/container.h"

namespace moat::app {
namespace {

constexpr size_t kMaxCgroups = 100'000;

bool IsBelow(std::string_view path, std::string_view top) {
  return top == "/" || (path.starts_with(top) && (path.size() == top.size() || path[top.size()] == '/'));
}

size_t Level(std::string_view path) { return path == "/" ? 0 : static_cast<size_t>(std::ranges::count(path, '/')); }

struct Workload {
  policy::Identity who;
  bool settled = false;  // all that is below is of the same workload
};

Workload WorkloadOf(const std::string& path) {
  const enrich::Container container = enrich::ParseContainer(path);
  Workload out;
  out.who.cgroup = path;
  out.who.unit = container.unit;
  out.who.slurm_job = container.slurm_job;
  out.who.workload = !container.pod_uid.empty()        ? "pod " + container.pod_uid
                     : !container.container_id.empty() ? "container " + container.container_id
                     : !container.slurm_job.empty()    ? "job " + container.slurm_job
                                                       : "";
  out.who.known = container.pod_uid.empty() && container.container_id.empty() && container.slurm_job.empty();
  // A pod's own cgroup holds containers of several kinds; a slice holds units.
  out.settled = !container.container_id.empty() || !container.slurm_step.empty() ||
                (!container.unit.empty() && container.pod_uid.empty() && !container.unit.ends_with(".slice"));
  return out;
}

}  // namespace

bool CgroupRows::Add(uint64_t id, const std::string& path, const policy::Set& set, policy::Compiler& compiler) const {
  const bool in_scope = scope_ == "host" || IsBelow(path, scope_);
  if (!in_scope || Level(path) >= MOAT_POL_LEVELS) {
    return false;
  }
  const Workload workload = WorkloadOf(path);
  const size_t slash = path.rfind('/');
  const bool top = path == "/" || path == scope_;
  const bool inherits = !top && WorkloadOf(slash == 0 ? "/" : path.substr(0, slash)).settled;
  // Below a workload only a cgroup that some subject names differs from it.
  const bool named = std::ranges::any_of(set.policies, [&](const policy::Policy& policy) {
    return std::ranges::any_of(policy.subjects, [&](const policy::Subject& subject) {
      return subject.kind == policy::Subject::Kind::kCgroup && (IsBelow(path, subject.name) || IsBelow(subject.name, path));
    });
  });
  if (inherits && !named) {
    return false;
  }
  compiler.AddCgroup(id, workload.who, workload.settled);
  return true;
}

void CgroupRows::AddAll(const policy::Set& set, policy::Compiler& compiler) const {
  WalkCgroups(mount_, kMaxCgroups, [&](uint64_t id, const std::string& path) {
    Add(id, path, set, compiler);
    return true;
  });
}

bool CgroupRows::AddOne(uint64_t id, const policy::Set& set, policy::Compiler& compiler) const {
  const Result<std::string> path = CgroupPath(mount_, id);
  return path && Add(id, *path, set, compiler);
}

}  // namespace moat::app
