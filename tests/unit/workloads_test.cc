// SPDX-License-Identifier: Apache-2.0
#include "agent/enrich/workloads.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <chrono>
#include <fstream>

#include "tests/unit/fake_runtimes.h"
#include "tests/unit/sanitizer.h"

namespace moat::enrich {
namespace {

using testing::HasSubstr;
using testing::Lt;
using Labels = std::map<std::string, std::string>;

constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kMinute = 60'000 * kMs;

std::string Hex(size_t number) {
  std::string digits = std::to_string(number);
  return std::string(64 - digits.size(), '0') + digits;
}
std::string Uid(size_t number) { return "0f3b1c2d-4e5f-6071-8293-" + Hex(number).substr(52); }
std::string PodPath(size_t number) { return "/kubepods/burstable/pod" + Uid(number); }

class WorkloadsTest : public testing::Test {
 protected:
  void SetUp() override {
    MOAT_SKIP_WITH_GRPC_UNDER_TSAN();
    options_.cri_sockets = {cri_socket_};
    options_.call_ms = 300;
  }
  void StartCri() { cri_ = std::make_unique<test::FakeCri>(cri_socket_); }
  void Make() { workloads_ = Workloads::Create(options_); }
  event::Workload Resolve(const std::string& path) { return workloads_->Resolve(path); }
  bool Known(const std::string& path) { return Resolve(path).known; }

