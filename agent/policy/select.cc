// SPDX-License-Identifier: Apache-2.0
// Which processes a policy is about.
#include <algorithm>

#include "agent/policy/evaluate.h"

namespace moat::policy {
namespace {

using Labels = std::map<std::string, std::string>;

bool HasAll(const Labels& wanted, const Labels& labels) {
  return std::ranges::all_of(wanted, [&](const auto& label) {
    const auto found = labels.find(label.first);
    return found != labels.end() && found->second == label.second;
  });
}

// An empty one asks for nothing.
bool Fits(const std::string& wanted, const std::string& value) { return wanted.empty() || wanted == value; }

// "/system.slice" selects itself and what is below it, not "/system.slice2".
bool IsBelow(std::string_view path, std::string_view top) {
  return top == "/" || (path.starts_with(top) && (path.size() == top.size() || path[top.size()] == '/'));
}

bool SelectsPod(const Subject& subject, const Identity& who) {
  return !who.pod_namespace.empty() && Fits(subject.pod_namespace, who.pod_namespace) &&
         Fits(subject.pod_container, who.pod_container) && HasAll(subject.labels, who.pod_labels);
}

bool SelectsContainer(const Subject& subject, const Identity& who) {
  return !(who.container_name.empty() && who.container_image.empty()) && Fits(subject.name, who.container_name) &&
         Fits(subject.image, who.container_image) && HasAll(subject.labels, who.container_labels);
}

bool SelectsJob(const Subject& subject, const Identity& who) {
  return !who.slurm_job.empty() && Fits(subject.slurm_account, who.slurm_account) && Fits(subject.slurm_user, who.slurm_user) &&
         Fits(subject.slurm_partition, who.slurm_partition) && Fits(subject.slurm_job, who.slurm_job);
}

Selected SelectsOne(const Subject& subject, const Identity& who) {
  const auto told = [&who](bool fits) { return fits ? Selected::kYes : who.known ? Selected::kNo : Selected::kUnknown; };
  const auto certain = [](bool fits) { return fits ? Selected::kYes : Selected::kNo; };
  switch (subject.kind) {
    case Subject::Kind::kPod: return told(SelectsPod(subject, who));
    case Subject::Kind::kContainer: return told(SelectsContainer(subject, who));
    case Subject::Kind::kSlurm: return told(SelectsJob(subject, who));
    case Subject::Kind::kUnit: return certain(subject.name == who.unit);  // stands in the path of the cgroup
    case Subject::Kind::kExecutable: return certain(subject.name == who.executable);
    case Subject::Kind::kCgroup: return certain(IsBelow(who.cgroup, subject.name));
  }
  return Selected::kNo;
}

}  // namespace

Selected Selects(const Policy& policy, const Identity& who) {
  Selected best = Selected::kNo;
  for (const Subject& subject : policy.subjects) {
    const Selected one = SelectsOne(subject, who);
    if (one == Selected::kYes) {
      return one;
    }
    best = one == Selected::kUnknown ? one : best;
  }
  return best;
}

}  // namespace moat::policy
