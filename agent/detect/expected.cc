// SPDX-License-Identifier: Apache-2.0
#include "agent/detect/expected.h"

#include <fnmatch.h>

#include <algorithm>
#include <string>

namespace moat::detect {
namespace {

static_assert(static_cast<size_t>(event::FindingKind::kCount) <= 64, "kinds are bits of 64");

constexpr uint64_t Bit(event::FindingKind kind) { return uint64_t{1} << static_cast<unsigned>(kind); }

// "*" is any text, and all else itself: names of units have backslashes. A name that is empty is none.
bool IsOneOf(const std::vector<std::string>& patterns, const std::string& name) {
  return !name.empty() && std::ranges::any_of(patterns, [&](const std::string& pattern) {
    return ::fnmatch(pattern.c_str(), name.c_str(), FNM_NOESCAPE) == 0;
  });
}

}  // namespace

Expectations::Expectations(const std::vector<config::Expected>& expected) {
  for (const config::Expected& one : expected) {
    Rule& rule = rules_.emplace_back(Rule{.who = one});
    for (const std::string& kind : one.kinds) {
      rule.kinds |= Bit(event::FindingKindFromName(kind));
    }
  }
}

Expectations::Says Expectations::Of(event::FindingKind kind, const event::Workload* workload) const {
  if (workload == nullptr) {
    return Says::kNothing;
  }
  const bool pod = !workload->pod_uid.empty();
  // A pod by both names, so that none of another namespace is taken for it.
  const std::string name =
      workload->pod_namespace.empty() || workload->pod_name.empty() ? "" : workload->pod_namespace + "/" + workload->pod_name;
  Says says = Says::kNothing;
  for (const Rule& rule : rules_) {
    if ((rule.kinds & Bit(kind)) == 0) {
      continue;
    }
    // The unit of a job or a container is that of its runtime: what users run there is not the unit's own work.
    if (pod ? IsOneOf(rule.who.pods, name)
            : IsOneOf(rule.who.containers, workload->container_name) ||
                  (event::KindOf(*workload) == event::WorkloadKind::kUnit && IsOneOf(rule.who.units, workload->unit))) {
      return Says::kExpected;
    }
    if (!workload->known && !(pod ? rule.who.pods : rule.who.containers).empty()) {
      says = Says::kAskAgain;
    }
  }
  return says;
}

}  // namespace moat::detect
