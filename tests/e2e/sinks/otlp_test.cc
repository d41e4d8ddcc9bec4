// SPDX-License-Identifier: Apache-2.0
// OTLP logs to a double of a collector: Debian has no receiver of OTLP. What arrives is also read by field numbers, without the messages of
// proto/otlp, so that a number that is wrong on both sides shows.
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <map>
#include <mutex>

#include "agent/sink/otlp.h"
#include "agent/sink/sinks.h"
#include "otlp/logs_service.grpc.pb.h"
#include "otlp/retry.pb.h"
#include "tests/e2e/sinks/receivers.h"
#include "tests/unit/sink_tools.h"

namespace moat::e2e {
namespace {

namespace collector = opentelemetry::proto::collector::logs::v1;
using collector::ExportLogsServiceRequest;
using collector::ExportLogsServiceResponse;
using sink::Outcome;

const sink::Origin kOrigin{.hostname = "node-1", .version = "1.2"};

class Collector final : public collector::LogsService::Service {
 public:
  using Answer = std::function<grpc::Status(const ExportLogsServiceRequest&, ExportLogsServiceResponse*)>;
  explicit Collector(uint16_t port,
                     const std::shared_ptr<grpc::ServerCredentials>& credentials = grpc::InsecureServerCredentials())
      : port_(port) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:" + std::to_string(port), credentials);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    EXPECT_NE(server_, nullptr);
  }
  ~Collector() override { server_->Shutdown(std::chrono::system_clock::now()); }

  void Set(Answer answer) {
    const std::lock_guard lock(mutex_);
    answer_ = std::move(answer);
  }
  grpc::Status Export(grpc::ServerContext* context, const ExportLogsServiceRequest* request,
                      ExportLogsServiceResponse* response) override {
    const std::lock_guard lock(mutex_);
    ++requests_;
    peer_ = context->auth_context()->IsPeerAuthenticated();
    const auto found = context->client_metadata().find("authorization");
    token_ = found == context->client_metadata().end() ? "" : std::string(found->second.data(), found->second.size());
    if (answer_) {
      if (const grpc::Status status = answer_(*request, response); !status.ok()) {
        return status;
      }
    }
    for (const auto& record : request->resource_logs(0).scope_logs(0).log_records()) {
      ids_.push_back(record.attributes(0).value().string_value());
    }
    last_ = request->SerializeAsString();
    return {};
  }
  template <typename T>
  T Locked(T Collector::* member) {
    const std::lock_guard lock(mutex_);
    return this->*member;
  }

  std::vector<std::string> ids_;
  std::string last_, token_;
  int requests_ = 0;
  bool peer_ = false;

