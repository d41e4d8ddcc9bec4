// SPDX-License-Identifier: Apache-2.0
// The server's door to the network under load, and what it counts. Wrong clients are in tests/e2e/door.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <numeric>
#include <sstream>
#include <thread>

#include "agent/api/listen.h"
#include "agent/api/server.h"
#include "moat/v1/services.grpc.pb.h"
#include "tests/unit/api_events.h"
#include "tests/unit/certificates.h"
#include "tests/unit/sanitizer.h"
#include "tests/unit/sink_tools.h"

namespace moat::api {
namespace {

constexpr const char* kWho = "spiffe://cluster/ns/moat/sa/console";

class ApiDoor : public testing::Test {
 protected:
  void SetUp() override {
    MOAT_SKIP_WITH_GRPC_UNDER_TSAN();
    std::string path = testing::TempDir() + "/moat-door-XXXXXX";
    ASSERT_NE(mkdtemp(path.data()), nullptr);
    directory_ = path;
    const test::Pem server = ca_.Issue({.san = "IP:127.0.0.1", .purpose = "serverAuth"});
    client_ = ca_.Issue({.san = std::string("URI:") + kWho});
    config_.socket = directory_ + "/moat.sock";
    config_.audit.file = directory_ + "/audit";
    uint16_t port = 0;
    ASSERT_TRUE(ListenTcp("127.0.0.1:0", "test", &port));  // free now; nobody else is told of it
    port_ = port;
    config_.tcp = {.address = "127.0.0.1:" + std::to_string(port),
                   .certificate = Write("server.pem", server.certificate),
                   .key = Write("server.key", server.key),
                   .client_ca = Write("ca.pem", ca_.certificate()),
                   .crl = "",
                   .max_connections = 64,
                   .handshake_ms = 10'000,
                   .max_age_s = 3600,
                   .roles = {{kWho, "viewer"}},
                   .rate = {1'000'000, 1'000'000},
                   .accept = {10'000, 10'000}};
    hub_ = Hub::Create({});
    auto started = Server::Start(config_, *hub_, [] { return StatusSnapshot(); });
    ASSERT_TRUE(started) << started.error().message;
    server_ = std::move(*started);
  }
  void TearDown() override {
    server_.reset();
    std::filesystem::remove_all(directory_);
  }
  std::string Write(const std::string& name, const std::string& text) const {
    std::ofstream(directory_ + "/" + name) << text;
    return directory_ + "/" + name;
  }
  std::shared_ptr<grpc::Channel> Channel() const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(config_.tcp.address,
                                     grpc::SslCredentials({ca_.certificate(), client_.key, client_.certificate}), arguments);
  }
  static std::chrono::system_clock::time_point Soon() { return std::chrono::system_clock::now() + std::chrono::seconds(60); }