  test::Folder folder_;
  const std::string cri_socket_ = folder_ / "cri.sock";
  WorkloadOptions options_;
  std::unique_ptr<test::FakeCri> cri_;
  std::unique_ptr<Workloads> workloads_;
};

TEST_F(WorkloadsTest, APodIsUnknownUntilItsRuntimeSaysWhose) {
  StartCri();
  Make();
  const std::string path = PodPath(1) + "/" + Hex(7);
  event::Workload want;
  want.known = false;
  want.cgroup = path;
  want.pod_uid = Uid(1);
  want.container_id = Hex(7);
  EXPECT_EQ(Resolve(path), want);
  EXPECT_EQ(workloads_->next_refresh_ns(), 0u);
  EXPECT_FALSE(workloads_->Refresh(0)) << "the runtime does not know it yet";
  EXPECT_EQ(Resolve(path), want);

  cri_->AddPod(Hex(9), "prod", "vllm-0", Uid(1), {{"app", "vllm"}});
  cri_->AddContainer(Hex(7), Hex(9), "server");
  cri_->status.mutable_image()->set_image("vllm:1");
  cri_->status.set_image_ref("r/vllm@sha256:12");
  EXPECT_FALSE(workloads_->Refresh(49 * kMs)) << "not due: it was asked for 49 ms ago";
  EXPECT_TRUE(workloads_->Refresh(50 * kMs));
  want.known = true;
  want.pod_namespace = "prod";
  want.pod_name = "vllm-0";
  want.pod_labels = {{"app", "vllm"}};
  want.pod_container = "server";
  want.container_image = "vllm:1";
  want.image_digest = "sha256:12";
  EXPECT_EQ(Resolve(path), want);
  want.cgroup = path + "/init/docker/" + Hex(8);
  EXPECT_EQ(Resolve(want.cgroup), want) << "what is below a container is the container";
  EXPECT_EQ(workloads_->kept(), 1u);

  // The pod's own cgroup, and that of the container which holds it together.
  for (const std::string& own : {PodPath(1), PodPath(1) + "/" + Hex(9)}) {
    EXPECT_FALSE(Known(own));
    EXPECT_TRUE(workloads_->Refresh(kMinute));
    EXPECT_TRUE(Known(own)) << own;
    EXPECT_EQ(Resolve(own).pod_name, "vllm-0");
    EXPECT_EQ(Resolve(own).pod_container, "");
  }
  EXPECT_EQ(workloads_->next_refresh_ns(), UINT64_MAX);
  const int calls = cri_->calls;
  EXPECT_FALSE(workloads_->Refresh(2 * kMinute));
  EXPECT_EQ(cri_->calls, calls) << "nobody is asked about what is known";
}

TEST_F(WorkloadsTest, AnotherPodsContainerIsNotTaken) {
  StartCri();
  Make();
  cri_->AddPod(Hex(9), "prod", "secret", Uid(1));
  cri_->AddContainer(Hex(7), Hex(9), "server");
  const std::string lie = PodPath(2) + "/" + Hex(7), truth = PodPath(1) + "/" + Hex(7);
  EXPECT_FALSE(Known(lie));
  EXPECT_FALSE(Known(truth));
  EXPECT_TRUE(workloads_->Refresh(0));
  EXPECT_FALSE(Known(lie));
  EXPECT_EQ(Resolve(lie).pod_name, "");
  EXPECT_TRUE(Known(truth));
}

TEST_F(WorkloadsTest, ARuntimeThatIsAwayIsAskedAgainAndTold) {
  Make();
  const std::string path = PodPath(1);
  EXPECT_FALSE(Known(path));
  uint64_t now_ns = 0;
  for (int i = 0; i < 100; ++i, now_ns += kMinute) {
    EXPECT_FALSE(workloads_->Refresh(now_ns));
  }
  EXPECT_EQ(workloads_->kept(), 1u) << "one that is away may come back";
  ASSERT_EQ(workloads_->Sources().size(), 1u);
  EXPECT_FALSE(workloads_->Sources()[0].present);
  EXPECT_THAT(workloads_->Sources()[0].error, HasSubstr("there is no " + cri_socket_));
  StartCri();
  cri_->AddPod(Hex(9), "prod", "p", Uid(1));
  cri_->fails = static_cast<int>(grpc::StatusCode::UNAVAILABLE);
  EXPECT_FALSE(workloads_->Refresh(now_ns));
  EXPECT_TRUE(workloads_->Sources()[0].present);
  EXPECT_FALSE(workloads_->Sources()[0].reachable);
  EXPECT_THAT(workloads_->Sources()[0].error, HasSubstr("to fail"));
  cri_->fails = 0;
  EXPECT_TRUE(workloads_->Refresh(now_ns + kMinute));
  EXPECT_TRUE(Known(path));
  workloads_->Check();
  EXPECT_TRUE(workloads_->Sources()[0].reachable);
  EXPECT_EQ(workloads_->Sources()[0].version, "fake 1.0");
  EXPECT_EQ(workloads_->Sources()[0].error, "");
}

TEST_F(WorkloadsTest, SilenceIsBounded) {
  StartCri();
  options_.refresh_ms = 200;
  Make();
  cri_->delay_ms = 10'000;
  for (size_t i = 0; i < 100; ++i) {
    EXPECT_FALSE(Known(PodPath(i)));
  }
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_FALSE(workloads_->Refresh(0));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(3));
  EXPECT_THAT(workloads_->next_refresh_ns(), testing::AllOf(testing::Gt(0u), Lt(UINT64_MAX)));
}

TEST_F(WorkloadsTest, AQuestionEndsWhenItIsToldTo) {
  StartCri();
  const std::string docker = folder_ / "docker.sock";
  std::atomic<bool> asked{false};
  const test::FakeHttp server(docker, [&](int fd, const std::string&) {
    asked = true;
    char byte = 0;
    (void)!recv(fd, &byte, 1, 0);  // until it hangs up
  });
  cri_->delay_ms = 60'000;
  for (const bool cri : {true, false}) {
    std::stop_source stop;
    options_ = {.call_ms = 60'000, .refresh_ms = 60'000, .stop = stop.get_token()};
    (cri ? options_.cri_sockets.emplace_back() : options_.docker_socket) = cri ? cri_socket_ : docker;
    Make();
    Resolve(cri ? PodPath(1) : "/docker/" + Hex(5));
    std::thread asks([&] { EXPECT_FALSE(workloads_->Refresh(0)); });
    while (cri ? cri_->calls == 0 : !asked) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    const auto begin = std::chrono::steady_clock::now();
    stop.request_stop();
    asks.join();
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2)) << cri;
  }
}

