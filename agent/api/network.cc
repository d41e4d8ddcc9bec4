// SPDX-License-Identifier: Apache-2.0
#include "agent/api/network.h"

#include <grpc/grpc.h>
#include <grpcpp/ext/health_check_service_server_builder_option.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "agent/api/callers.h"
#include "agent/api/door.h"
#include "agent/api/gate.h"
#include "agent/api/limit.h"

namespace moat::api {
namespace {

constexpr size_t kMaxRequestBytes = (1 << 20) + (64 << 10);   // a MiB of policies, and the rest of the message
constexpr int kMaxReadBytes =
    static_cast<int>(kMaxRequestBytes) + (64 << 10);  // what is longer gRPC itself refuses, before it is read
constexpr size_t kDoorMemory = 64u << 20;  // of all connections together: under pressure gRPC reads less, and closes what is idle
constexpr int kMaxStreamsPerConnection = 64;
constexpr int kMaxMetadataBytes = 8 << 10;
constexpr int kAgeGraceMs = 30'000;
constexpr int kHealthIdleMs = 10'000;

// No service that other servers of this process have: neither gRPC's own health nor reflection.
class Bare final : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override { plugins->clear(); }
};

void MakeBare(grpc::ServerBuilder& builder) {
  builder.SetOption(std::make_unique<Bare>());
  builder.SetOption(std::make_unique<grpc::HealthCheckServiceServerBuilderOption>(nullptr));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreamsPerConnection);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  // A client may ask every ten seconds whether we live, and is sent away when it asks more often.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 2);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  // What a compressed message grows to, nothing in gRPC bounds.
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
}

class NetworkImpl final : public Network {
 public:
  NetworkImpl(const config::Config& config, DoorCounters& counters) : counters_(counters), identities_(config.tcp.rate) {}
  ~NetworkImpl() override {
    door_.reset();
    for (auto* server : {&health_server_, &server_}) {
      if (*server) {
        (*server)->Shutdown(std::chrono::system_clock::now());
        (*server)->Wait();
      }
    }
  }

  Status OpenDoor(const config::TcpApi& config, const Needs& needs) {
    gate_ = MakeGate({.callers = callers_,
                      .limiter = identities_,
                      .log = needs.log,
                      .counters = counters_,
                      .services = needs.services,
                      .max_message_bytes = kMaxRequestBytes});
    grpc::ServerBuilder builder;
    MakeBare(builder);
    builder.RegisterCallbackGenericService(gate_.get());
    builder.SetMaxReceiveMessageSize(kMaxReadBytes);
    builder.SetResourceQuota(grpc::ResourceQuota("door").Resize(kDoorMemory));
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, static_cast<int>(config.max_age_s) * 1000);
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, kAgeGraceMs);
    acceptor_ = builder.experimental().AddExternalConnectionAcceptor(
        grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, grpc::InsecureServerCredentials());
    server_ = builder.BuildAndStart();
    if (!server_) {
      return Fail(Code::kInternal, "gRPC cannot serve api.tcp; its log line above says why");
    }
    MOAT_ASSIGN(door_,
                Door::Open(config, {.audit = needs.audit, .callers = callers_, .counters = counters_, .hand_over = [this](Fd fd) {
                                      grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
                                      connection.fd = fd.Release();
                                      acceptor_->HandleNewConnection(&connection);
                                    }}));
    spdlog::info("api: TLS on {}, port {}", config.address, door_->port());
    return {};
  }

  Status OpenHealth(const std::string& address, grpc::Service& service) {
    grpc::ServerBuilder builder;
    MakeBare(builder);
    int port = 0;
    builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service);
    builder.SetMaxReceiveMessageSize(4096);
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, kHealthIdleMs);
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, 6 * kHealthIdleMs);
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, 1000);
    builder.SetResourceQuota(grpc::ResourceQuota("health").SetMaxThreads(4));
    builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
    builder.SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 1);
    health_server_ = builder.BuildAndStart();
    if (!health_server_ || port == 0) {
      return Fail(Code::kUnavailable, "api.health: gRPC cannot listen on " + address + "; its log line above says why");
    }
    spdlog::info("api: health on {}, port {}", address, port);
    return {};
  }

  void Reload(const config::TcpApi& config) override {
    if (door_) {
      identities_.SetRate(config.rate);
      door_->Reload(config);
    }
  }

 private:
  DoorCounters& counters_;
  Callers callers_;
  Limiter identities_;
  std::unique_ptr<grpc::CallbackGenericService> gate_;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor_;
  std::unique_ptr<grpc::Server> server_, health_server_;
  std::unique_ptr<Door> door_;
};

}  // namespace

Result<std::unique_ptr<Network>> Network::Open(const config::Config& config, const Needs& needs, DoorCounters& counters) {
  auto network = std::make_unique<NetworkImpl>(config, counters);
  if (!config.tcp.address.empty()) {
    MOAT_TRY(network->OpenDoor(config.tcp, needs));
  }
  if (!config.health_address.empty()) {
    MOAT_TRY(network->OpenHealth(config.health_address, needs.health));
  }
  return network;
}

}  // namespace moat::api