  test::Authority ca_{"moat"};
  test::Pem client_;
  std::string directory_;
  config::Config config_;
  uint16_t port_ = 0;
  std::unique_ptr<Hub> hub_;
  std::unique_ptr<Server> server_;
};

TEST_F(ApiDoor, ComingAndGoingUnderLoad) {
  std::atomic<bool> stop{false};
  std::thread feeder([&] {
    for (uint64_t seq = 1; !stop; seq += 100) {
      hub_->OnBatch(test::MakeBatch(seq, 100));
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  });
  constexpr int kClients = 4, kRounds = 25;
  std::vector<std::thread> clients;
  std::atomic<uint64_t> calls{0};
  for (int i = 0; i < kClients; ++i) {
    clients.emplace_back([&, i] {
      std::shared_ptr<grpc::Channel> channel;
      for (int round = 0; round < kRounds; ++round) {
        if (round % 5 == 0) {
          channel = Channel();
        }
        grpc::ClientContext watch, get;
        watch.set_deadline(Soon());
        get.set_deadline(Soon());
        const auto reader = v1::Monitor::NewStub(channel)->Watch(&watch, {});
        v1::WatchResponse response;
        for (int reads = 0; reads < 1 + (i + round) % 4; ++reads) {
          EXPECT_TRUE(reader->Read(&response));
        }
        v1::GetResponse status;
        EXPECT_TRUE(v1::Status::NewStub(channel)->Get(&get, {}, &status).ok());
        watch.TryCancel();
        EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
        calls += 2;
      }
    });
  }
  for (auto& client : clients) {
    client.join();
  }
  stop = true;
  feeder.join();
  for (int i = 0; i < 500 && hub_->subscribers() > 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(hub_->subscribers(), 0u) << "who leaves the relay leaves the hub";
  server_.reset();
  std::ifstream file(config_.audit.file);
  uint64_t lines = 0, connections = 0;
  for (std::string line; std::getline(file, line);) {
    const auto parsed = nlohmann::json::parse(line);
    (parsed["event"] == "call" ? lines : connections) += 1;
  }
  EXPECT_EQ(lines, calls) << "each call once";
  EXPECT_EQ(connections, static_cast<uint64_t>(kClients * kRounds / 5));
}

TEST_F(ApiDoor, AFloodOfEventsComesThroughWhole) {
  const auto channel = Channel();
  grpc::ClientContext context;
  context.set_deadline(Soon());
  const auto reader = v1::Monitor::NewStub(channel)->Watch(&context, {});
  v1::WatchResponse response;
  ASSERT_TRUE(reader->Read(&response));
  constexpr uint64_t kEvents = 100'000, kBatch = 500;
  std::atomic<uint64_t> seen{0};
  std::thread feeder([&] {
    for (uint64_t seq = 1; seq <= kEvents; seq += kBatch) {
      for (int i = 0; i < 60'000 && seq > seen + 20'000; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      hub_->OnBatch(test::MakeBatch(seq, kBatch));
    }
  });
  uint64_t lost = 0;
  const auto begin = std::chrono::steady_clock::now();
  while (seen < kEvents && reader->Read(&response)) {
    seen += static_cast<uint64_t>(response.events_size());
    lost += response.lost();
  }
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
  feeder.join();
  EXPECT_EQ(seen, kEvents);
  EXPECT_EQ(lost, 0u);
  std::printf("%llu events over TLS in %lld ms\n", static_cast<unsigned long long>(seen.load()),
              static_cast<long long>(took.count()));
  context.TryCancel();
  reader->Finish();
}

TEST_F(ApiDoor, WhatItCountsIsWhatHappened) {
  const auto channel = Channel();
  for (int i = 0; i < 3; ++i) {
    grpc::ClientContext context;
    context.set_deadline(Soon());
    v1::GetResponse status;
    EXPECT_TRUE(v1::Status::NewStub(channel)->Get(&context, {}, &status).ok());
  }
  grpc::ClientContext context;
  context.set_deadline(Soon());
  v1::ClearPoliciesResponse cleared;
  EXPECT_EQ(v1::Policies::NewStub(channel)->Clear(&context, {}, &cleared).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  grpc::ClientContext plain;
  plain.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(300));
  v1::GetResponse status;
  EXPECT_FALSE(v1::Status::NewStub(grpc::CreateChannel(config_.tcp.address, grpc::InsecureChannelCredentials()))
                   ->Get(&plain, {}, &status)
                   .ok());
  // A call is counted when it has ended at this side, which is after its caller has the answer.
  ApiCounters counters;
  EXPECT_TRUE(test::Until([&] {
    counters = server_->Counters();
    uint64_t ended = 0;
    for (const ApiCounters::Calls& calls : counters.calls) {
      ended = std::accumulate(calls.by_code.begin(), calls.by_code.end(), ended);
    }
    return ended == 4 && counters.refused[static_cast<size_t>(Refusal::kNotTls)] > 0;
  }));
  EXPECT_EQ(counters.handshakes, 1u);
  EXPECT_EQ(counters.denied, 1u);
  EXPECT_EQ(counters.rate_limited, 0u);
  EXPECT_GE(counters.connections, 1u);
  EXPECT_GE(counters.refused[static_cast<size_t>(Refusal::kNotTls)], 1u);
  EXPECT_EQ(counters.audit.dropped, 0u);
  ASSERT_EQ(counters.calls.size(), 2u);
  EXPECT_EQ(counters.calls[0].method, "/moat.v1.Policies/Clear");
  EXPECT_EQ(counters.calls[0].by_code[grpc::StatusCode::PERMISSION_DENIED], 1u);
  EXPECT_EQ(counters.calls[1].method, "/moat.v1.Status/Get");
  EXPECT_EQ(counters.calls[1].by_code[0], 3u);
}

}  // namespace
}  // namespace moat::api
