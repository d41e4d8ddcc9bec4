// SPDX-License-Identifier: Apache-2.0
#include "agent/app/support.h"

#include <algorithm>
#include <functional>
#include <string_view>
#include <utility>

namespace moat::app {
namespace {

// Empty: all of these hooks are attached by a program that can deny; else the first that is not, and why.
std::string Missing(const std::vector<DomainStatus>& domains, const std::vector<std::string_view>& events) {
  for (const std::string_view event : events) {
    const HookStatus* found = nullptr;
    for (const DomainStatus& domain : domains) {
      for (const HookStatus& hook : domain.hooks) {
        found = hook.event == event ? &hook : found;
      }
    }
    if (found == nullptr || !found->attached) {
      return std::string(event) + (found != nullptr && !found->why.empty() ? ": " + found->why : " is not attached");
    }
  }
  return "";
}

void DropNothing(policy::Policy&) {}  // who it is stays undecided, and unknown says what that means

// Subjects that a cgroup's path does not tell.
struct Hearsay {
  const char* what;
  const char* why;  // when there is nobody to ask
  bool Tellers::* known;
  bool (*is)(const policy::Subject& subject);
};

constexpr Hearsay kHearsay[] = {
    {"subjects by pod", "no Kubernetes container runtime is found or configured to be asked: runtimes.cri", &Tellers::pods,
     [](const policy::Subject& subject) { return subject.kind == policy::Subject::Kind::kPod; }},
    {"subjects by container", "no container runtime is found or configured to be asked: runtimes.cri, runtimes.docker",
     &Tellers::containers, [](const policy::Subject& subject) { return subject.kind == policy::Subject::Kind::kContainer; }},
    {"Slurm accounts, users and partitions", "no scontrol is found or configured to be asked: runtimes.slurm", &Tellers::jobs,
     [](const policy::Subject& subject) {
       return !(subject.slurm_account.empty() && subject.slurm_user.empty() && subject.slurm_partition.empty());
     }},
};

struct Part {
  const char* what;  // "rules on assets"
  std::vector<std::string_view> events;
  bool (*asks)(const policy::Policy& policy);
  void (*drop)(policy::Policy& policy);
};

const std::vector<Part>& Parts() {
  static const std::vector<Part> kParts = {
      {"rules of egress",
       {"enforce.connect4", "enforce.connect6", "enforce.sendmsg4", "enforce.sendmsg6", "enforce.packet", "enforce.hello",
        "enforce.answer", "enforce.opened"},
       [](const policy::Policy& policy) { return policy.egress.has_value(); },
       [](policy::Policy& policy) { policy.egress.reset(); }},
      {"rules on assets",
       {"file.open", "enforce.file_open", "enforce.file_receive", "enforce.file_use", "enforce.file_map", "enforce.file_rename",
        "enforce.file_unlink", "enforce.file_rmdir", "enforce.file_link", "enforce.file_setattr", "enforce.memory"},
       [](const policy::Policy& policy) { return !policy.assets.empty(); },
       [](policy::Policy& policy) { policy.assets.clear(); }},
      {"rules on GPUs",
       {"gpu.open", "enforce.gpu_open", "enforce.gpu_receive", "enforce.gpu_map", "enforce.gpu_ioctl"},
       [](const policy::Policy& policy) { return policy.gpu.has_value(); },
       [](policy::Policy& policy) { policy.gpu.reset(); }},
  };
  return kParts;
}

}  // namespace

bool AsksWhose(const policy::Set& set) {
  return std::ranges::any_of(set.policies, [](const policy::Policy& policy) {
    return policy.mode != policy::Mode::kObserve && std::ranges::any_of(kHearsay, [&](const Hearsay& hearsay) {
             return std::ranges::any_of(policy.subjects, hearsay.is);
           });
  });
}

Supported Support(policy::Set set, const std::vector<DomainStatus>& domains, const Tellers& tellers) {
  Supported out;
  const auto lacks = [&out](policy::Policy& policy, const std::string& what, void (*drop)(policy::Policy& policy)) {
    const std::string text = "policy " + policy.name + ": " + what;
    if (policy.on_unsupported == policy::OnUnsupported::kObserve) {
      out.exposures.push_back(text + ", and are only watched");
      drop(policy);
      return;
    }
    out.problems.push_back(policy.at.file + ":" + std::to_string(policy.at.line) + ":" + std::to_string(policy.at.column) + ": " +
                           text + "; to watch only, say onUnsupported: observe");
  };
  for (policy::Policy& policy : set.policies) {
    if (policy.mode == policy::Mode::kObserve) {
      continue;
    }
    for (const Hearsay& hearsay : kHearsay) {
      if (!(tellers.*hearsay.known) && std::ranges::any_of(policy.subjects, hearsay.is)) {
        lacks(policy, std::string(hearsay.what) + " cannot be enforced on this host (" + hearsay.why + ")", DropNothing);
      }
    }
    for (const Part& part : Parts()) {
      const std::string missing = part.asks(policy) ? Missing(domains, part.events) : "";
      if (!missing.empty()) {
        lacks(policy, std::string(part.what) + " cannot be enforced by this kernel (" + missing + ")", part.drop);
      }
    }
  }
  out.set = std::move(set);
  return out;
}

}  // namespace moat::app