 private:
  const uint16_t port_;
  std::mutex mutex_;
  Answer answer_;
  std::unique_ptr<grpc::Server> server_;
};

config::OtlpSink At(uint16_t port) {
  config::OtlpSink sink;
  sink.host = "127.0.0.1";
  sink.port = port;
  sink.timeout_ms = 2000;
  return sink;
}

std::vector<sink::Message> Messages(uint64_t count) {
  std::vector<sink::Message> messages;
  for (uint64_t number = 0; number < count; ++number) {
    messages.push_back(test::MakeMessage(number));
  }
  return messages;
}

// The fields of a message by number: numbers as text, the rest as bytes.
std::multimap<int, std::string> Fields(const std::string& bytes) {
  using google::protobuf::internal::WireFormatLite;
  google::protobuf::io::CodedInputStream in(reinterpret_cast<const uint8_t*>(bytes.data()), static_cast<int>(bytes.size()));
  std::multimap<int, std::string> fields;
  while (const uint32_t tag = in.ReadTag()) {
    uint64_t number = 0;
    uint32_t size = 0;
    std::string text;
    switch (WireFormatLite::GetTagWireType(tag)) {
      case WireFormatLite::WIRETYPE_VARINT:
        in.ReadVarint64(&number);
        text = std::to_string(number);
        break;
      case WireFormatLite::WIRETYPE_FIXED64:
        in.ReadLittleEndian64(&number);
        text = std::to_string(number);
        break;
      default: EXPECT_TRUE(in.ReadVarint32(&size) && in.ReadString(&text, static_cast<int>(size))); break;
    }
    fields.emplace(WireFormatLite::GetTagFieldNumber(tag), text);
  }
  return fields;
}
std::string At(const std::string& bytes, std::initializer_list<int> path) {
  std::string at = bytes;
  for (const int number : path) {
    const auto fields = Fields(at);
    const auto found = fields.find(number);
    if (found == fields.end()) {
      ADD_FAILURE() << "no field " << number;
      return "";
    }
    at = found->second;
  }
  return at;
}

TEST(OtlpSink, RecordsHaveThePublicFieldNumbers) {
  const uint16_t port = FreePort();
  Collector collector(port);
  const auto otlp = sink::Otlp::Create(At(port), kOrigin);
  sink::Message message = test::MakeMessage(5);
  const std::pair<event::Severity, const char*> numbers[] = {{event::Severity::kInfo, "9"},
                                                             {event::Severity::kLow, "10"},
                                                             {event::Severity::kMedium, "13"},
                                                             {event::Severity::kHigh, "17"},
                                                             {event::Severity::kCritical, "21"}};
  for (const auto& [severity, number] : numbers) {
    message.severity = severity;
    const sink::Delivery delivery = otlp->Send({&message, 1});
    ASSERT_EQ(delivery.delivered, 1u) << delivery.why;
    EXPECT_EQ(At(collector.last_, {1, 2, 2, 2}), number);
  }
  const std::string& bytes = collector.last_;
  const std::string record = At(bytes, {1, 2, 2});
  EXPECT_EQ(At(record, {1}), std::to_string(message.time_unix_ns));
  EXPECT_GT(std::stoull(At(record, {11})), 1'700'000'000'000'000'000u);
  EXPECT_EQ(At(record, {3}), "critical");
  EXPECT_EQ(At(record, {5, 1}), message.text);
  EXPECT_EQ(At(record, {12}), "moat.finding");
  std::map<std::string, std::string> attributes;
  for (const auto& [number, field] : Fields(record)) {
    if (number == 6) {
      attributes[At(field, {1})] = Fields(At(field, {2})).begin()->second;
    }
  }
  EXPECT_EQ(attributes, (std::map<std::string, std::string>{
                            {"id", message.id}, {"kind", message.kind}, {"severity", "critical"}, {"revision", "5"}}));
  EXPECT_EQ(At(bytes, {1, 1, 1, 1}), "service.name");
  EXPECT_EQ(At(bytes, {1, 1, 1, 2, 1}), "moatd");
  EXPECT_EQ(At(bytes, {1, 2, 1, 1}), "moat");
}

TEST(OtlpSink, WhatCannotBeTakenNowIsSentAgain) {
  const uint16_t port = FreePort();
  const auto messages = Messages(3);
  const auto otlp = sink::Otlp::Create(At(port), kOrigin);
  EXPECT_EQ(otlp->Send(messages).outcome, Outcome::kRetry) << "nobody listens";
  Collector collector(port);
  ASSERT_TRUE(test::Until([&] { return otlp->Send(messages).delivered == 3; }));
  for (const auto code :
       {grpc::StatusCode::UNAVAILABLE, grpc::StatusCode::RESOURCE_EXHAUSTED, grpc::StatusCode::DEADLINE_EXCEEDED,
        grpc::StatusCode::UNAUTHENTICATED, grpc::StatusCode::UNIMPLEMENTED}) {
    collector.Set([&](const auto&, auto*) { return grpc::Status(code, "not\nnow"); });
    const sink::Delivery delivery = otlp->Send(messages);
    EXPECT_EQ(delivery.delivered, 0u);
    EXPECT_EQ(delivery.outcome, Outcome::kRetry);
    EXPECT_NE(delivery.why.find("not\\nnow (gRPC status " + std::to_string(code)), std::string::npos) << delivery.why;
    EXPECT_EQ(delivery.retry_after_ms, 0u);
  }
  collector.Set({});
  EXPECT_EQ(otlp->Send(messages).delivered, 3u);
}

TEST(OtlpSink, ThePauseIsTheReceivers) {
  const uint16_t port = FreePort();
  Collector collector(port);
  otlp::RetryInfo info;
  info.mutable_retry_delay()->set_seconds(7);
  info.mutable_retry_delay()->set_nanos(250'000'000);
  otlp::StatusDetails details;
  auto& detail = *details.add_details();
  detail.set_type_url("type.googleapis.com/google.rpc.RetryInfo");
  detail.set_value(info.SerializeAsString());
  for (const auto& [bytes, ms] : {std::pair<std::string, uint64_t>{details.SerializeAsString(), 7250}, {"no message \xff", 0}}) {
    collector.Set([&](const auto&, auto*) { return grpc::Status(grpc::StatusCode::UNAVAILABLE, "later", bytes); });
    EXPECT_EQ(sink::Otlp::Create(At(port), kOrigin)->Send(Messages(1)).retry_after_ms, ms);
  }
}

// As receivers with a small grpc max_recv_msg_size say it, for whom no pause would help.
TEST(OtlpSink, ARequestThatIsTooLargeIsHalved) {
  const uint16_t port = FreePort();
  const auto messages = Messages(20);
  const auto otlp = sink::Otlp::Create(At(port), kOrigin);
  Collector collector(port);
  int most = 0;
  const auto limit = [&](int records) {
    collector.Set([&most, records](const auto& request, auto*) {
      const int got = request.resource_logs(0).scope_logs(0).log_records_size();
      most = std::max(most, got <= records ? got : 0);
      return got <= records ? grpc::Status::OK : grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "larger than max");
    });
  };
  limit(6);
  ASSERT_TRUE(test::Until([&] { return otlp->Send(messages).delivered == 20; }));
  EXPECT_EQ(most, 5);
  limit(0);
  const sink::Delivery delivery = otlp->Send(messages);
  EXPECT_EQ(delivery.delivered, 0u);
  EXPECT_EQ(delivery.outcome, Outcome::kRetry) << "one alone is not refused for good: it may be of the receiver's load";
}

