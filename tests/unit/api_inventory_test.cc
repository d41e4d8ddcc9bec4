// SPDX-License-Identifier: Apache-2.0
// Inventory over a real unix socket: what a large table with hostile texts makes of an answer.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>

#include "agent/api/server.h"
#include "agent/event/activity.h"
#include "moat/v1/services.grpc.pb.h"
#include "tests/unit/sanitizer.h"

namespace moat::api {
namespace {

constexpr int kRows = 16384;

class ApiInventory : public ::testing::Test {
 protected:
  void SetUp() override {
    MOAT_SKIP_WITH_GRPC_UNDER_TSAN();
    std::string path = testing::TempDir() + "/moat-inv-XXXXXX";
    ASSERT_NE(mkdtemp(path.data()), nullptr);
    directory_ = path;
    config_.socket = directory_ + "/moat.sock";
    hub_ = Hub::Create({});
    auto server = Server::Start(
        config_, *hub_,
        [] {
          StatusSnapshot status;
          status.started_unix_ns = 5;
          status.assets = {{0, "llama", "weights", 100, 2, {}}};
          return status;
        },
        nullptr,
        {.activity = [this](event::ActivityOf) { return seen_; },
         .whose =
             [](const std::string& cgroup) { return event::Workload{.known = true, .cgroup = cgroup, .unit = "x.service"}; }});
    ASSERT_TRUE(server.has_value()) << server.error().message;
    server_ = std::move(*server);
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(16 << 20);  // as moatctl
    stub_ = v1::Inventory::NewStub(
        grpc::CreateCustomChannel("unix:" + config_.socket, grpc::InsecureChannelCredentials(), arguments));
  }
  void TearDown() override {
    server_.reset();
    std::filesystem::remove_all(directory_);
  }

  void Fill(const std::string& executable, const std::string& cgroup) {
    event::FlowActivity flow{.actor = {.executable = executable, .cgroup = cgroup, .cgroup_id = 7}};
    flow.protocol = 6;
    flow.labels = 1;
    seen_.flows.rows.assign(kRows, flow);
  }
  v1::ListFlowsResponse Flows(const v1::InventoryRequest& request = {}) {
    grpc::ClientContext context;
    v1::ListFlowsResponse response;
    const grpc::Status status = stub_->ListFlows(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }

  std::string directory_;
  config::Config config_;
  event::Activity seen_;
  std::unique_ptr<Hub> hub_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<v1::Inventory::Stub> stub_;
};

TEST_F(ApiInventory, MemoryOfADeviceThatIsKnownByItsNode) {
  const auto ask = [&](std::vector<uint32_t> opened, std::vector<event::GpuMemory> memory) {
    seen_.gpus.rows = {event::GpuActivity{.process = {.pid = 7}, .devices = std::move(opened), .memory = std::move(memory)}};
    grpc::ClientContext context;
    v1::ListGpusResponse response;
    EXPECT_TRUE(stub_->ListGpus(&context, {}, &response).ok());
    std::vector<std::string> names;
    for (const v1::GpuMemory& one : response.holders(0).memory()) {
      names.push_back(one.device());
    }
    return names;
  };
  using testing::ElementsAre;
  constexpr uint32_t kNode = 195u << 20 | 2, kOther = 195u << 20 | 3, kControl = 195u << 20 | 255, kDrm = 226u << 20 | 128;
  EXPECT_THAT(ask({kControl, kNode}, {{.device = 0}, {.device = -1}}), ElementsAre("195:2", ""));
  EXPECT_THAT(ask({kControl, kNode, kOther}, {{.device = 0}}), ElementsAre("instance 0")) << "which of the two is not known";
  EXPECT_THAT(ask({kControl, kNode}, {{.device = 0}, {.device = 1}}), ElementsAre("instance 0", "instance 1"));
  EXPECT_THAT(ask({kControl}, {{.device = 9}, {.rdev = kDrm}}), ElementsAre("instance 9", "226:128"));
  EXPECT_THAT(ask({kNode}, {{.rdev = 511u << 20, .device = 4711}}), ElementsAre("511:0 gpu 4711")) << "not of NVIDIA's node";
}

TEST_F(ApiInventory, AFullTableOfLongPathsIsToldWhole) {
  Fill(std::string(120, 'x'), std::string(300, 'c'));
  const v1::ListFlowsResponse flows = Flows();
  EXPECT_EQ(flows.flows_size(), kRows);
  EXPECT_EQ(flows.omitted(), 0u);
  EXPECT_EQ(flows.since_unix_ns(), 5u);
  EXPECT_THAT(flows.flows(0).labels(), testing::ElementsAre("llama"));
}

// Each byte that is not UTF-8 becomes three: nobody may make the answer too large to be received.
TEST_F(ApiInventory, TextsThatGrowLeaveRowsOutAndSaySo) {
  Fill(std::string(event::kMaxActorExecutable, '\xff'), "/hostile" + std::string(event::kMaxActorCgroup - 8, '\xff'));
  seen_.flows.rows.back().actor = {.executable = "/bin/honest", .cgroup = "/honest", .cgroup_id = 8};
  const v1::ListFlowsResponse flows = Flows();
  EXPECT_GT(flows.omitted(), 0u);
  EXPECT_EQ(flows.omitted() + static_cast<uint64_t>(flows.flows_size()), uint64_t{kRows});
  v1::InventoryRequest request;
  request.set_cgroup("/honest");
  ASSERT_EQ(Flows(request).flows_size(), 1);
  EXPECT_EQ(Flows(request).omitted(), 0u);
  request.Clear();
  request.set_limit(10);
  EXPECT_EQ(Flows(request).flows_size(), 10);
  EXPECT_EQ(Flows(request).omitted(), 0u);
}

TEST_F(ApiInventory, APathThatWasCutIsNobodys) {
  seen_.workloads.rows = {{.cgroup = "/" + std::string(event::kMaxActorCgroup - 1, 'c'), .cgroup_id = 1},
                          {.cgroup = "/" + std::string(306, 'c'), .cgroup_id = 2}};
  grpc::ClientContext context;
  v1::ListWorkloadsResponse response;
  ASSERT_TRUE(stub_->ListWorkloads(&context, {}, &response).ok());
  ASSERT_EQ(response.workloads_size(), 2);
  EXPECT_FALSE(response.workloads(0).known());
  EXPECT_EQ(response.workloads(0).unit(), "");
  EXPECT_TRUE(response.workloads(1).known());
  EXPECT_EQ(response.workloads(1).unit(), "x.service");
}

}  // namespace
}  // namespace moat::api