// Each answer is in time, and all of them together would not be: the rest is asked for by the next call.
TEST_F(WorkloadsTest, ManyAnswersAreBoundedTogether) {
  const std::string scontrol = folder_ / "scontrol";
  std::ofstream(scontrol) << "#!/bin/sh\nsleep 0.05\necho \"JobId=$3 UserId=alice(1000) Account=lab Partition=gpu\"\n";
  chmod(scontrol.c_str(), 0755);
  options_ = {.scontrol = scontrol, .refresh_ms = 200};
  Make();
  constexpr size_t kJobs = 40;  // two seconds
  const auto known = [&] {
    size_t count = 0;
    for (size_t i = 0; i < kJobs; ++i) {
      count += Known("/slurm/uid_1000/job_" + std::to_string(i)) ? 1 : 0;
    }
    return count;
  };
  EXPECT_EQ(known(), 0u);
  EXPECT_TRUE(workloads_->Refresh(0));
  const size_t first = known();
  EXPECT_THAT(first, testing::AllOf(testing::Ge(1u), testing::Le(5u)));
  EXPECT_EQ(workloads_->next_refresh_ns(), 0u);
  for (size_t calls = 0; calls < kJobs && known() < kJobs; ++calls) {
    EXPECT_TRUE(workloads_->Refresh(0));
  }
  EXPECT_EQ(known(), kJobs);
}

TEST_F(WorkloadsTest, WhatNoRuntimeKnowsIsAskedForSeldomerAndSeldomer) {
  StartCri();
  Make();
  EXPECT_FALSE(Known(PodPath(1)));
  std::vector<uint64_t> waits;
  for (uint64_t now_ns = 0; now_ns < 8 * kMinute; now_ns = workloads_->next_refresh_ns()) {
    EXPECT_FALSE(workloads_->Refresh(now_ns));
    waits.push_back((workloads_->next_refresh_ns() - now_ns) / kMs);
  }
  EXPECT_THAT(std::vector(waits.begin(), waits.begin() + 6), testing::ElementsAre(50, 100, 200, 400, 800, 1000));
  EXPECT_EQ(waits[299], 1000u);
  EXPECT_EQ(waits.back(), 30'000u);
  ASSERT_EQ(workloads_->Sources().size(), 1u);
  EXPECT_EQ(workloads_->Sources()[0].asked, waits.size());
  EXPECT_EQ(workloads_->Sources()[0].failed, 0u);
  EXPECT_EQ(workloads_->kept(), 1u);
}

// One answer tells of all pods.
TEST_F(WorkloadsTest, WhatWaitsIsAskedForWithWhatIsNew) {
  StartCri();
  int news = 0;
  workloads_ = Workloads::Create(options_, [&news] { ++news; });
  EXPECT_TRUE(workloads_->all_asked());
  Resolve(PodPath(1));
  Resolve(PodPath(1));
  EXPECT_EQ(news, 1);
  EXPECT_FALSE(workloads_->all_asked());
  EXPECT_FALSE(workloads_->Refresh(0));
  EXPECT_TRUE(workloads_->all_asked());
  cri_->AddPod(Hex(9), "ns", "p", Uid(1));
  EXPECT_FALSE(workloads_->Refresh(1 * kMs)) << "it is not due by itself";
  Resolve(PodPath(1) + "/" + Hex(9));
  EXPECT_EQ(news, 2);
  EXPECT_TRUE(workloads_->Refresh(1 * kMs));
  EXPECT_TRUE(Known(PodPath(1)));
  EXPECT_TRUE(Known(PodPath(1) + "/" + Hex(9)));
  const auto list = workloads_->List();
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0].cgroup, PodPath(1));
  EXPECT_EQ(list[1].cgroup, PodPath(1) + "/" + Hex(9));
  EXPECT_EQ(list[1].pod_name, "p");
  EXPECT_EQ(event::KindOf(list[0]), event::WorkloadKind::kPod);
  EXPECT_EQ(event::KindOf(list[1]), event::WorkloadKind::kPod) << "it holds the pod together";
  EXPECT_EQ(event::KindOf(Resolve(PodPath(1) + "/" + Hex(4))), event::WorkloadKind::kContainer);
  EXPECT_EQ(event::KindOf(Resolve("/system.slice/slurmstepd.scope/job_1")), event::WorkloadKind::kJob);
  EXPECT_EQ(event::KindOf(Resolve("/system.slice/a.service")), event::WorkloadKind::kUnit);
  EXPECT_EQ(event::KindOf(Resolve("/a")), event::WorkloadKind::kOther);
}

