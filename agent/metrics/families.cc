// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/families.h"

#include <prometheus/text_serializer.h>

#include <initializer_list>
#include <sstream>
#include <utility>

#include "agent/base/utf8.h"
#include "agent/event/event.h"

namespace moat::metrics {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;

constexpr double kNsPerSecond = 1e9;

// One broken value would make Prometheus refuse the whole scrape: it wants UTF-8. Quotes and line ends the serializer escapes.
std::string Value(std::string_view text) {
  if (text.size() <= kMaxValueBytes) {
    return ToUtf8(text);
  }
  size_t end = kMaxValueBytes - 3;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) {
    --end;  // not in the middle of a character
  }
  return ToUtf8(text.substr(0, end)) + "...";
}

class Builder {
 public:
  // Rows follow by Row().
  void Counter(const char* name, const char* help, std::initializer_list<const char*> labels) {
    Begin(name, help, MetricType::Counter, labels);
  }
  void Gauge(const char* name, const char* help, std::initializer_list<const char*> labels) {
    Begin(name, help, MetricType::Gauge, labels);
  }
  void Row(std::initializer_list<std::string_view> values, double value) {
    if (families_.back().metric.size() >= kMaxRows) {
      rest_ += value;
      more_ = true;
      return;
    }
    Add(values, value);
  }
  void OneCounter(const char* name, const char* help, double value) {
    Counter(name, help, {});
    Row({}, value);
  }
  void OneGauge(const char* name, const char* help, double value) {
    Gauge(name, help, {});
    Row({}, value);
  }
  std::vector<MetricFamily> Take() {
    End();
    return std::move(families_);
  }

