// SPDX-License-Identifier: Apache-2.0
// Workloads, assets and their readers, devices and flows: from what a process does to what moatctl shows.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "tests/e2e/agent.h"
#include "tests/workload/gpu_scenarios.h"

namespace moat::e2e {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class InventoryTest : public ::testing::Test {
 protected:
  std::string Moatctl(std::vector<std::string> args, int status = 0) { return place_.Moatctl(std::move(args), status); }

  template <typename Response>
  Response Ask(const Agent& agent,
               grpc::Status (v1::Inventory::Stub::*method)(grpc::ClientContext*, const v1::InventoryRequest&, Response*),
               const v1::InventoryRequest& request = {}) {
    grpc::ClientContext context;
    Response response;
    const auto stub = v1::Inventory::NewStub(agent.Channel());
    const grpc::Status status = (stub.get()->*method)(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }

  Place place_;
};

// Reads the asset, calls the device, and sends so many bytes to a listener of its own.
void Act(const std::string& weights, size_t bytes) {
  char block[4096];
  const int file = ::open(weights.c_str(), O_RDONLY | O_CLOEXEC), device = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  while (::read(file, block, sizeof(block)) > 0) {
  }
  (void)::ioctl(device, 0x4711, nullptr);
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0), client = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in name{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  socklen_t length = sizeof(name);
  (void)::bind(listener, reinterpret_cast<sockaddr*>(&name), length);
  (void)::listen(listener, 1);
  (void)::getsockname(listener, reinterpret_cast<sockaddr*>(&name), &length);
  (void)::connect(client, reinterpret_cast<sockaddr*>(&name), length);
  const int server = ::accept(listener, nullptr, nullptr);
  (void)!::write(client, std::string(bytes, 'x').data(), bytes);
  (void)!::read(server, block, sizeof(block));
  for (const int fd : {client, server, listener}) {
    ::close(fd);
  }
}

TEST_F(InventoryTest, WhatAProcessDidIsShown) {
  const std::string weights = place_.Write("weights", std::string(100'000, 'w'));
  place_.Write("beside", "never touched");
  Agent agent(place_, "assets: {inline: [{name: model, paths: [" + weights + "]}, {name: beside, paths: [" +
                          place_.File("beside") + "]}]}\ngpu: {devices: [{path: /dev/null, class: other}]}\n");
  ASSERT_TRUE(agent.WaitReady());
  EXPECT_THAT(Moatctl({"flows"}), HasSubstr("Nobody has talked to anybody yet."));
  EXPECT_EQ(WaitFor(place_.Spawn([&] { Act(weights, 1234); })), 0);
  v1::InventoryRequest request;
  request.set_cgroup(place_.scope());
  ASSERT_TRUE(Eventually([&] {
    const auto flows = Ask(agent, &v1::Inventory::Stub::ListFlows, request);
    const auto assets = Ask(agent, &v1::Inventory::Stub::ListAssets, request);
    return flows.flows_size() >= 2 && flows.flows(0).bytes_out() + flows.flows(1).bytes_out() >= 1234 &&
           assets.assets_size() == 2 && assets.assets(0).readers_size() == 1 &&
           assets.assets(0).readers(0).bytes_read() >= 100'000;
  }));
  const auto workloads = Ask(agent, &v1::Inventory::Stub::ListWorkloads, request);
  ASSERT_EQ(workloads.workloads_size(), 1);
  const v1::Workload& workload = workloads.workloads(0);
  EXPECT_EQ(workload.cgroup(), place_.scope());
  EXPECT_TRUE(workload.known());
  EXPECT_THAT(workload.holds(), testing::ElementsAre("model"));
  EXPECT_GE(workload.bytes_out(), 1234u);
  EXPECT_EQ(workload.gpu_calls(), 1u);
  EXPECT_GT(workload.last_unix_ns(), workloads.since_unix_ns());
  EXPECT_EQ(workloads.evicted(), 0u);

  const auto assets = Ask(agent, &v1::Inventory::Stub::ListAssets);
  const v1::AssetReader& reader = assets.assets(0).readers(0);
  EXPECT_EQ(assets.assets(0).name(), "model");
  EXPECT_EQ(assets.assets(0).bytes(), 100'000u);
  EXPECT_EQ(assets.assets(0).files(), 1u);
  EXPECT_EQ(reader.actor().cgroup(), place_.scope());
  EXPECT_EQ(reader.opens(), 1u);
  EXPECT_EQ(reader.bytes_read(), 100'000u);
  EXPECT_EQ(assets.assets(1).readers_size(), 0);

  bool out = false, in = false;
  const auto flows = Ask(agent, &v1::Inventory::Stub::ListFlows, request);
  for (const v1::Flow& flow : flows.flows()) {
    EXPECT_EQ(flow.peer(), "127.0.0.1");
    EXPECT_EQ(flow.protocol(), v1::PROTOCOL_TCP);
    EXPECT_EQ(flow.connections(), 1u);
    EXPECT_THAT(flow.labels(), testing::ElementsAre("model"));
    (flow.inbound() ? in : out) = (flow.inbound() ? flow.bytes_in() : flow.bytes_out()) == 1234;
  }
  EXPECT_TRUE(out && in);
  const auto devices = Ask(agent, &v1::Inventory::Stub::ListDevices, request);
  ASSERT_EQ(devices.devices_size(), 1);
  ASSERT_EQ(devices.devices(0).users_size(), 1);
  EXPECT_EQ(devices.devices(0).path(), "/dev/null");
  EXPECT_EQ(devices.devices(0).users(0).opens(), 1u);
  EXPECT_EQ(devices.devices(0).users(0).calls(), 1u);

  EXPECT_THAT(Moatctl({"workloads"}), HasSubstr(place_.scope()));
  EXPECT_THAT(Moatctl({"assets"}), testing::AllOf(HasSubstr("model (weights, 1 file, 97.7 KiB)"), HasSubstr("nobody yet")));
  EXPECT_THAT(Moatctl({"assets", "--name", "model"}), Not(HasSubstr("nobody yet")));
  EXPECT_THAT(Moatctl({"devices"}), HasSubstr("/dev/null"));
  EXPECT_THAT(Moatctl({"flows"}), testing::AllOf(HasSubstr("to 127.0.0.1:"), HasSubstr("1.2 KiB"), HasSubstr("model")));
  EXPECT_THAT(Moatctl({"flows", "--output", "json"}), HasSubstr("\"bytes_out\":\"1234\""));
  EXPECT_THAT(Moatctl({"flows", "--cgroup", "/elsewhere"}), HasSubstr("Nobody has talked"));
  EXPECT_THAT(Moatctl({"workloads", "--help"}), HasSubstr("--cgroup"));
  Moatctl({"flows", "--nonsense"}, 2);
}

// A CUDA program to its exit, to a driver that says yes to everything (tests/workload): what it holds is shown while it lives.
TEST_F(InventoryTest, WhoHoldsAnAccelerator) {
  Agent agent(
      place_,
      "gpu: {driver_version: 580.159.04, devices: [{path: /dev/null, class: nvidia}, {path: /dev/zero, class: nvidia-uvm}]}\n");
  ASSERT_TRUE(agent.WaitReady());
  EXPECT_THAT(Moatctl({"gpus"}), HasSubstr("Nobody uses an accelerator."));
  int hold[2];
  ASSERT_EQ(::pipe(hold), 0);
  const pid_t pid = place_.Spawn([&] {
    ::close(hold[1]);
    gpu::Setting setting{.nodes = {{"nvidiactl", "/dev/null"}, {"nvidia0", "/dev/null"}, {"nvidia-uvm", "/dev/zero"}},
                         .out = ::open("/dev/null", O_WRONLY | O_CLOEXEC)};
    if (!gpu::AnswerYes()) {
      ::_exit(1);
    }
    gpu::Play(*gpu::FindScenario("cuda"), setting);
    char end = 0;
    (void)!::read(hold[0], &end, 1);
  });
  ::close(hold[0]);
  constexpr uint64_t kMiB = 1 << 20;
  v1::ListGpusResponse gpus;
  EXPECT_TRUE(Eventually([&] {
    gpus = Ask(agent, &v1::Inventory::Stub::ListGpus);
    return gpus.holders_size() == 1 && gpus.holders(0).freed_bytes() >= 66 * kMiB;
  }));
  ASSERT_EQ(gpus.holders_size(), 1);
  const v1::GpuHolder& holder = gpus.holders(0);
  EXPECT_EQ(holder.pid(), static_cast<uint32_t>(pid));
  EXPECT_EQ(holder.device_bytes(), 1024 * kMiB);
  EXPECT_EQ(holder.system_bytes(), 32 * kMiB);
  EXPECT_EQ(holder.user_bytes(), 8 * kMiB);
  EXPECT_EQ(holder.objects_lost(), 0u);
  EXPECT_EQ(holder.sensitive(), 0u);
  EXPECT_THAT(holder.verbs(), testing::IsSupersetOf({"ALLOC", "CONTROL", "FREE", "MAP"}));
  ASSERT_EQ(holder.memory_size(), 1) << holder.DebugString();
  EXPECT_EQ(holder.memory(0).device(), "instance 0") << "/dev/null is no node of NVIDIA's, from which the device would be known";
  EXPECT_EQ(holder.memory(0).device_bytes(), 1024 * kMiB);
  EXPECT_EQ(holder.memory(0).freed_bytes(), 66 * kMiB);
  EXPECT_THAT(Moatctl({"gpus"}), testing::AllOf(HasSubstr("1.0 GiB (instance 0)"), HasSubstr("32.0 MiB"), HasSubstr("8.0 MiB"),
                                                HasSubstr(place_.scope())));
  EXPECT_THAT(Moatctl({"watch", "--kind", "gpu", "--since", "oldest", "--for", "1s"}),
              HasSubstr("ALLOC memory.local 1.0 GiB NV01_MEMORY_LOCAL_USER"));
  Moatctl({"watch", "--kind", "gpus"}, 2);
  ::close(hold[1]);
  EXPECT_EQ(WaitFor(pid), 0);
  EXPECT_TRUE(Eventually([&] { return Ask(agent, &v1::Inventory::Stub::ListGpus).holders_size() == 0; }));
}

}  // namespace
}  // namespace moat::e2e
