// SPDX-License-Identifier: Apache-2.0
#include "agent/app/workload_watch.h"

#include <gmock/gmock.h>

#include <atomic>
#include <chrono>

#include "agent/base/cgroup.h"
#include "tests/unit/fake_runtimes.h"
#include "tests/unit/sanitizer.h"

namespace moat::app {
namespace {

using enrich::test::FakeHttp;
using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

const std::string kId(64, 'a');
const std::string kPath = "/docker/" + kId;

class WorkloadWatchTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!FindCgroup2Mount()) {
      GTEST_SKIP() << "no cgroup2 file system is mounted here";
    }
    config_.scope = "/moat-no-such-cgroup";
    config_.cri_sockets = {};
    config_.docker_socket = folder_ / "docker.sock";
    config_.scontrol = "";
  }
  void Serve() {
    server_ = std::make_unique<FakeHttp>(config_.docker_socket, [this](int fd, const std::string& request) {
      ++asked_;
      if (silent_) {
        char byte = 0;
        (void)!recv(fd, &byte, 1, 0);  // until it hangs up
        return;
      }
      FakeHttp::Say(fd, "HTTP/1.0 200 OK\r\n\r\n");
      FakeHttp::Say(fd, request.starts_with("GET /version")
                            ? R"({"Version":"1"})"
                            : R"([{"Id":")" + kId + R"(","Names":["/web"],"Image":"nginx","ImageID":"sha256:5","Labels":{}}])");
    });
  }
  void Start() {
    auto started = WorkloadWatch::Start(config_);
    ASSERT_TRUE(started) << started.error().message;
    watch_ = std::move(*started);
  }
  static bool Eventually(const std::function<bool()>& condition) {
    for (const auto until = Clock::now() + 10s; Clock::now() < until; std::this_thread::sleep_for(1ms)) {
      if (condition()) {
        return true;
      }
    }
    return false;
  }

  enrich::test::Folder folder_;
  config::Config config_;
  std::atomic<bool> silent_{false};
  std::atomic<int> asked_{0};
  std::unique_ptr<FakeHttp> server_;
  std::unique_ptr<WorkloadWatch> watch_;
};

TEST_F(WorkloadWatchTest, WhoeverIsNewIsAskedAboutAtOnceAndTheNewsIsTold) {
  Serve();
  Start();
  watch_->Settle(10'000);
  std::atomic<int> changes{0};
  watch_->OnChange([&changes] { ++changes; });
  const auto begin = Clock::now();
  EXPECT_FALSE(watch_->OfPath(kPath).known);
  EXPECT_TRUE(Eventually([&] { return changes == 1; }));
  EXPECT_LT(Clock::now() - begin, 1s);
  EXPECT_EQ(watch_->OfPath(kPath).container_name, "web");
  ASSERT_EQ(watch_->List().size(), 1u);
  EXPECT_EQ(watch_->List()[0].container_image, "nginx");
  EXPECT_TRUE(Eventually([&] { return watch_->Sources()[0].version == "docker 1"; }));
  EXPECT_TRUE(watch_->Sources()[0].reachable);
  watch_->OnChange({});
  watch_->Forget(kPath);
  EXPECT_FALSE(watch_->OfPath(kPath).known);
  EXPECT_TRUE(Eventually([&] { return watch_->OfPath(kPath).known; }));
  EXPECT_EQ(changes, 1) << "nobody listened any more";
}

TEST_F(WorkloadWatchTest, ARuntimeThatIsSilentHoldsUpNeitherQuestionsNorTheEnd) {
  silent_ = true;
  Serve();
  Start();
  const auto begin = Clock::now();
  EXPECT_FALSE(watch_->OfPath(kPath).known);
  EXPECT_TRUE(Eventually([&] { return asked_ > 0; }));
  for (int i = 0; i < 1000; ++i) {
    EXPECT_FALSE(watch_->OfPath(kPath).known);
  }
  watch_.reset();
  EXPECT_LT(Clock::now() - begin, 1500ms) << "an answer may take two seconds";
}

TEST_F(WorkloadWatchTest, WhoCanBeAskedIsWhatIsConfiguredOrFound) {
  MOAT_SKIP_WITH_GRPC_UNDER_TSAN();
  const auto tellers = [this] {
    Start();
    return watch_->tellers();
  };
  EXPECT_TRUE(tellers().containers) << "it is configured, and not there";
  EXPECT_FALSE(tellers().pods);
  EXPECT_FALSE(tellers().jobs);
  config_.docker_socket = "";
  EXPECT_FALSE(tellers().containers);
  config_.cri_sockets = {folder_ / "cri.sock"};
  config_.scontrol = folder_ / "scontrol";
  EXPECT_TRUE(tellers().pods);
  EXPECT_TRUE(tellers().containers);
  EXPECT_TRUE(tellers().jobs);
  EXPECT_TRUE(Eventually([&] {
    const auto sources = watch_->Sources();
    return sources.size() == 2 && sources[0].error == "there is no " + config_.cri_sockets[0];
  })) << "it should be there";
  config_ = {};
  config_.scope = "/moat-no-such-cgroup";
  EXPECT_EQ(tellers().jobs, std::filesystem::exists("/usr/bin/scontrol"));
  for (const auto& source : watch_->Sources()) {
    EXPECT_TRUE(source.present) << source.address << ": nobody said that it should be there";
  }
}

TEST_F(WorkloadWatchTest, ACgroupThatIsNotThereIsAnError) {
  Start();
  const auto workload = watch_->OfCgroup(UINT64_MAX);
  EXPECT_FALSE(workload);
}

}  // namespace
}  // namespace moat::app
