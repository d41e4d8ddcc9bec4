// SPDX-License-Identifier: Apache-2.0
// The server over a real unix socket, with a hub that is fed by hand.
#include "agent/api/server.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "agent/base/fd.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "moat/v1/services.grpc.pb.h"
#include "tests/unit/api_events.h"
#include "tests/unit/sanitizer.h"

namespace moat::api {
namespace {

using test::MakeBatch;
using testing::HasSubstr;

StatusSnapshot FakeStatus() {
  StatusSnapshot status;
  status.version = "1.2.3";
  status.scope = "/test";
  status.domains = {{"gpu", true, "", {{"gpu.open", "tracepoint", "moat_gpu_open", true, "best here", {"io_uring"}, 4}}},
                    {"net", false, "refused by the verifier", {}}};
  status.ledger.kinds[8] = {10, 7, {1, 0, 0, 2}, 1};
  status.ledger.table_full[1] = 3;
  status.assets = {{0, "llama", "weights", 100, 2, {"a path is gone"}}};
  status.devices = {{test::kGpuRdev, "/dev/nvidia0", "nvidia"}};
  status.rings = {{"bulk", 4096, 100}};
  return status;
}

class ApiServer : public testing::Test {
 protected:
  void SetUp() override {
    MOAT_SKIP_WITH_GRPC_UNDER_TSAN();
    std::string path = testing::TempDir() + "/moat-api-XXXXXX";
    ASSERT_NE(mkdtemp(path.data()), nullptr);
    directory_ = path;
    config_.socket = directory_ + "/run/moat.sock";
    hub_ = Hub::Create(options_);
  }
  void TearDown() override {
    server_.reset();
    std::filesystem::remove_all(directory_);
  }

  void StartServer() {
    auto server = Server::Start(config_, *hub_, FakeStatus);
    ASSERT_TRUE(server.has_value()) << server.error().message;
    server_ = std::move(*server);
    channel_ = grpc::CreateChannel("unix:" + config_.socket, grpc::InsecureChannelCredentials());
    monitor_ = v1::Monitor::NewStub(channel_);
  }

  struct Stream {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<v1::WatchResponse>> reader;
    uint64_t events = 0, lost = 0, last_seq = 0, messages = 0;
    std::string cursor;
    bool restarted = false;
    bool holes_told = true;

    bool Read() {
      v1::WatchResponse response;
      if (!reader->Read(&response)) {
        return false;
      }
      ++messages;
      lost += response.lost();
      restarted |= response.agent_restarted();
      cursor = response.cursor();
      for (int i = 0; i < response.events_size(); ++i) {
        uint64_t told = i == 0 ? response.lost() : 0;
        holes_told &= last_seq == 0 || response.events(i).seq() == last_seq + told + 1;
        last_seq = response.events(i).seq();
      }
      events += static_cast<uint64_t>(response.events_size());
      return true;
    }
    grpc::Status Cancel() {
      context.TryCancel();
      return reader->Finish();
    }
  };
  // Subscribed when it returns: the first response has come.
  std::unique_ptr<Stream> Watch(const v1::WatchRequest& request = {}) {
    auto stream = std::make_unique<Stream>();
    stream->context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    stream->reader = monitor_->Watch(&stream->context, request);
    EXPECT_TRUE(stream->Read());
    return stream;
  }
  grpc::Status WatchError(const v1::WatchRequest& request) {
    Stream stream;
    stream.context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    stream.reader = monitor_->Watch(&stream.context, request);
    EXPECT_FALSE(stream.Read());
    return stream.reader->Finish();
  }

