// SPDX-License-Identifier: Apache-2.0
#include "agent/detect/expected.h"

#include <fnmatch.h>

#include <algorithm>
#include <string>

namespace moat::detect {
namespace {

static_assert(static_cast<size_t>(event::FindingKind::kCount) <= 64, "kinds are bits of 64");

constexpr uint64_t Bit(event::FindingKind kind) { return uint64_t{1} << static_cast<unsigned>(kind); }

// Patterns of the shell: "*" is any text. A name that is empty is none.
bool IsOneOf(const std::vector<std::string>& patterns, const std::string& name) {
  return !name.empty() && std::ranges::any_of(patterns, [&](const std::string& pattern) {
    return ::fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
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

bool Expectations::Names(event::FindingKind kind, const event::Workload* workload) const {
  if (workload == nullptr) {
    return false;
  }
  const bool pod = !workload->pod_uid.empty();
  // A pod by both names, so that none of another namespace is taken for it.
  const std::string name =
      workload->pod_namespace.empty() || workload->pod_name.empty() ? "" : workload->pod_namespace + "/" + workload->pod_name;
  return std::ranges::any_of(rules_, [&](const Rule& rule) {
    return (rule.kinds & Bit(kind)) != 0 &&
           (pod ? IsOneOf(rule.who.pods, name)
                : IsOneOf(rule.who.containers, workload->container_name) ||
                      (workload->container_id.empty() && IsOneOf(rule.who.units, workload->unit)));
  });
}

}  // namespace moat::detect