TEST_F(WorkloadsTest, WhatIsKnownIsAskedForAgainAndStaysWhenNobodyAnswers) {
  StartCri();
  Make();
  const std::string path = PodPath(1) + "/" + Hex(7);
  cri_->AddPod(Hex(9), "ns", "p", Uid(1), {{"app", "a"}});
  cri_->AddContainer(Hex(7), Hex(9), "c");
  Resolve(path);
  EXPECT_TRUE(workloads_->Refresh(0));
  const int calls = cri_->calls;
  workloads_->AskAgain();
  EXPECT_TRUE(workloads_->all_asked());
  EXPECT_EQ(workloads_->next_refresh_ns(), 0u);
  EXPECT_FALSE(workloads_->Refresh(kMinute)) << "nothing has changed";
  EXPECT_EQ(cri_->calls, calls + 2) << "two lists, and not its image again";
  EXPECT_EQ(workloads_->next_refresh_ns(), UINT64_MAX);
  cri_->pods.mutable_items(0)->mutable_labels(0)->set_value("b");
  workloads_->AskAgain();
  EXPECT_TRUE(workloads_->Refresh(kMinute));
  EXPECT_EQ(Resolve(path).pod_labels, (Labels{{"app", "b"}}));
  const auto whole = Resolve(path);
  cri_->fails = static_cast<int>(grpc::StatusCode::UNAVAILABLE);
  workloads_->AskAgain();
  EXPECT_FALSE(workloads_->Refresh(2 * kMinute));
  EXPECT_EQ(Resolve(path), whole);
  EXPECT_FALSE(workloads_->Sources()[0].reachable);
  EXPECT_EQ(workloads_->Sources()[0].failed, 1u);
}

// The table answers while a runtime is silent.
TEST_F(WorkloadsTest, NobodyWaitsForARuntimeButRefresh) {
  StartCri();
  options_.call_ms = 2000;
  Make();
  Resolve(PodPath(1));
  cri_->delay_ms = 1500;
  std::thread asks([&] { workloads_->Refresh(0); });
  while (cri_->calls == 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  const auto begin = std::chrono::steady_clock::now();
  for (size_t i = 0; i < 100; ++i) {
    EXPECT_FALSE(Known(PodPath(i)));
  }
  EXPECT_EQ(workloads_->kept(), 100u);
  workloads_->Forget(PodPath(1));
  EXPECT_EQ(workloads_->Sources().size(), 1u);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(500));
  cri_->delay_ms = 0;
  asks.join();
  EXPECT_EQ(workloads_->kept(), 99u) << "an answer about what is gone brings nothing back";
}

