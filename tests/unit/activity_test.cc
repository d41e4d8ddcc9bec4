// SPDX-License-Identifier: Apache-2.0
#include "agent/enrich/activity.h"

#include <gtest/gtest.h>

#include <memory>
#include <utility>

#include "agent/base/recent.h"

namespace moat::enrich {
namespace {

using event::Kind;

event::Event Made(Kind kind, event::Body body, uint64_t cgroup = 7, uint64_t exe = 1, uint32_t pid = 10, uint64_t time_ns = 100) {
  event::Event event;
  event.header.kind = kind;
  event.header.cgroup_id = cgroup;
  event.header.process = {.pid = pid, .start_ns = 5};
  event.header.time_ns = time_ns;
  auto info = std::make_shared<event::Process>();
  info->exe = "/bin/program" + std::to_string(exe);
  info->exe_inode = exe;
  info->cgroup = "/cgroup" + std::to_string(cgroup);
  event.header.info = std::move(info);
  event.body = std::move(body);
  return event;
}

event::FileIo Io(uint64_t read, uint64_t written, bool last = false) {
  event::FileIo io;
  io.asset = 3;
  io.bytes_read = read;
  io.bytes_written = written;
  io.last = last;
  return io;
}

event::NetTotals Totals(uint64_t cookie, uint64_t out, uint64_t in, uint16_t port = 443, bool passive = false) {
  event::NetTotals totals;
  totals.cookie = cookie;
  totals.ep.remote = {.bytes = {10, 0, 0, 1}, .port = port};
  totals.ep.local = {.bytes = {10, 0, 0, 2}, .port = 8000};
  totals.ep.protocol = 6;
  totals.bytes_out = out;
  totals.bytes_in = in;
  totals.passive = passive;
  return totals;
}

class ActivityTest : public ::testing::Test {
 protected:
  void Give(std::vector<event::Event> events) {
    auto batch = std::make_shared<event::Batch>();
    batch->events = std::move(events);
    table_->OnBatch(batch);
  }
  event::Activity All() const {
    using event::ActivityOf;
    event::Activity all = table_->Get(ActivityOf::kWorkloads);
    all.assets = table_->Get(ActivityOf::kAssets).assets;
    all.devices = table_->Get(ActivityOf::kDevices).devices;
    all.flows = table_->Get(ActivityOf::kFlows).flows;
    return all;
  }
  std::unique_ptr<ActivityTable> table_ =
      ActivityTable::Create({.workloads = 4, .assets = 4, .devices = 4, .flows = 4, .sums = 8, .commands = 4});
};

TEST_F(ActivityTest, RunningTotalsAreCountedOnce) {
  event::FileOpen open;
  open.asset = 3;
  Give({Made(Kind::kFileOpen, open, 7, 1, 10, 50), Made(Kind::kFileIo, Io(100, 1)), Made(Kind::kFileIo, Io(250, 1)),
        Made(Kind::kFileIo, Io(300, 4, /*last=*/true), 7, 1, 10, 200)});
  Give({Made(Kind::kFileIo, Io(1000, 0), 7, 1, /*pid=*/11, 150)});  // another process of the same program
  const event::Activity seen = All();
  ASSERT_EQ(seen.assets.rows.size(), 1u);
  const event::AssetActivity& row = seen.assets.rows[0];
  EXPECT_EQ(row.bytes_read, 1300u);
  EXPECT_EQ(row.bytes_written, 4u);
  EXPECT_EQ(row.opens, 1u);
  EXPECT_EQ(row.asset, 3u);
  EXPECT_EQ(row.actor.executable, "/bin/program1");
  EXPECT_EQ(row.actor.cgroup, "/cgroup7");
  EXPECT_EQ(row.seen.first_ns, 50u);
  EXPECT_EQ(row.seen.last_ns, 200u);
}

TEST_F(ActivityTest, AFlowIsAPeerAndAPortNotASocket) {
  event::Net connect;
  connect.ep = Totals(0, 0, 0).ep;
  Give({Made(Kind::kNetConnect, connect), Made(Kind::kNetFlow, Totals(1, 10, 20)), Made(Kind::kNetClose, Totals(1, 15, 20)),
        Made(Kind::kNetConnect, connect), Made(Kind::kNetClose, Totals(2, 5, 0)),
        Made(Kind::kNetClose, Totals(3, 1, 1, /*port=*/50000, /*passive=*/true)),
        Made(Kind::kNetClose, Totals(4, 1, 1, /*port=*/50001, /*passive=*/true))});
  event::Verdict denied;
  denied.action = event::VerdictAction::kDeny;
  denied.has_ep = true;
  denied.ep = connect.ep;
  Give({Made(Kind::kVerdict, denied)});
  const event::Activity seen = All();
  ASSERT_EQ(seen.flows.rows.size(), 2u);
  const event::FlowActivity& out = seen.flows.rows[0];  // seen last
  EXPECT_EQ(out.connections, 2u);
  EXPECT_EQ(out.bytes_out, 20u);
  EXPECT_EQ(out.bytes_in, 20u);
  EXPECT_EQ(out.denied, 1u);
  EXPECT_FALSE(out.inbound);
  EXPECT_EQ(out.port, 443);
  const event::FlowActivity& in = seen.flows.rows[1];
  EXPECT_TRUE(in.inbound);
  EXPECT_EQ(in.port, 8000);
  EXPECT_EQ(in.bytes_out, 2u);
  ASSERT_EQ(seen.workloads.rows.size(), 1u);
  EXPECT_EQ(seen.workloads.rows[0].bytes_out, 22u);
  EXPECT_EQ(seen.workloads.rows[0].denied, 1u);
}

TEST_F(ActivityTest, CallsOfADeviceAreCountedByTheirTotals) {
  event::GpuCall call;
  call.rdev = 195 << 20;
  call.cmd = 42;
  call.device_class = event::GpuClass::kNvidia;
  for (const uint64_t count : {1u, 5u, 9u}) {
    call.first = count == 1;
    call.count = count;
    Give({Made(Kind::kGpuIoctl, call)});
  }
  const event::Activity seen = All();
  ASSERT_EQ(seen.devices.rows.size(), 1u);
  EXPECT_EQ(seen.devices.rows[0].calls, 9u);
  EXPECT_STREQ(seen.devices.rows[0].device_class, "nvidia");
  EXPECT_EQ(seen.workloads.rows[0].gpu_calls, 9u);
}

// Threads that call at once, a table of the kernel that is full, and processes that come and go by the thousand.
TEST_F(ActivityTest, CallsAreNotCountedTwiceWhateverTheOrder) {
  event::GpuCall call;
  call.cmd = 42;
  const auto give = [&](uint64_t count, uint32_t pid = 10) {
    call.first = count <= 1;
    call.count = count;
    Give({Made(Kind::kGpuIoctl, call, 7, 1, pid)});
    return All().workloads.rows[0].gpu_calls;
  };
  EXPECT_EQ(give(2), 1u);
  EXPECT_EQ(give(1), 2u);
  EXPECT_EQ(give(1000), 1000u);
  EXPECT_EQ(give(998), 1000u);
  EXPECT_EQ(give(999), 1000u);
  EXPECT_EQ(give(1001), 1001u);
  EXPECT_EQ(give(0), 1002u);
  EXPECT_EQ(give(0), 1003u);
  for (uint32_t pid = 100; pid < 200; ++pid) {
    give(1, pid);
  }
  EXPECT_EQ(give(1002), 1104u) << "its row is gone: one call, not all of them again";
  EXPECT_EQ(All().sums_evicted, 0u);
}

TEST_F(ActivityTest, TheLeastRecentGivesWayAndIsCounted) {
  for (const uint64_t cgroup : {1u, 2u, 3u, 4u, 1u, 5u}) {
    Give({Made(Kind::kExec, event::Exec{}, cgroup)});
  }
  const event::Activity seen = All();
  EXPECT_EQ(seen.workloads.evicted, 1u);
  std::vector<uint64_t> left;
  left.reserve(seen.workloads.rows.size());
  for (const event::WorkloadActivity& row : seen.workloads.rows) {
    left.push_back(row.cgroup_id);
  }
  EXPECT_EQ(left, (std::vector<uint64_t>{5, 1, 4, 3}));
  EXPECT_EQ(seen.workloads.rows[1].processes, 2u);
}

TEST_F(ActivityTest, WhatProgramsChoseIsKeptShort) {
  event::Event event = Made(Kind::kFileOpen, event::FileOpen{});
  auto info = std::make_shared<event::Process>();
  info->exe = std::string(100'000, 'x');
  info->cgroup = std::string(100'000, '/');
  event.header.info = std::move(info);
  Give({event});
  const event::Activity seen = All();
  EXPECT_EQ(seen.assets.rows[0].actor.executable.size(), 256u);
  EXPECT_EQ(seen.assets.rows[0].actor.cgroup.size(), 512u);
}

TEST_F(ActivityTest, AssetsAndFamiliesThatNobodyKnowsAreNoRows) {
  event::FileOpen open;
  open.asset = event::kNoAsset;
  event::Net packet;
  packet.ep.other_family = 17;
  Give({Made(Kind::kFileOpen, open), Made(Kind::kNetConnect, packet), Made(Kind::kGap, event::Gap{})});
  const event::Activity seen = All();
  EXPECT_TRUE(seen.assets.rows.empty() && seen.flows.rows.empty() && seen.workloads.rows.empty());
}

}  // namespace
}  // namespace moat::enrich
