// SPDX-License-Identifier: Apache-2.0
#include "agent/app/cgroup_rows.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "agent/app/identity.h"
#include "agent/base/utf8.h"
#include "agent/enrich/workload_path.h"

namespace moat::app {
namespace {

constexpr size_t kMaxCgroups = 100'000;
constexpr uint64_t kEarlyNs = 2'000'000'000;

bool IsBelow(std::string_view path, std::string_view top) {
  return top == "/" || (path.starts_with(top) && (path.size() == top.size() || path[top.size()] == '/'));
}

size_t Level(std::string_view path) { return path == "/" ? 0 : static_cast<size_t>(std::ranges::count(path, '/')); }

// Only of these is there more to know than their path tells.
bool IsAskedAbout(const event::Workload& workload) {
  return !workload.pod_uid.empty() || !workload.container_id.empty() || !workload.slurm_job.empty();
}

// For the log.
std::string Told(const event::Workload& workload) {
  std::string labels;
  for (const auto& [key, value] : workload.pod_labels.empty() ? workload.container_labels : workload.pod_labels) {
    labels.append(labels.empty() ? "" : ",").append(key).append("=").append(value);
  }
  std::string text = workload.cgroup + ": ";
  if (!workload.slurm_job.empty()) {
    text += "job " + workload.slurm_job + " of " + workload.slurm_user + ", account " + workload.slurm_account + ", partition " +
            workload.slurm_partition;
  } else if (!workload.pod_name.empty()) {
    text += "pod " + workload.pod_namespace + "/" + workload.pod_name + ", container " + workload.pod_container + ", labels " +
            labels;
  } else {
    text += "container " + workload.container_name + ", image " + workload.container_image + ", labels " + labels;
  }
  return Printable(text);
}

// All that is below is of the same workload. A pod's own cgroup holds containers of several kinds; a slice holds units.
bool Settled(const event::Workload& workload) {
  return !workload.container_id.empty() || !workload.slurm_job.empty() ||
         (!workload.unit.empty() && workload.pod_uid.empty() && !workload.unit.ends_with(".slice"));
}

}  // namespace

bool CgroupRows::Add(uint64_t id, const std::string& path, const policy::Set& set, policy::Compiler& compiler) {
  const bool in_scope = scope_ == "host" || IsBelow(path, scope_);
  if (!in_scope || Level(path) >= MOAT_POL_LEVELS) {
    return false;
  }
  const size_t slash = path.rfind('/');
  const bool top = path == "/" || path == scope_;
  const bool inherits = !top && Settled(enrich::ReadWorkloadPath(slash == 0 ? "/" : path.substr(0, slash)).told);
  // Below a workload only a cgroup that some subject names differs from it.
  const bool named = std::ranges::any_of(set.policies, [&](const policy::Policy& policy) {
    return std::ranges::any_of(policy.subjects, [&](const policy::Subject& subject) {
      return subject.kind == policy::Subject::Kind::kCgroup && (IsBelow(path, subject.name) || IsBelow(subject.name, path));
    });
  });
  if (inherits && !named) {
    return false;
  }
  event::Workload workload = workloads_.OfPath(path);
  compiler.AddCgroup(id, IdentityOf(workload), Settled(workload));
  if (IsAskedAbout(workload)) {
    told_.insert_or_assign(id, std::move(workload));
  }
  return true;
}

void CgroupRows::AddAll(const policy::Set& set, policy::Compiler& compiler) {
  told_.clear();  // early_ stays: what cannot be found yet is not in the walk
  WalkCgroups(mount_, kMaxCgroups, [&](uint64_t id, const std::string& path) {
    Add(id, path, set, compiler);
    return true;
  });
}

bool CgroupRows::Find(uint64_t id, bool& found, const policy::Set& set, policy::Compiler& compiler) {
  const Result<std::string> path = CgroupPath(mount_, id);
  found = path || path.error().code != Code::kNotFound;
  return path && Add(id, *path, set, compiler);
}

bool CgroupRows::AddOne(uint64_t id, uint64_t now_ns, const policy::Set& set, policy::Compiler& compiler) {
  bool found = false;
  const bool any = Find(id, found, set, compiler);
  if (!found) {
    early_.emplace(id, now_ns + kEarlyNs);  // cgroup_mkdir() tells before kernfs_activate(), and may sleep in between
  }
  return any;
}

bool CgroupRows::AddEarly(uint64_t now_ns, const policy::Set& set, policy::Compiler& compiler) {
  bool any = false;
  std::erase_if(early_, [&](const auto& one) {
    bool found = false;
    any = Find(one.first, found, set, compiler) || any;
    return found || now_ns >= one.second;
  });
  return any;
}

bool CgroupRows::AddChanged(policy::Compiler& compiler) {
  bool any = false;
  for (auto& [id, told] : told_) {
    event::Workload now = workloads_.OfPath(told.cgroup);
    // One that was known and is not now was thrown out for want of room: it is whose it was.
    if (now.known && now != told) {
      spdlog::debug("workloads: {}", Told(now));
      compiler.AddCgroup(id, IdentityOf(now), Settled(now));
      told = std::move(now);
      any = true;
    }
  }
  return any;
}

void CgroupRows::Forget(const std::vector<uint64_t>& ids) {
  for (const uint64_t id : ids) {
    early_.erase(id);
    if (const auto found = told_.find(id); found != told_.end()) {
      workloads_.Forget(found->second.cgroup);
      told_.erase(found);
    }
  }
}

}  // namespace moat::app