TEST_F(WorkloadsTest, TenThousandThatComeAndGoLeaveNoResidue) {
  StartCri();
  options_.refresh_ms = 60'000;
  Make();
  constexpr size_t kAll = 10'000, kAtOnce = 500;
  size_t known = 0;
  for (size_t from = 0; from < kAll; from += kAtOnce) {
    {
      const std::lock_guard lock(cri_->mutex);
      cri_->pods.Clear();
    }
    for (size_t i = from; i < from + kAtOnce; ++i) {
      cri_->AddPod(Hex(i), "ns", "pod-" + std::to_string(i), Uid(i), {{"n", std::to_string(i)}});
      Resolve(PodPath(i) + "/" + Hex(i));
      Resolve(PodPath(i) + "/" + Hex(i) + "/below");
    }
    EXPECT_TRUE(workloads_->Refresh(from));
    for (size_t i = from; i < from + kAtOnce; ++i) {
      const std::string path = PodPath(i) + "/" + Hex(i);
      known += Resolve(path).pod_labels == Labels{{"n", std::to_string(i)}};
      workloads_->Forget(path + "/below");
      EXPECT_TRUE(Known(path));
      workloads_->Forget(path);
      workloads_->Forget(path);
    }
    EXPECT_EQ(workloads_->kept(), 0u);
  }
  EXPECT_EQ(known, kAll);
  EXPECT_EQ(workloads_->next_refresh_ns(), UINT64_MAX);
}

TEST_F(WorkloadsTest, OneThatIsForgottenIsAskedForAnew) {
  StartCri();
  Make();
  cri_->AddPod(Hex(9), "ns", "before", Uid(1));
  Resolve(PodPath(1));
  EXPECT_TRUE(workloads_->Refresh(0));
  workloads_->Forget(PodPath(1));
  cri_->pods.mutable_items(0)->mutable_metadata()->set_name("after");
  EXPECT_FALSE(Known(PodPath(1)));
  EXPECT_TRUE(workloads_->Refresh(0));
  EXPECT_EQ(Resolve(PodPath(1)).pod_name, "after");
  // Gone from the runtime, and its cgroup is still there: it is whose it was.
  cri_->pods.Clear();
  EXPECT_FALSE(workloads_->Refresh(kMinute));
  EXPECT_EQ(Resolve(PodPath(1)).pod_name, "after");
}

TEST_F(WorkloadsTest, WhatIsKeptIsBoundedAndPruned) {
  StartCri();
  options_.max_kept = 10;
  Make();
  for (size_t i = 0; i < 10; ++i) {
    Resolve(PodPath(i));
  }
  cri_->AddPod(Hex(0), "ns", "first", Uid(0));
  cri_->AddPod(Hex(1), "ns", "second", Uid(1));
  EXPECT_TRUE(workloads_->Refresh(0));
  Resolve(PodPath(0));
  Resolve(PodPath(10));  // in place of 1: it was longest not asked for
  EXPECT_EQ(workloads_->kept(), 10u);
  EXPECT_TRUE(Known(PodPath(0)));
  EXPECT_FALSE(Known(PodPath(1)));
  EXPECT_EQ(workloads_->Prune([](const std::string& path) { return path == PodPath(0) || path == PodPath(1); }), 8u);
  EXPECT_EQ(workloads_->kept(), 2u);
  EXPECT_TRUE(Known(PodPath(0)));
}

TEST_F(WorkloadsTest, OfTwoRuntimesEachKnowsItsOwn) {
  StartCri();
  test::FakeCri second(folder_ / "second.sock");
  options_.cri_sockets = {folder_ / "absent.sock", folder_ / "second.sock", cri_socket_};
  Make();
  cri_->AddPod(Hex(1), "ns", "first", Uid(1));
  second.AddPod(Hex(2), "ns", "second", Uid(2));
  for (size_t i = 1; i <= 3; ++i) {
    EXPECT_FALSE(Known(PodPath(i)));
  }
  EXPECT_TRUE(workloads_->Refresh(0));
  EXPECT_EQ(Resolve(PodPath(1)).pod_name, "first");
  EXPECT_EQ(Resolve(PodPath(2)).pod_name, "second");
  EXPECT_FALSE(Known(PodPath(3)));
}

TEST_F(WorkloadsTest, ADockerThatIsGoneIsToldAsGone) {
  const std::string docker = folder_ / "docker.sock";
  auto server = std::make_unique<test::FakeHttp>(
      docker, [](int fd, const std::string&) { test::FakeHttp::Say(fd, "HTTP/1.0 200 OK\r\n\r\n{\"Version\":\"1\"}"); });
  options_ = {.docker_socket = docker};
  Make();
  workloads_->Check();
  EXPECT_TRUE(workloads_->Sources()[0].reachable);
  server.reset();
  workloads_->Check();
  EXPECT_TRUE(workloads_->Sources()[0].present);
  EXPECT_FALSE(workloads_->Sources()[0].reachable);
  EXPECT_THAT(workloads_->Sources()[0].error, HasSubstr("cannot connect to " + docker));
}