 private:
  void Begin(const char* name, const char* help, MetricType type, std::initializer_list<const char*> labels) {
    End();
    families_.push_back({name, help, type, {}});
    labels_.assign(labels.begin(), labels.end());
  }
  void End() {
    if (more_) {
      Add(std::vector<std::string_view>(labels_.size(), kOthers), rest_);
    } else if (!families_.empty() && families_.back().metric.empty()) {
      families_.pop_back();
    }
    more_ = false;
    rest_ = 0;
  }
  template <typename Values>
  void Add(const Values& values, double value) {
    prometheus::ClientMetric& metric = families_.back().metric.emplace_back();
    const char* const* label = labels_.data();
    for (const std::string_view text : values) {
      metric.label.push_back({*label++, Value(text)});
    }
    (families_.back().type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
  }

  std::vector<MetricFamily> families_;
  std::vector<const char*> labels_;  // of the last family
  bool more_ = false;  // rows that did not fit
  double rest_ = 0;    // their sum
};

double Of(uint64_t value) { return static_cast<double>(value); }

void AddLedger(Builder& to, const Ledger& ledger) {
  const auto each = [&](const auto& row) {
    for (size_t kind = 0; kind < ledger.kinds.size(); ++kind) {
      const KindLedger& line = ledger.kinds[kind];
      uint64_t lost = 0;
      for (const uint64_t count : line.lost) {
        lost += count;
      }
      if (line.attempted + line.delivered + lost > 0) {
        row(event::KindName(static_cast<event::Kind>(kind)), line);
      }
    }
  };
  to.Counter("moat_events_attempted_total", "Events that probes saw, by kind: delivered and lost together.", {"kind"});
  each([&](const char* kind, const KindLedger& line) { to.Row({kind}, Of(line.attempted)); });
  to.Counter("moat_events_delivered_total", "Events that reached every consumer of the pipeline, by kind.", {"kind"});
  each([&](const char* kind, const KindLedger& line) { to.Row({kind}, Of(line.delivered)); });
  to.Counter("moat_events_lost_total", "Events lost between the probe and the end of the pipeline, by kind and reason.",
             {"kind", "reason"});
  each([&](const char* kind, const KindLedger& line) {
    for (size_t reason = 0; reason < line.lost.size(); ++reason) {
      to.Row({kind, LostReasonName(static_cast<LostReason>(reason))}, Of(line.lost[reason]));
    }
  });
  to.Counter("moat_events_unreadable_total", "Delivered events with a field that could not be read, by kind.", {"kind"});
  each([&](const char* kind, const KindLedger& line) { to.Row({kind}, Of(line.unreadable)); });
}

void AddKernel(Builder& to, const Input& input) {
  to.Gauge("moat_domain_loaded", "1: the domain's programs are loaded. 0: the kernel refused them.", {"domain"});
  for (const DomainStatus& domain : input.domains) {
    to.Row({domain.name}, domain.loaded);
  }
  to.Gauge("moat_hook_attached", "1: the hook sees its event, through this backend. 0: it does not.",
           {"domain", "event", "backend"});
  for (const DomainStatus& domain : input.domains) {
    for (const HookStatus& hook : domain.hooks) {
      to.Row({domain.name, hook.event, hook.backend}, hook.attached);
    }
  }
  to.Counter("moat_hook_runs_missed_total", "Program runs that the kernel skipped.", {"domain", "event"});
  for (const DomainStatus& domain : input.domains) {
    for (const HookStatus& hook : domain.hooks) {
      to.Row({domain.name, hook.event}, Of(hook.runs_missed));
    }
  }
  to.Gauge("moat_ring_size_bytes", "Room in the kernel's buffer.", {"ring"});
  for (const RingStatus& ring : input.rings) {
    to.Row({ring.name}, Of(ring.size_bytes));
  }
  to.Gauge("moat_ring_used_bytes", "What lies in the kernel's buffer, not read yet.", {"ring"});
  for (const RingStatus& ring : input.rings) {
    to.Row({ring.name}, Of(ring.used_bytes));
  }
  to.Counter("moat_table_refused_rows_total", "Rows for which a table in the kernel had no room.", {"table"});
  for (size_t table = 0; table < input.ledger.table_full.size(); ++table) {
    if (input.ledger.table_full[table] > 0) {
      to.Row({TableName(table)}, Of(input.ledger.table_full[table]));
    }
  }
}

void AddPolicies(Builder& to, const Input& input) {
  to.OneGauge("moat_policy_generation", "Which set of policies is in force; 0: none.", Of(input.policy_generation));
  to.OneGauge("moat_policy_exposed_rules", "Rules in force that this kernel cannot enforce.", Of(input.policy_exposures));
  to.OneGauge("moat_policy_problems", "Mistakes in the files: above 0, what is in force is older than they are.",
              Of(input.policy_problems));
  to.Counter("moat_policy_decisions_total", "Decisions of the policies in force.", {"policy", "mode", "decision"});
  for (const Decisions& row : input.decisions) {
    to.Row({row.policy, row.mode, "allowed"}, Of(row.allowed));
    to.Row({row.policy, row.mode, "denied"}, Of(row.denied));
    to.Row({row.policy, row.mode, "would_deny"}, Of(row.would_deny));
  }
}

void AddFindings(Builder& to, const Input& input) {
  to.Counter("moat_findings_total", "Findings raised, each once.", {"kind", "severity"});
  for (const Findings& row : input.findings) {
    to.Row({row.kind, row.severity}, Of(row.raised));
  }
  to.Counter("moat_finding_causes_total", "How often the causes of findings were seen: what rate folding keeps from the sinks.",
             {"kind", "severity"});
  for (const Findings& row : input.findings) {
    to.Row({row.kind, row.severity}, Of(row.seen));
  }
}

void AddExpected(Builder& to, uint64_t times) {
  to.OneCounter("moat_findings_expected_total",
                "How often something was seen that detect.expected names, and that is no finding.", Of(times));
}

void AddSinks(Builder& to, const std::vector<Sink>& sinks) {
  const auto each = [&](auto field) {
    for (const Sink& sink : sinks) {
      to.Row({sink.name, sink.transport}, static_cast<double>(sink.*field));
    }
  };
  to.Counter("moat_sink_delivered_total", "Messages that the receiver has taken.", {"sink", "transport"});
  each(&Sink::delivered);
  to.Counter("moat_sink_dropped_total", "Messages given up because the queue or the spool was full.", {"sink", "transport"});
  each(&Sink::dropped);
  to.Counter("moat_sink_dead_letters_total", "Messages that the receiver will never take.", {"sink", "transport"});
  each(&Sink::dead_letters);
  to.Counter("moat_sink_resent_total", "Messages sent again after a fault, which may have arrived twice.", {"sink", "transport"});
  each(&Sink::resent);
  to.Gauge("moat_sink_spool_messages", "Messages on disk that are not delivered yet.", {"sink", "transport"});
  each(&Sink::spool_messages);
  to.Gauge("moat_sink_spool_bytes", "Bytes of messages on disk that are not delivered yet.", {"sink", "transport"});
  each(&Sink::spool_bytes);
  to.Gauge("moat_sink_lag_seconds", "Age of the oldest message that is not delivered yet.", {"sink", "transport"});
  each(&Sink::lag_seconds);
  to.Counter("moat_sink_errors_total", "Deliveries that failed, by reason.", {"sink", "transport", "reason"});
  for (const Sink& sink : sinks) {
    for (const Counted& error : sink.errors) {
      to.Row({sink.name, sink.transport, error.what}, Of(error.count));
    }
  }
}

void AddApi(Builder& to, const Input& input) {
  to.Counter("moat_api_calls_total", "Calls of the gRPC services that ended, by method and status code.", {"method", "code"});
  for (const ApiCalls& row : input.api_calls) {
    to.Row({row.method, row.code}, Of(row.calls));
  }
  to.Counter("moat_api_refused_connections_total", "Connections that were not let in, by reason.", {"reason"});
  for (const Counted& row : input.refused_connections) {
    to.Row({row.what}, Of(row.count));
  }
  to.OneGauge("moat_api_connections", "Connections of the network that are open.", Of(input.connections));
  to.OneCounter("moat_api_rate_limited_calls_total", "Calls that were refused because their caller asks too often.",
                Of(input.rate_limited_calls));
  to.OneCounter("moat_api_denied_calls_total", "Calls that were refused for want of a role.", Of(input.denied_calls));
  to.OneCounter("moat_api_reloads_failed_total", "Certificates, revocations or roles that could not be read anew.",
                Of(input.reloads_failed));
  to.Counter("moat_api_audit_lost_total", "Lines of the audit that were lost, by reason.", {"reason"});
  for (const Counted& row : input.audit_lost) {
    to.Row({row.what}, Of(row.count));
  }
  to.OneGauge("moat_api_subscribers", "Streams of events that are open.", Of(input.subscribers));
  to.OneCounter("moat_api_subscriber_losses_total", "Events that slow subscribers missed, and were told so.",
                Of(input.subscriber_losses));
}

}  // namespace

std::vector<MetricFamily> Families(const Input& input) {
  Builder to;
  to.Gauge("moat_build_info", "Always 1; what runs here.", {"version", "kernel"});
  to.Row({input.version, input.kernel}, 1);
  to.OneCounter("process_cpu_seconds_total", "User and system time of the agent.", Of(input.cpu_ns) / kNsPerSecond);
  to.OneGauge("process_resident_memory_bytes", "Memory of the agent.", Of(input.rss_bytes));
  to.OneGauge("process_start_time_seconds", "When the agent began, since the epoch.", Of(input.started_unix_ns) / kNsPerSecond);
  to.OneGauge("moat_attach_seconds", "From the start of the agent to all hooks attached.", Of(input.attach_ms) / 1e3);
  AddKernel(to, input);
  AddLedger(to, input.ledger);
  AddPolicies(to, input);
  AddFindings(to, input);
  AddExpected(to, input.expected_findings);
  AddSinks(to, input.sinks);
  AddApi(to, input);
  return to.Take();
}

std::string Render(const Input& input) {
  std::ostringstream text;
  prometheus::TextSerializer().Serialize(text, Families(input));
  return std::move(text).str();
}

}  // namespace moat::metrics
