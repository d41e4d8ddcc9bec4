// SPDX-License-Identifier: Apache-2.0
#include "agent/sink/otlp.h"

#include <absl/synchronization/mutex.h>
#include <grpc/grpc.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>

#include "agent/base/clock.h"
#include "agent/base/utf8.h"
#include "agent/sink/tls.h"
#include "agent/sink/transports.h"
#include "otlp/logs_service.grpc.pb.h"
#include "otlp/retry.pb.h"

namespace moat::sink {
namespace {

namespace collector = opentelemetry::proto::collector::logs::v1;
namespace logs = opentelemetry::proto::logs::v1;
using std::chrono::milliseconds;
using std::chrono::system_clock;

constexpr size_t kMaxErrorBytes = 300, kMaxFile = 1u << 20;
constexpr int kMaxAnswer = 64 << 10;

logs::SeverityNumber NumberOf(event::Severity severity) {
  switch (severity) {
    case event::Severity::kCritical: return logs::SEVERITY_NUMBER_FATAL;
    case event::Severity::kHigh: return logs::SEVERITY_NUMBER_ERROR;
    case event::Severity::kMedium: return logs::SEVERITY_NUMBER_WARN;
    case event::Severity::kLow: return logs::SEVERITY_NUMBER_INFO2;
    case event::Severity::kInfo: break;
  }
  return logs::SEVERITY_NUMBER_INFO;
}

template <typename To>
void AddText(To& to, const char* key, const std::string& value) {
  auto* attribute = to.add_attributes();
  attribute->set_key(key);
  attribute->mutable_value()->set_string_value(value);
}

Result<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kMaxFile + 1, '\0');
  if (!file.is_open() || (!file.read(text.data(), static_cast<std::streamsize>(text.size())) && !file.eof())) {
    return Fail(Code::kFailedPrecondition, path + " cannot be read");
  }
  text.resize(static_cast<size_t>(file.gcount()));
  return text.size() <= kMaxFile ? Result<std::string>(std::move(text))
                                 : Fail(Code::kFailedPrecondition, path + " is larger than 1 MiB");
}

// What the receiver asks for; 0: nothing.
uint64_t RetryAfterMs(const grpc::Status& status) {
  otlp::StatusDetails details;
  if (!details.ParseFromString(status.error_details())) {
    return 0;
  }
  for (const auto& detail : details.details()) {
    otlp::RetryInfo info;
    if (detail.type_url().ends_with("/google.rpc.RetryInfo") && info.ParseFromString(detail.value())) {
      const int64_t seconds = std::clamp<int64_t>(info.retry_delay().seconds(), 0, 86'400);
      return static_cast<uint64_t>(seconds * 1000 + std::clamp(info.retry_delay().nanos(), 0, 999'999'999) / 1'000'000);
    }
  }
  return 0;
}

// Kinds of findings and of events have no name in common.
const char* EventName(std::string_view kind) {
  return event::FindingKindFromName(kind) != event::FindingKind::kNone ? "moat.finding"
         : event::KindFromName(kind) != event::Kind::kNone             ? "moat.event"
                                                                       : "moat.agent";
}

class OtlpImpl final : public Otlp {
 public:
  OtlpImpl(config::OtlpSink config, Origin origin) : config_(std::move(config)), origin_(std::move(origin)) {
    // As in agent/api/server.cc: no shutdown of gRPC is the last one, and Debian's Abseil does not look for deadlocks.
    [[maybe_unused]] static const bool kept = (grpc_init(), true);
    absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
    where_ = (config_.host.find(':') == std::string::npos ? config_.host : "[" + config_.host + "]") + ":" +
             std::to_string(config_.port);
  }
  Delivery Send(std::span<const Message> messages) override;
  TransportStats stats() const override { return {.refused = refused_}; }

 private:
  Status Connect();
  Result<std::shared_ptr<grpc::ChannelCredentials>> Credentials(grpc::ChannelArguments& arguments) const;
  collector::ExportLogsServiceRequest Request(std::span<const Message> messages) const;
  Status AddHeaders(grpc::ClientContext& context) const;
  // kDelivered: all. kRejected: all, or so many at once.
  Delivery Export(std::span<const Message> messages, system_clock::time_point deadline);

  const config::OtlpSink config_;
  const Origin origin_;
  std::string where_;
  PemStamp stamp_{};
  std::unique_ptr<collector::LogsService::Stub> stub_;
  uint64_t refused_ = 0;
};

Result<std::shared_ptr<grpc::ChannelCredentials>> OtlpImpl::Credentials(grpc::ChannelArguments& arguments) const {
  if (!config_.tls) {
    return grpc::InsecureChannelCredentials();
  }
  grpc::SslCredentialsOptions options;
  MOAT_ASSIGN(options.pem_root_certs, ReadFile(config_.tls->ca));
  if (!config_.tls->cert.empty()) {
    MOAT_ASSIGN(options.pem_cert_chain, ReadFile(config_.tls->cert));
    MOAT_ASSIGN(options.pem_private_key, ReadFile(config_.tls->key));
  }
  if (config_.tls->server_name != config_.host) {
    arguments.SetSslTargetNameOverride(config_.tls->server_name);
  }
  return grpc::SslCredentials(options);
}

Status OtlpImpl::Connect() {
  const PemStamp now = config_.tls ? StampOf(*config_.tls) : PemStamp{};
  if (stub_ && now == stamp_) {
    return {};
  }
  stub_.reset();
  grpc::ChannelArguments arguments;
  MOAT_ASSIGN(const auto credentials, Credentials(arguments));
  arguments.SetMaxReceiveMessageSize(kMaxAnswer);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // another channel's connection may have other certificates
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);          // what the environment says of proxies is not meant for this
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);  // the runner has its own pauses
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  stub_ = collector::LogsService::NewStub(grpc::CreateCustomChannel("dns:///" + where_, credentials, arguments));
  stamp_ = now;
  return {};
}