TEST_F(WorkloadsTest, DockersContainersAndSlurmsJobs) {
  const std::string docker = folder_ / "docker.sock", scontrol = folder_ / "scontrol";
  const test::FakeHttp server(docker, [](int fd, const std::string& request) {
    test::FakeHttp::Say(fd, "HTTP/1.0 200 OK\r\n\r\n");
    test::FakeHttp::Say(
        fd, request.starts_with("GET /version")
                ? R"({"Version":"1"})"
                : R"([{"Id":")" + Hex(5) + R"(","Names":["/web"],"Image":"nginx","ImageID":"sha256:5","Labels":{"a":"b"}}])");
  });
  std::ofstream(scontrol) << "#!/bin/sh\n[ \"$1\" = --version ] && echo 'slurm 22' && exit\n"
                             "echo \"JobId=$3 JobName=x UserId=alice(1000) Account=lab Partition=gpu\"\n";
  chmod(scontrol.c_str(), 0755);
  options_ = {.docker_socket = docker, .scontrol = scontrol};
  Make();
  const std::string web = "/system.slice/docker-" + Hex(5) + ".scope", other = "/docker/" + Hex(6);
  const std::string job = "/system.slice/slurmstepd.scope/job_42/step_0/user/task_0";
  for (const std::string& path : {web, other, job, job + "/x"}) {
    EXPECT_FALSE(Known(path)) << path;
  }
  EXPECT_TRUE(workloads_->Refresh(0));
  EXPECT_FALSE(Known(other));
  event::Workload want;
  want.cgroup = web;
  want.container_id = Hex(5);
  want.container_name = "web";
  want.container_image = "nginx";
  want.image_digest = "sha256:5";
  want.container_labels = {{"a", "b"}};
  EXPECT_EQ(Resolve(web), want);
  want = {};
  want.cgroup = job;
  want.unit = "slurmstepd.scope";
  want.slurm_job = "42";
  want.slurm_user = "alice";
  want.slurm_account = "lab";
  want.slurm_partition = "gpu";
  EXPECT_EQ(Resolve(job), want);
  workloads_->Check();
  EXPECT_EQ(workloads_->Sources()[0].version, "docker 1");
  EXPECT_EQ(workloads_->Sources()[1].version, "slurm 22");
  for (const std::string& path : {web, other, std::string("/system.slice/slurmstepd.scope/job_42")}) {
    workloads_->Forget(path);
  }
  EXPECT_EQ(workloads_->kept(), 0u);
}

// What nobody can be asked about stays unknown and takes no room; what the path tells alone is known.
TEST_F(WorkloadsTest, WithoutRuntimesThePathIsAllThereIs) {
  options_ = {};
  Make();
  for (const std::string& path : {PodPath(1), "/docker/" + Hex(5), "/machine.slice/libpod-" + Hex(5) + ".scope",
                                  std::string("/slurm/uid_1/job_2/step_0")}) {
    EXPECT_FALSE(Known(path)) << path;
  }
  EXPECT_TRUE(Known("/system.slice/vllm.service"));
  EXPECT_EQ(Resolve("/user.slice/user-7.slice/user@7.service/docker/" + Hex(5)).unit, "user@7.service");
  EXPECT_TRUE(Known("/user.slice/user-7.slice/user@7.service/docker/" + Hex(5)));
  EXPECT_EQ(workloads_->kept(), 0u);
  EXPECT_EQ(workloads_->next_refresh_ns(), UINT64_MAX);
  EXPECT_FALSE(workloads_->Refresh(0));
}

}  // namespace
}  // namespace moat::enrich