  HubOptions options_;
  std::string directory_;
  config::Config config_;
  std::unique_ptr<Hub> hub_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Monitor::Stub> monitor_;
};

TEST_F(ApiServer, SocketIsForOwnerAndGroupAndGoesAtStop) {
  StartServer();
  struct stat info{};
  ASSERT_EQ(stat(config_.socket.c_str(), &info), 0);
  EXPECT_TRUE(S_ISSOCK(info.st_mode));
  EXPECT_EQ(info.st_mode & 07777, 0660u);
  ASSERT_EQ(stat((directory_ + "/run").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0750u);
  server_.reset();
  EXPECT_NE(stat(config_.socket.c_str(), &info), 0);
}

TEST_F(ApiServer, SecondServerIsRefusedAndTheFirstStays) {
  StartServer();
  auto hub = Hub::Create({});
  auto second = Server::Start(config_, *hub, FakeStatus);
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code, Code::kAlreadyExists);
  EXPECT_THAT(second.error().message, HasSubstr("another moatd serves"));
  Watch()->Cancel();
}

TEST_F(ApiServer, StaleSocketIsReplaced) {
  std::filesystem::create_directory(directory_ + "/run");
  {
    Fd fd(socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, config_.socket.c_str());
    ASSERT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }
  ASSERT_TRUE(std::filesystem::exists(config_.socket));
  StartServer();
  Watch()->Cancel();
}

TEST_F(ApiServer, AFileAtThePathIsKept) {
  std::filesystem::create_directory(directory_ + "/run");
  std::ofstream(config_.socket) << "precious";
  auto server = Server::Start(config_, *hub_, FakeStatus);
  ASSERT_FALSE(server.has_value());
  EXPECT_THAT(server.error().message, HasSubstr("not a socket"));
  EXPECT_EQ(std::filesystem::file_size(config_.socket), 8u);
}

TEST_F(ApiServer, BadPathsAndGroupsAreNamed) {
  config_.socket = directory_ + "/" + std::string(120, 'x');
  EXPECT_THAT(Server::Start(config_, *hub_, FakeStatus).error().message, HasSubstr("longer than 107"));
  config_.socket = "relative.sock";
  EXPECT_THAT(Server::Start(config_, *hub_, FakeStatus).error().message, HasSubstr("absolute"));
  config_.socket = directory_ + "/no/such/dir.sock";
  EXPECT_THAT(Server::Start(config_, *hub_, FakeStatus).error().message, HasSubstr("/no/such"));
  config_.socket = directory_ + "/moat.sock";
  config_.socket_group = "no-such-group-here";
  EXPECT_THAT(Server::Start(config_, *hub_, FakeStatus).error().message, HasSubstr("no-such-group-here"));
}

TEST_F(ApiServer, HealthIsServing) {
  StartServer();
  auto stub = grpc::health::v1::Health::NewStub(channel_);
  for (const char* service : {"", "moat.v1.Monitor", "moat.v1.Status", "moat.v1.Policies", "moat.v1.Inventory"}) {
    grpc::ClientContext context;
    grpc::health::v1::HealthCheckRequest request;
    grpc::health::v1::HealthCheckResponse response;
    request.set_service(service);
    ASSERT_TRUE(stub->Check(&context, request, &response).ok());
    EXPECT_EQ(response.status(), grpc::health::v1::HealthCheckResponse::SERVING) << service;
  }
  grpc::ClientContext context;
  grpc::health::v1::HealthCheckRequest request;
  grpc::health::v1::HealthCheckResponse response;
  request.set_service("nobody");
  EXPECT_EQ(stub->Check(&context, request, &response).error_code(), grpc::StatusCode::NOT_FOUND);
}

// By hand: gRPC 1.51 ships no reflection client. The request is {list_services: "*"}.
TEST_F(ApiServer, ReflectionListsTheServices) {
  StartServer();
  grpc::GenericStub stub(channel_);
  grpc::CompletionQueue queue;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  auto call = stub.PrepareCall(&context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
  void* tag = nullptr;
  bool ok = false;
  auto next = [&] { return queue.Next(&tag, &ok) && ok; };
  call->StartCall(nullptr);
  ASSERT_TRUE(next());
  grpc::Slice slice("\x3a\x01*", 3);
  grpc::ByteBuffer request(&slice, 1), response;
  call->Write(request, nullptr);
  ASSERT_TRUE(next());
  call->Read(&response, nullptr);
  ASSERT_TRUE(next());
  ASSERT_TRUE(response.DumpToSingleSlice(&slice).ok());
  std::string text(slice.begin(), slice.end());
  for (const char* service : {"moat.v1.Monitor", "moat.v1.Status", "moat.v1.Policies", "moat.v1.Inventory",
                              "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}) {
    EXPECT_THAT(text, HasSubstr(service));
  }
  context.TryCancel();
  grpc::Status status;
  call->Finish(&status, nullptr);
  queue.Next(&tag, &ok);
}

TEST_F(ApiServer, StatusSaysWhatItWasGiven) {
  StartServer();
  grpc::ClientContext context;
  v1::GetResponse response;
  ASSERT_TRUE(v1::Status::NewStub(channel_)->Get(&context, {}, &response).ok());
  const v1::AgentStatus& agent = response.agent();
  EXPECT_EQ(agent.version(), "1.2.3");
  EXPECT_EQ(agent.scope(), "/test");
  EXPECT_FALSE(agent.healthy()) << "net is not loaded";
  ASSERT_EQ(agent.domains_size(), 2);
  EXPECT_EQ(agent.domains(0).hooks(0).backend(), "tracepoint");
  EXPECT_THAT(agent.domains(0).hooks(0).unseen(), testing::ElementsAre("io_uring"));
  EXPECT_EQ(agent.domains(0).hooks(0).runs_missed(), 4u);
  EXPECT_EQ(agent.domains(1).error(), "refused by the verifier");
  ASSERT_EQ(agent.ledger_size(), 1);
  EXPECT_EQ(agent.ledger(0).kind(), v1::KIND_FILE_OPEN);
  EXPECT_EQ(agent.ledger(0).attempted(), 10u);
  EXPECT_EQ(agent.ledger(0).delivered(), 7u);
  ASSERT_EQ(agent.ledger(0).lost_size(), 2);
  EXPECT_EQ(agent.ledger(0).lost(1).reason(), v1::LOST_REASON_QUEUE_FULL);
  EXPECT_EQ(agent.ledger(0).lost(1).count(), 2u);
  ASSERT_EQ(agent.tables_full_size(), 1);
  EXPECT_EQ(agent.tables_full(0).table(), "labels");
  EXPECT_EQ(agent.assets(0).problems(0), "a path is gone");
  EXPECT_EQ(agent.devices(0).path(), "/dev/nvidia0");
  EXPECT_EQ(agent.rings(0).used_bytes(), 100u);
}

TEST_F(ApiServer, EventsArriveFilteredAndInOrder) {
  StartServer();
  auto all = Watch();
  v1::WatchRequest request;
  request.mutable_filter()->add_pids(9);
  auto some = Watch(request);
  hub_->OnBatch(MakeBatch(1, 700, test::MakeProcess(7)));
  hub_->OnBatch(MakeBatch(701, 3, test::MakeProcess(9)));
  while (all->events < 703 && all->Read()) {
  }
  EXPECT_EQ(all->events, 703u);
  EXPECT_TRUE(all->holes_told);
  EXPECT_EQ(all->lost, 0u);
  ASSERT_TRUE(some->Read());
  EXPECT_EQ(some->events, 3u);
  EXPECT_EQ(some->last_seq, 703u);
  EXPECT_EQ(hub_->subscribers(), 2u);
  all->Cancel();
  some->Cancel();
  for (int i = 0; i < 500 && hub_->subscribers() > 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(hub_->subscribers(), 0u) << "a subscriber that leaves is forgotten";
}

TEST_F(ApiServer, BadRequestsAreToldWhy) {
  StartServer();
  v1::WatchRequest request;
  request.mutable_filter()->add_kinds("exce");
  grpc::Status status = WatchError(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("did you mean 'exec'?"));
  request.Clear();
  request.mutable_filter()->add_assets("lama");
  EXPECT_THAT(WatchError(request).error_message(), HasSubstr("did you mean 'llama'?"));
  request.Clear();
  request.mutable_filter()->add_destinations("10.0.0.0/64");
  EXPECT_EQ(WatchError(request).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  request.Clear();
  request.set_cursor("nonsense");
  EXPECT_EQ(WatchError(request).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  request.set_cursor(std::string(100'000, 'x'));
  EXPECT_EQ(WatchError(request).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << "requests are bounded";
  EXPECT_EQ(hub_->subscribers(), 0u);
  request.Clear();
  request.mutable_filter()->add_kinds("exec");
  request.mutable_filter()->add_assets("llama");
  request.mutable_filter()->add_destinations("10.0.0.0/8");
  Watch(request)->Cancel();
}

TEST_F(ApiServer, ResumesWithoutHoleOrDouble) {
  StartServer();
  auto first = Watch();
  hub_->OnBatch(MakeBatch(1, 100));
  while (first->events < 100 && first->Read()) {
  }
  first->Cancel();
  hub_->OnBatch(MakeBatch(101, 50));
  v1::WatchRequest request;
  request.set_cursor(first->cursor);
  auto second = Watch(request);
  while (second->events < 50 && second->Read()) {
  }
  EXPECT_EQ(second->events, 50u);
  EXPECT_EQ(second->last_seq, 150u);
  EXPECT_EQ(second->lost, 0u);
  second->Cancel();
}

TEST_F(ApiServer, LossWhileAwayIsTold) {
  options_.resume_events = 10;
  hub_ = Hub::Create(options_);
  StartServer();
  hub_->OnBatch(MakeBatch(1, 100));
  v1::WatchRequest request;
  request.set_cursor(hub_->Cursor(20));
  hub_->OnBatch(MakeBatch(101, 10));
  auto stream = Watch(request);
  while (stream->events < 10 && stream->Read()) {
  }
  EXPECT_EQ(stream->lost, 80u);
  EXPECT_EQ(stream->events, 10u);
  EXPECT_FALSE(stream->restarted);
  stream->Cancel();
}

TEST_F(ApiServer, SlowSubscriberLosesOnlyItsOwnAndKnowsHowMany) {
  constexpr uint64_t kEvents = 400'000, kBatch = 4000;  // seven messages and a half: most losses come amid a batch
  options_.queue_events = 16'000;
  hub_ = Hub::Create(options_);
  StartServer();
  auto slow = Watch();
  auto fast = Watch();
  std::atomic<uint64_t> seen{0};
  std::thread reader([&] {
    while (fast->events < kEvents && fast->Read()) {
      seen = fast->events;
    }
  });
  auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(50);
  for (uint64_t seq = 1; seq <= kEvents; seq += kBatch) {
    while (seq - 1 > seen + 8000 && std::chrono::steady_clock::now() < deadline) {  // as fast as the fast one can
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    hub_->OnBatch(MakeBatch(seq, kBatch));
  }
  reader.join();
  EXPECT_EQ(fast->events, kEvents);
  EXPECT_EQ(fast->lost, 0u);
  EXPECT_TRUE(fast->holes_told);
  EXPECT_LT(fast->messages, kEvents / 100) << "under load messages are full";
  EXPECT_GT(hub_->subscriber_losses(), 0u) << "the slow one has read nothing so far";
  while (slow->last_seq < kEvents && slow->Read()) {
  }
  EXPECT_EQ(slow->events + slow->lost, kEvents);
  EXPECT_GT(slow->lost, 0u);
  EXPECT_EQ(slow->lost, hub_->subscriber_losses());
  EXPECT_TRUE(slow->holes_told) << "each loss is told where it is";
  fast->Cancel();
  slow->Cancel();
}

TEST_F(ApiServer, TooManySubscribersAreRefused) {
  options_.max_subscribers = 1;
  hub_ = Hub::Create(options_);
  StartServer();
  auto only = Watch();
  grpc::Status status = WatchError({});
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("max_subscribers"));
  only->Cancel();
}

TEST_F(ApiServer, StopEndsIdleAndStuckStreamsInTime) {
  StartServer();
  auto idle = Watch();
  auto stuck = Watch();
  for (uint64_t seq = 1; seq < 100'000; seq += 1000) {
    hub_->OnBatch(MakeBatch(seq, 1000));  // far more than flow control lets through to one that does not read
  }
  std::thread reader([&] {
    while (idle->Read()) {
    }
  });
  auto begin = std::chrono::steady_clock::now();
  server_.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(4));
  reader.join();
  EXPECT_EQ(idle->reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  stuck->Cancel();
}

TEST_F(ApiServer, ComingAndGoingUnderLoad) {
  StartServer();
  std::atomic<bool> stop{false};
  std::thread feeder([&] {
    for (uint64_t seq = 1; !stop; seq += 100) {
      hub_->OnBatch(MakeBatch(seq, 100));
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
  });
  std::vector<std::thread> clients;
  std::atomic<int> streams{0};
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back([&, i] {
      for (int round = 0; round < 15; ++round) {
        auto stream = Watch();
        for (int reads = 0; reads < (i + round) % 5; ++reads) {
          stream->Read();
        }
        stream->Cancel();
        EXPECT_TRUE(stream->holes_told);
        ++streams;
      }
    });
  }
  for (auto& client : clients) {
    client.join();
  }
  stop = true;
  feeder.join();
  EXPECT_EQ(streams, 60);
}

}  // namespace
}  // namespace moat::api
