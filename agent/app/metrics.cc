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

metrics::Input MetricsOf(api::StatusSnapshot status, const InForce& policies, const std::vector<api::FindingTotal>& findings,
                         const std::vector<sink::SinkStats>& sinks, const api::ApiCounters& api) {
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
  input.expected_findings = status.findings ? status.findings->expected : 0;
  for (const api::FindingTotal& total : findings) {
    input.findings.push_back({event::FindingKindName(total.kind), event::SeverityName(total.severity), total.news, total.seen});
  }
  for (const sink::SinkStats& from : sinks) {
    metrics::Sink& to = input.sinks.emplace_back(metrics::Sink{.name = from.name, .transport = from.type});
    to.delivered = from.delivered;
    to.dropped = sink::LostBy(from);
    to.dead_letters = from.spool.dead + from.spool.dead_dropped;
    to.spool_messages = from.spool.depth;
    to.spool_bytes = from.spool.depth_bytes;
    to.lag_seconds = static_cast<double>(from.lag_ns) / 1e9;
    to.errors = {{"retry", from.retried},   {"rejected", from.rejected},       {"spool", from.spool_errors},
                 {"torn", from.spool.torn}, {"unkept", from.transport.unkept}, {"refused", from.transport.refused}};
    to.resent = from.transport.resent;
  }
  for (const api::ApiCounters::Calls& calls : api.calls) {
    const std::string method = calls.method.substr(calls.method.starts_with('/') ? 1 : 0);
    for (size_t code = 0; code < calls.by_code.size(); ++code) {
      if (calls.by_code[code] != 0) {
        input.api_calls.push_back({method, api::CodeName(static_cast<int>(code)), calls.by_code[code]});
      }
    }
  }
  for (size_t i = 0; i < api.refused.size(); ++i) {
    if (api.refused[i] != 0) {
      input.refused_connections.push_back({api::RefusalName(static_cast<api::Refusal>(i)), api.refused[i]});
    }
  }
  input.connections = api.connections;
  input.rate_limited_calls = api.rate_limited;
  input.denied_calls = api.denied;
  input.reloads_failed = api.reloads_failed;
  input.audit_lost = {{"queue_full", api.audit.dropped}, {"write", api.audit.failed}};
  return input;
}

}  // namespace moat::app