collector::ExportLogsServiceRequest OtlpImpl::Request(std::span<const Message> messages) const {
  collector::ExportLogsServiceRequest request;
  logs::ResourceLogs& from = *request.add_resource_logs();
  AddText(*from.mutable_resource(), "service.name", "moatd");
  AddText(*from.mutable_resource(), "service.version", ToUtf8(origin_.version));
  AddText(*from.mutable_resource(), "host.name", ToUtf8(origin_.hostname));
  logs::ScopeLogs& scope = *from.add_scope_logs();
  scope.mutable_scope()->set_name("moat");
  const uint64_t now = WallNs();
  for (const Message& message : messages) {
    logs::LogRecord& record = *scope.add_log_records();
    record.set_time_unix_nano(message.time_unix_ns);
    record.set_observed_time_unix_nano(now);
    record.set_severity_number(NumberOf(message.severity));
    record.set_severity_text(event::SeverityName(message.severity));
    record.set_event_name(EventName(message.kind));
    record.mutable_body()->set_string_value(ToUtf8(message.text));
    AddText(record, "id", ToUtf8(message.id));
    AddText(record, "kind", ToUtf8(message.kind));
    AddText(record, "severity", event::SeverityName(message.severity));
    auto* revision = record.add_attributes();
    revision->set_key("revision");
    revision->mutable_value()->set_int_value(static_cast<int64_t>(message.revision));
  }
  return request;
}

Status OtlpImpl::AddHeaders(grpc::ClientContext& context) const {
  for (const auto& header : config_.headers) {
    std::string value = header.value;
    if (!header.value_file.empty()) {  // each time: a token is replaced when it is about to expire
      MOAT_ASSIGN(value, ReadFile(header.value_file));
      while (value.ends_with('\n') || value.ends_with('\r')) {
        value.pop_back();
      }
    }
    if (!std::ranges::all_of(value, [](char c) { return c >= 0x20 && c < 0x7f; })) {
      return Fail(Code::kFailedPrecondition, header.value_file + " has more than one line of printable ASCII");
    }
    context.AddMetadata(header.name, value);
  }
  return {};
}

Delivery OtlpImpl::Export(std::span<const Message> messages, system_clock::time_point deadline) {
  grpc::ClientContext context;
  context.set_deadline(deadline);
  if (const Status added = AddHeaders(context); !added) {
    return {.delivered = 0, .outcome = Outcome::kRetry, .why = added.error().message};
  }
  collector::ExportLogsServiceResponse response;
  const grpc::Status status = stub_->Export(&context, Request(messages), &response);
  const auto say = [&](std::string_view text) { return where_ + ": " + Printable(text.substr(0, kMaxErrorBytes)); };
  if (!status.ok()) {
    // Only these are of the messages: a wrong token or a wrong address can be put right, and the findings then be delivered.
    // RESOURCE_EXHAUSTED without a pause to keep may be of a request larger than the receiver takes: fewer may pass.
    const uint64_t asked_ms = RetryAfterMs(status);
    const bool for_good = status.error_code() == grpc::StatusCode::INVALID_ARGUMENT ||
                          (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED && asked_ms == 0 && messages.size() > 1);
    return {.delivered = 0,
            .outcome = for_good ? Outcome::kRejected : Outcome::kRetry,
            .why = say(status.error_message()) + " (gRPC status " + std::to_string(status.error_code()) + ")",
            .retry_after_ms = asked_ms};
  }
  const auto& partial = response.partial_success();
  const uint64_t refused = static_cast<uint64_t>(std::max<int64_t>(partial.rejected_log_records(), 0));
  if (refused >= messages.size()) {
    return {.delivered = 0, .outcome = Outcome::kRejected, .why = say(partial.error_message())};
  }
  refused_ += refused;
  return {.delivered = messages.size()};
}

Delivery OtlpImpl::Send(std::span<const Message> messages) {
  const auto deadline = system_clock::now() + milliseconds(config_.timeout_ms);
  if (const Status connected = Connect(); !connected) {
    return {.delivered = 0, .outcome = Outcome::kRetry, .why = connected.error().message};
  }
  // A request is rejected as a whole for one bad record, or for its size: the bad one, or a size that passes, is found by halving.
  size_t done = 0, most = messages.size();
  while (done < messages.size()) {
    const auto some = messages.subspan(done, std::min(most, messages.size() - done));
    Delivery delivery = Export(some, deadline);
    if (delivery.outcome == Outcome::kRejected && some.size() > 1) {
      most = some.size() / 2;
      continue;
    }
    if (delivery.outcome != Outcome::kDelivered) {
      delivery.delivered = done;
      return delivery;
    }
    done += some.size();
  }
  return {.delivered = done};
}

}  // namespace

std::unique_ptr<Otlp> Otlp::Create(const config::OtlpSink& config, const Origin& origin) {
  return std::make_unique<OtlpImpl>(config, origin);
}

Result<std::unique_ptr<Transport>> MakeOtlp(const config::OtlpSink& config, const Origin& origin) {
  return Otlp::Create(config, origin);
}

}  // namespace moat::sink