TEST(OtlpSink, AReceiverThatHangsIsLeft) {
  const uint16_t port = FreePort();
  Collector collector(port);
  config::OtlpSink config = At(port);
  config.timeout_ms = 200;
  std::atomic<bool> hang{true};
  collector.Set([&](const auto&, auto*) {
    while (hang) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return grpc::Status();
  });
  const auto otlp = sink::Otlp::Create(config, kOrigin);
  const auto began = std::chrono::steady_clock::now();
  EXPECT_EQ(otlp->Send(Messages(1)).outcome, Outcome::kRetry);
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(5));
  hang = false;
}

TEST(OtlpSink, OneBadRecordIsFoundAndTheOthersArrive) {
  const uint16_t port = FreePort();
  Collector collector(port);
  collector.Set([](const ExportLogsServiceRequest& request, auto*) {
    for (const auto& record : request.resource_logs(0).scope_logs(0).log_records()) {
      if (record.attributes(0).value().string_value() == "id-37") {
        return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "bad");
      }
    }
    return grpc::Status();
  });
  const test::TempDir directory;
  config::Sink config{.name = "otlp", .kinds = {}, .events = {}, .spool = {.path = directory / "spool"}, .transport = At(port)};
  const auto messages = Messages(100);
  const auto otlp = sink::Otlp::Create(At(port), kOrigin);
  const sink::Delivery first = otlp->Send(messages);
  EXPECT_EQ(first.delivered, 37u);
  EXPECT_EQ(first.outcome, Outcome::kRejected);
  EXPECT_EQ(otlp->Send(std::span(messages).subspan(38)).delivered, 62u);
  EXPECT_EQ(collector.ids_.size(), 99u);
  EXPECT_LT(collector.requests_, 40);
}

TEST(OtlpSink, PartialSuccessIsCounted) {
  const uint16_t port = FreePort();
  Collector collector(port);
  int64_t refused = 2;
  collector.Set([&](const auto&, ExportLogsServiceResponse* response) {
    response->mutable_partial_success()->set_rejected_log_records(refused);
    response->mutable_partial_success()->set_error_message("too old");
    return grpc::Status();
  });
  const auto otlp = sink::Otlp::Create(At(port), kOrigin);
  sink::Delivery delivery = otlp->Send(Messages(5));
  EXPECT_EQ(delivery.delivered, 5u);
  EXPECT_EQ(otlp->stats().refused, 2u);
  for (const int64_t nonsense : {int64_t{0}, int64_t{-3}}) {
    refused = nonsense;
    EXPECT_EQ(otlp->Send(Messages(5)).delivered, 5u);
  }
  EXPECT_EQ(otlp->stats().refused, 2u);
  refused = 1;
  delivery = otlp->Send(Messages(1));
  EXPECT_EQ(delivery.outcome, Outcome::kRejected) << "of one, it is known which";
  EXPECT_NE(delivery.why.find("too old"), std::string::npos);
  EXPECT_EQ(otlp->stats().refused, 2u);
}

