// SPDX-License-Identifier: Apache-2.0
// Status/Get: the snapshot as a message, and as JSON where nobody serves it.
#include <google/protobuf/util/json_util.h>

#include <string>
#include <utility>

#include "agent/api/services.h"
#include "agent/base/clock.h"
#include "agent/base/utf8.h"
#include "moat/v1/services.grpc.pb.h"

namespace moat::api {

namespace {

void SetDomain(v1::Domain* to, const DomainStatus& from) {
  to->set_name(from.name);
  to->set_loaded(from.loaded);
  to->set_error(ToUtf8(from.error));
  for (const HookStatus& hook : from.hooks) {
    auto* out = to->add_hooks();
    out->set_event(hook.event);
    out->set_backend(hook.backend);
    out->set_program(hook.program);
    out->set_attached(hook.attached);
    out->set_why(ToUtf8(hook.why));
    for (const auto& unseen : hook.unseen) {
      out->add_unseen(unseen);
    }
    out->set_runs_missed(hook.runs_missed);
    out->set_exposure(hook.exposure);
    out->set_proof(hook.proof);
  }
}

void SetLedger(v1::AgentStatus* to, const Ledger& ledger) {
  for (size_t kind = 0; kind < ledger.kinds.size(); ++kind) {
    const KindLedger& from = ledger.kinds[kind];
    uint64_t lost_all = 0;
    for (uint64_t lost : from.lost) {
      lost_all += lost;
    }
    if (from.attempted == 0 && from.delivered == 0 && lost_all == 0) {
      continue;
    }
    auto* out = to->add_ledger();
    out->set_kind(static_cast<v1::Kind>(kind));
    out->set_attempted(from.attempted);
    out->set_delivered(from.delivered);
    out->set_unreadable(from.unreadable);
    for (size_t reason = 0; reason < from.lost.size(); ++reason) {
      if (from.lost[reason]) {
        auto* lost = out->add_lost();
        lost->set_reason(static_cast<v1::LostReason>(reason));
        lost->set_count(from.lost[reason]);
      }
    }
  }
  for (size_t table = 0; table < ledger.table_full.size(); ++table) {
    if (ledger.table_full[table]) {
      auto* out = to->add_tables_full();
      out->set_table(TableName(table));
      out->set_refused(ledger.table_full[table]);
    }
  }
}

void SetStatus(v1::AgentStatus* to, const StatusSnapshot& from) {
  to->set_version(from.version);
  to->set_hostname(ToUtf8(from.hostname));
  to->set_kernel(ToUtf8(from.kernel));
  to->set_scope(ToUtf8(from.scope));
  to->set_started_unix_ns(from.started_unix_ns);
  uint64_t now_ns = WallNs();
  const bool started = from.started_unix_ns != 0 && now_ns > from.started_unix_ns;
  to->set_uptime_ns(started ? now_ns - from.started_unix_ns : 0);
  to->set_attach_ms(from.attach_ms);
  for (const DomainStatus& domain : from.domains) {
    SetDomain(to->add_domains(), domain);
  }
  SetLedger(to, from.ledger);
  for (const RingStatus& ring : from.rings) {
    auto* out = to->add_rings();
    out->set_name(ring.name);
    out->set_size_bytes(ring.size_bytes);
    out->set_used_bytes(ring.used_bytes);
  }
  for (const StatusSnapshot::Asset& asset : from.assets) {
    auto* out = to->add_assets();
    out->set_id(asset.id);
    out->set_name(ToUtf8(asset.name));
    out->set_asset_class(ToUtf8(asset.asset_class));
    out->set_bytes(asset.bytes);
    out->set_files(asset.files);
    for (const auto& problem : asset.problems) {
      out->add_problems(ToUtf8(problem));
    }
  }
  for (const StatusSnapshot::Device& device : from.devices) {
    auto* out = to->add_devices();
    out->set_path(ToUtf8(device.path));
    out->set_device_class(device.class_name);
    out->set_rdev(device.rdev);
  }
  to->set_subscribers(from.subscribers);
  to->set_subscriber_losses(from.subscriber_losses);
  if (from.findings) {
    v1::FindingStatus* findings = to->mutable_findings();
    findings->set_seen(from.findings->seen);
    findings->set_told(from.findings->told);
    findings->set_open(from.findings->open);
    findings->set_closed(from.findings->closed);
    findings->set_crowded(from.findings->crowded);
    findings->set_forgotten(from.findings->forgotten);
    findings->set_expected(from.findings->expected);
  }
  for (const StatusSnapshot::Sink& sink : from.sinks) {
    v1::Sink* out = to->add_sinks();
    out->set_name(sink.name);
    out->set_transport(sink.transport);
    out->set_encoding(sink.encoding);
    out->set_delivered(sink.delivered);
    out->set_waiting(sink.waiting);
    out->set_lag_ns(sink.lag_ns);
    out->set_lost(sink.lost);
    out->set_refused(sink.refused);
    out->set_failing(sink.failing);
    out->set_last_error(ToUtf8(sink.last_error));
    out->set_last_error_unix_ns(sink.last_error_unix_ns);
  }
  to->set_last_seq(from.last_seq);
  to->set_cpu_ns(from.cpu_ns);
  to->set_rss_bytes(from.rss_bytes);
  to->set_healthy(Healthy(from));
}

class StatusService final : public v1::Status::CallbackService {
 public:
  explicit StatusService(StatusSource status) : status_(std::move(status)) {}

  grpc::ServerUnaryReactor* Get(grpc::CallbackServerContext* context, const v1::GetRequest*, v1::GetResponse* response) override {
    SetStatus(response->mutable_agent(), status_());
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

 private:
  StatusSource status_;
};

}  // namespace

bool Healthy(const StatusSnapshot& snapshot) {
  for (const DomainStatus& domain : snapshot.domains) {
    if (!domain.loaded) {
      return false;
    }
    for (const HookStatus& hook : domain.hooks) {
      if (!hook.attached && !hook.exposure) {
        return false;
      }
    }
  }
  return !snapshot.domains.empty();
}

std::string ToJson(const StatusSnapshot& snapshot) {
  v1::AgentStatus message;
  SetStatus(&message, snapshot);
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.preserve_proto_field_names = true;
  std::string text;
  return google::protobuf::util::MessageToJsonString(message, &text, options).ok() ? text : "";
}

std::unique_ptr<grpc::Service> MakeStatusService(StatusSource status) {
  return std::make_unique<StatusService>(std::move(status));
}

}  // namespace moat::api
