// SPDX-License-Identifier: Apache-2.0
// A hook that is attached and does not run gives way, and is told; one that runs stays.
#include <algorithm>

#include "agent/probe/domains.h"
#include "tests/bpf/fixture.h"

namespace moat::test {
namespace {

using probe::Canary;
using probe::Domain;
using probe::Domains;

class CanaryTest : public BpfTest {
 protected:
  void SetUp() override {
    BpfTest::SetUp();
    if (IsSkipped()) {
      return;
    }
    config().file = config().gpu = config().net = false;
    domains_ = std::make_unique<Domains>(config());
    auto maps = domains_->MakeMaps(config());
    ASSERT_TRUE(maps) << maps.error().message;
    maps_ = std::move(*maps);
    maps_->control()->agent_pid = static_cast<uint32_t>(getpid());  // scope: this test's empty cgroup
    domains_->Load(*maps_);
    process().Attach(nullptr, -1);
  }
  void TearDown() override {
    domains_.reset();
    maps_.reset();
    BpfTest::TearDown();
  }
  Domain& process() { return (*domains_)["process"]; }
  HookStatus Hook(const char* event) {
    const DomainStatus status = process().Describe();
    const auto found = std::ranges::find(status.hooks, event, &HookStatus::event);
    return found != status.hooks.end() ? *found : HookStatus();
  }

  std::unique_ptr<probe::SharedMaps> maps_;
  std::unique_ptr<Domains> domains_;
};

TEST_F(CanaryTest, WhatTheAgentsOwnCallsRunIsSeenToRun) {
  EXPECT_FALSE(process().Wanting(Canary::Sing(/*in_scope=*/false)));
  for (const char* event : {"process.fork", "process.exec", "process.exit"}) {
    EXPECT_TRUE(Hook(event).attached) << event;
    EXPECT_EQ(Hook(event).proof, "it has run") << event;
  }
  EXPECT_EQ(Hook("process.scan").proof, "not yet seen to run (it runs when processes are listed)");
}

// Nobody lists processes here, so the program of the scan does not run: as if a call that it should see had been made.
TEST_F(CanaryTest, WhatDoesNotRunGivesWayAndIsTold) {
  EXPECT_TRUE(process().Wanting(Canary({"process.scan"})));
  process().Open();
  process().Load(*maps_);
  process().Attach(nullptr, -1);
  const HookStatus scan = Hook("process.scan");
  EXPECT_FALSE(scan.attached);
  EXPECT_FALSE(scan.exposure) << "the kernel offered it: a fault";
  EXPECT_EQ(scan.why, "iter moat_process_scan: attached, but it did not run for moatd's own call");
  EXPECT_EQ(scan.unseen, (std::vector<std::string>{"all of it"}));
  EXPECT_TRUE(Hook("process.fork").attached) << "the rest of the domain is as it was";
  EXPECT_FALSE(process().Wanting(Canary({"process.scan"}))) << "there is nothing left to fall to";
}

}  // namespace
}  // namespace moat::test
