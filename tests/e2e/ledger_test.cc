// SPDX-License-Identifier: Apache-2.0
// 2,000,000 operations as fast as this machine can: attempted = delivered + lost, to the last event.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tests/e2e/agent.h"

namespace moat::e2e {
namespace {

constexpr uint64_t kOperations = 2'000'000;
constexpr int kProcesses = 2;  // so that records of two CPUs meet in the ring
constexpr unsigned long kCommand = _IO('F', 0x2a);
constexpr const char* kWatchNull = "gpu: {devices: [{path: /dev/null}], watch: [{command: 0x2a}]}\n";

void Ioctls() {
  const int fd = ::open("/dev/null", O_RDWR);
  for (uint64_t i = 0; i < kOperations / kProcesses; ++i) {
    ::ioctl(fd, kCommand, nullptr);
  }
}

class LedgerTest : public ::testing::Test {
 protected:
  void Flood(Agent& agent) {
    std::vector<pid_t> children;
    for (int i = 0; i < kProcesses; ++i) {
      children.push_back(place_.Spawn(Ioctls));
    }
    for (const pid_t child : children) {
      EXPECT_EQ(WaitFor(child, 300s), 0);
    }
    EXPECT_TRUE(Eventually([&] { return Unaccounted(agent.Line(v1::KIND_GPU_IOCTL)) == 0; }));
  }
  static void Print(const v1::KindLedger& line) {
    std::printf("attempted %lu = delivered %lu + lost %lu\n", line.attempted(), line.delivered(), Lost(line));
  }

  Place place_;
};

TEST_F(LedgerTest, HoldsWithAmpleRings) {
  Agent agent(place_, std::string(kWatchNull) + "rings: {bulk: 256MiB}\n");
  ASSERT_TRUE(agent.WaitReady());
  Flood(agent);
  const v1::KindLedger line = agent.Line(v1::KIND_GPU_IOCTL);
  Print(line);
  EXPECT_EQ(line.attempted(), kOperations);
  EXPECT_EQ(Unaccounted(line), 0);
  EXPECT_EQ(agent.Line(v1::KIND_GPU_OPEN).attempted(), kProcesses);
  EXPECT_EQ(agent.End(SIGTERM), 0);
}

TEST_F(LedgerTest, HoldsWithASmallRingAndTellsTheGapWithinASecond) {
  Agent agent(place_, std::string(kWatchNull) + "rings: {bulk: 64KiB}\n");
  ASSERT_TRUE(agent.WaitReady());
  v1::Filter gaps;
  gaps.add_kinds("gap");
  Watcher watcher(agent, gaps);
  ASSERT_TRUE(watcher.WaitConnected());

  // The first loss that we can see happened before we see it, so a second from then is the stricter measure.
  std::optional<std::chrono::steady_clock::time_point> first_loss;
  std::thread look([&] {
    Eventually(
        [&] {
          const bool lost = Lost(agent.Line(v1::KIND_GPU_IOCTL)) > 0;
          if (lost) {
            first_loss = std::chrono::steady_clock::now();
          }
          return lost;
        },
        60s);
  });
  Flood(agent);
  look.join();

  const v1::KindLedger line = agent.Line(v1::KIND_GPU_IOCTL);
  Print(line);
  EXPECT_EQ(line.attempted(), kOperations);
  EXPECT_EQ(Unaccounted(line), 0);
  EXPECT_GT(Lost(line), 0u);
  EXPECT_GT(line.delivered(), 0u);
  // Every loss is told, and told once.
  const auto told = [&] {
    uint64_t sum = 0;
    for (const Watcher::Seen& seen : watcher.seen()) {
      sum += seen.event.gap().lost_kind() == v1::KIND_GPU_IOCTL ? seen.event.gap().count() : 0;
    }
    return sum;
  };
  EXPECT_TRUE(Eventually([&] { return told() == Lost(line); })) << told() << " of " << Lost(line);
  ASSERT_TRUE(first_loss);
  ASSERT_FALSE(watcher.seen().empty());
  const auto after = std::chrono::duration_cast<std::chrono::milliseconds>(watcher.seen().front().at - *first_loss);
  std::printf("first gap %ld ms after the first loss was seen\n", static_cast<long>(after.count()));
  EXPECT_LE(after, 1s);
  EXPECT_TRUE(Eventually([&] { return Unaccounted(agent.Line(v1::KIND_GAP)) == 0; }));
  EXPECT_EQ(agent.End(SIGTERM), 0);
}

}  // namespace
}  // namespace moat::e2e