TEST(OtlpSink, BothSidesAreCheckedByTls) {
  const test::TempDir directory;
  ASSERT_TRUE(MakeCertificates(directory.path()));
  const auto file = [&](const std::string& name) { return ReadAll(directory / name); };
  grpc::SslServerCredentialsOptions options(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = file("ca.pem");
  options.pem_key_cert_pairs = {{file("server.key"), file("server.pem")}};
  const uint16_t port = FreePort();
  Collector collector(port, grpc::SslServerCredentials(options));
  config::OtlpSink config = At(port);
  config.tls = {
      .ca = directory / "ca.pem", .cert = directory / "client.pem", .key = directory / "client.key", .server_name = "127.0.0.1"};
  test::WriteAll(directory / "token", "Bearer one\n");
  config.headers = {{.name = "authorization", .value = "", .value_file = directory / "token"}};
  const auto send = [&] { return sink::Otlp::Create(config, kOrigin)->Send(Messages(1)); };
  const auto good = config;
  EXPECT_EQ(send().delivered, 1u);
  EXPECT_TRUE(collector.peer_);
  EXPECT_EQ(collector.token_, "Bearer one");
  config.tls->server_name = "localhost";
  EXPECT_EQ(send().delivered, 1u);

  const auto refused = [&](const char* what) {
    const sink::Delivery delivery = send();
    EXPECT_EQ(delivery.outcome, Outcome::kRetry) << what;
    EXPECT_FALSE(delivery.why.empty()) << what;
    std::cout << what << ": " << delivery.why << '\n';
    config = good;
  };
  config.tls->server_name = "elsewhere.example";
  refused("wrong host name");
  config.tls->ca = directory / "foreign-ca.pem";
  refused("wrong CA");
  config.tls->ca = directory / "none.pem";
  refused("no CA file");
  config.tls->cert = config.tls->key = "";
  refused("no client certificate");
  config.tls->cert = directory / "foreign.pem";
  config.tls->key = directory / "foreign.key";
  refused("foreign client certificate");
  config.tls.reset();
  refused("plaintext");
  test::WriteAll(directory / "token", "two\nlines");
  refused("no token");
  test::WriteAll(directory / "token", "Bearer two");
  EXPECT_EQ(send().delivered, 1u);
  EXPECT_EQ(collector.token_, "Bearer two");
  EXPECT_EQ(collector.ids_.size(), 3u);
}

TEST(OtlpSink, AllArriveThroughTheRunnerOverRestartsOfTheReceiver) {
  constexpr uint64_t kCount = 20'000;
  const test::TempDir directory;
  const uint16_t port = FreePort();
  auto collector = std::make_unique<Collector>(port);
  config::Sink config{.name = "otlp",
                      .kinds = {},
                      .events = {},
                      .spool = {.path = directory / "spool", .max_bytes = 256u << 20},
                      .transport = At(port)};
  auto sinks = sink::Sinks::Create({config}, kOrigin, {.longest_pause = std::chrono::milliseconds(500)});
  ASSERT_TRUE(sinks) << sinks.error().message;
  const auto pattern = test::MakeFinding();
  std::vector<bool> seen(kCount);
  uint64_t arrived = 0, twice = 0;
  const auto take = [&] {
    for (const std::string& id : collector->Locked(&Collector::ids_)) {
      const uint64_t number = std::stoull(id, nullptr, 16);
      ++(seen[number] ? twice : arrived);
      seen[number] = true;
    }
  };
  for (uint64_t number = 0; number < kCount; ++number) {
    auto finding = std::make_shared<event::Finding>(*pattern);
    finding->id = NumberToId(number);
    (*sinks)->OnFinding(finding);
    if (number % 1000 == 999) {
      ASSERT_TRUE((*sinks)->Flush(std::chrono::seconds(60)));
    }
    if (number % 5000 == 4999) {
      collector->Set([](const auto&, auto*) { return grpc::Status(grpc::StatusCode::UNAVAILABLE, "ending"); });
      take();
      collector.reset();
      collector = std::make_unique<Collector>(port);
    }
  }
  ASSERT_TRUE(test::Until([&] { return (*sinks)->stats()[0].spool.depth == 0; })) << (*sinks)->stats()[0].last_error;
  take();
  EXPECT_EQ(arrived, kCount);
  EXPECT_LE(twice, 4u * 256u);
  EXPECT_EQ((*sinks)->stats()[0].rejected, 0u);
  std::cout << arrived << " of " << kCount << " arrived, " << twice << " of them twice\n";
}

}  // namespace
}  // namespace moat::e2e
