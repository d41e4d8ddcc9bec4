// SPDX-License-Identifier: Apache-2.0
#include "agent/app/metrics.h"

#include <unordered_map>
#include <utility>

namespace moat::app {
namespace {

const char* ModeName(policy::Mode mode) {
  switch (mode) {
    case policy::Mode::kObserve: return "observe";
    case policy::Mode::kDryRun: return "dry-run";
    case policy::Mode::kEnforce: return "enforce";
  }
  return "unknown";
}

// The kernel counts by rule.
std::vector<metrics::Decisions> DecisionsOf(const InForce& policies) {
  std::vector<metrics::Decisions> rows;
  if (!policies.set || !policies.rules) {
    return rows;
  }
  std::unordered_map<std::string, size_t> index;
  for (const policy::Policy& policy : policies.set->policies) {
    index.try_emplace(policy.name, rows.size());
    rows.push_back({.policy = policy.name, .mode = ModeName(policy.mode)});
  }
  for (size_t i = 0; i < policies.rules->texts.size() && i < policies.counts.size(); ++i) {
    if (const auto found = index.find(policies.rules->texts[i].policy); found != index.end()) {
      metrics::Decisions& row = rows[found->second];
      row.allowed += policies.counts[i].allowed;
      row.denied += policies.counts[i].denied;
      row.would_deny += policies.counts[i].would_deny;
    }
  }
  return rows;
}

}  // namespace

metrics::Input MetricsOf(api::StatusSnapshot status, const InForce& policies) {
  metrics::Input input{.version = std::move(status.version), .kernel = std::move(status.kernel)};
  input.started_unix_ns = status.started_unix_ns;
  input.attach_ms = status.attach_ms;
  input.cpu_ns = status.cpu_ns;
  input.rss_bytes = status.rss_bytes;
  input.domains = std::move(status.domains);
  input.ledger = status.ledger;
  input.rings = std::move(status.rings);
  input.subscribers = status.subscribers;
  input.subscriber_losses = status.subscriber_losses;
  input.policy_generation = policies.generation;
  input.policy_exposures = policies.exposures.size();
  input.policy_problems = policies.problems.size();
  input.decisions = DecisionsOf(policies);
  return input;
}

}  // namespace moat::app
