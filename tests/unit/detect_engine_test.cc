// SPDX-License-Identifier: Apache-2.0
// From drafts to findings: the same cause is the same finding, floods are counted, lineage and workload are added.
#include <gmock/gmock.h>

#include <algorithm>

#include "agent/detect/engine.h"
#include "agent/detect/expected.h"
#include "agent/detect/fold.h"
#include "agent/detect/lineage.h"

namespace moat::detect {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kMs = 1'000'000, kSecond = 1000 * kMs;

class FoldTest : public testing::Test {
 protected:
  void Raise(const std::string& cause, uint64_t now_ns, event::Severity severity = event::Severity::kMedium,
             const std::string& place = "pod/a") {
    fold_.Raise({.kind = event::FindingKind::kCanaryTouched,
                 .severity = severity,
                 .cause = cause,
                 .title = "title at " + std::to_string(now_ns / kMs),
                 .evidence = {"seen at " + std::to_string(now_ns / kMs)}},
                {.place = place}, now_ns, now_ns);
  }
  config::Detect config_{.fold_ms = 1000, .fold_max_ms = 8000, .max_open = 200, .expected = {}};
  std::vector<event::FindingPtr> told_;
  Fold fold_{config_, "run", [this](event::FindingPtr finding) { told_.push_back(std::move(finding)); }};
};

TEST_F(FoldTest, TheFirstIsToldAtOnceAndTheRestEverMoreRarelyWithExactCounts) {
  for (uint64_t ms = 0; ms < 100'000; ms += 10) {
    Raise("x", kSecond + ms * kMs);
    fold_.OnTime(kSecond + ms * kMs);
  }
  fold_.OnTime(200 * kSecond, /*all=*/true);
  ASSERT_FALSE(told_.empty());
  EXPECT_EQ(told_.front()->count, 1u);
  EXPECT_EQ(told_.back()->count, 10'000u) << "to the last one";
  EXPECT_LT(told_.size(), 20u) << "1, 2, 4, then every 8 seconds";
  for (size_t i = 0; i < told_.size(); ++i) {
    EXPECT_EQ(told_[i]->id, told_[0]->id);
    EXPECT_EQ(told_[i]->revision, i + 1);
  }
  EXPECT_EQ(told_[0]->id.size(), 32u);
  EXPECT_EQ(told_.back()->evidence.size(), event::kMaxEvidence);
  EXPECT_EQ(told_.back()->evidence.front(), "seen at 1000") << "the first ones stay";
  EXPECT_EQ(told_.back()->evidence.back(), "seen at 100990");
  EXPECT_EQ(told_.back()->omitted, 10'000u - event::kMaxEvidence);
  EXPECT_EQ(fold_.stats().raised, 10'000u);
  EXPECT_EQ(fold_.stats().told, told_.size());
}

TEST_F(FoldTest, WhatGrowsWorseIsToldAtOnce) {
  Raise("x", kSecond, event::Severity::kLow);
  Raise("x", kSecond + 1, event::Severity::kLow);
  EXPECT_EQ(told_.size(), 1u);
  Raise("x", kSecond + 2, event::Severity::kHigh);
  ASSERT_EQ(told_.size(), 2u);
  EXPECT_EQ(told_[1]->severity, event::Severity::kHigh);
  Raise("x", kSecond + 3, event::Severity::kLow);
  fold_.OnTime(10 * kSecond);
  ASSERT_EQ(told_.size(), 3u);
  EXPECT_EQ(told_[2]->severity, event::Severity::kHigh) << "the highest so far";
  EXPECT_EQ(told_[2]->count, 4u);
}

TEST_F(FoldTest, CauseAndWorkloadMakeTheDifference) {
  Raise("x", kSecond);
  Raise("y", kSecond);
  Raise("x", kSecond, event::Severity::kMedium, "pod/b");
  ASSERT_EQ(told_.size(), 3u);
  EXPECT_NE(told_[0]->id, told_[1]->id);
  EXPECT_NE(told_[0]->id, told_[2]->id);
}

TEST_F(FoldTest, WhoMakesCausesUpIsToldAsOneBeyondAHundred) {
  for (int i = 0; i < 1000; ++i) {
    Raise("cause " + std::to_string(i), kSecond);
  }
  fold_.OnTime(10 * kSecond, true);
  EXPECT_EQ(fold_.stats().crowded, 900u);
  EXPECT_EQ(told_.back()->count, 900u);
  EXPECT_THAT(told_.back()->title, HasSubstr("more of the same kind"));
  EXPECT_LT(told_.size(), 105u);
  Raise("another's", kSecond, event::Severity::kMedium, "pod/b");
  EXPECT_EQ(told_.back()->count, 1u) << "others are not crowded out";
}

TEST_F(FoldTest, TheOneSeenLongestAgoGivesWayAndItsLastCountIsTold) {
  for (int i = 0; i < 200; ++i) {
    Raise("x", kSecond + 1, event::Severity::kMedium, "pod/" + std::to_string(i));
  }
  Raise("x", kSecond + 2, event::Severity::kMedium, "pod/0");  // not told yet, and seen last
  Raise("x", kSecond + 2, event::Severity::kMedium, "pod/1");
  told_.clear();
  for (int i = 0; i < 200; ++i) {
    Raise("x", kSecond + 3, event::Severity::kMedium, "pod/new" + std::to_string(i));
  }
  EXPECT_EQ(fold_.stats().closed, 200u);
  EXPECT_EQ(std::ranges::count_if(told_, [](const event::FindingPtr& one) { return one->count == 2; }), 2);
  fold_.OnTime(100 * kSecond, true);
  EXPECT_EQ(fold_.stats().open, 200u);
}

event::Event Made(event::Kind kind, event::ProcessKey who, event::Body body = {}) {
  event::Event made;
  made.header.kind = kind;
  made.header.process = who;
  made.header.time_ns = kSecond;
  made.body = std::move(body);
  return made;
}

std::shared_ptr<const event::Process> Image(event::ProcessKey key, event::ProcessKey parent, std::string exe) {
  auto process = std::make_shared<event::Process>();
  process->key = key;
  process->parent = parent;
  process->exe = std::move(exe);
  process->cgroup = "/pods/a";
  return process;
}

TEST(LineageTest, ChildrenAreTheirParentsUntilTheyExecAndTheDeadAreKnownForAMinute) {
  Lineage lineage;
  const event::ProcessKey one{1, 10}, two{2, 20};
  const auto shell = Image(one, {}, "/bin/sh");
  auto scan = Made(event::Kind::kScan, one, event::Exec{shell});
  lineage.Apply(scan);
  auto fork = Made(event::Kind::kFork, one, event::Fork{two});
  fork.header.info = shell;
  lineage.Apply(fork);
  ASSERT_NE(lineage.Find(two), nullptr);
  EXPECT_EQ(lineage.Find(two)->exe, "/bin/sh");
  EXPECT_EQ(lineage.Find(two)->parent, one);
  lineage.Apply(Made(event::Kind::kExec, two, event::Exec{Image(two, one, "/bin/cat")}));
  const auto chain = lineage.Of(two, 16);
  ASSERT_EQ(chain.size(), 2u);
  EXPECT_EQ(chain[0]->exe, "/bin/cat");
  EXPECT_EQ(chain[1]->exe, "/bin/sh");
  EXPECT_EQ(lineage.Of(two, 1).size(), 1u);
  lineage.Apply(Made(event::Kind::kExit, two));
  EXPECT_NE(lineage.Find(two), nullptr);
  auto later = Made(event::Kind::kExit, one);
  later.header.time_ns = 100 * kSecond;
  lineage.Apply(later);
  EXPECT_EQ(lineage.Find(two), nullptr);
}

TEST(LineageTest, IsBoundedAndALoopOfParentsEnds) {
  Lineage lineage(100);
  for (uint32_t i = 1; i <= 1000; ++i) {
    lineage.Apply(Made(event::Kind::kScan, {i, i}, event::Exec{Image({i, i}, {i, i}, "/x")}));
  }
  EXPECT_LE(lineage.size(), 100u);
  EXPECT_EQ(lineage.evicted(), 900u);
  EXPECT_LE(lineage.Of({1000, 1000}, 16).size(), 1u);
}

class NoWorld : public World {
 public:
  std::shared_ptr<const event::Workload> Whose(const std::string& cgroup) override {
    auto workload = std::make_shared<event::Workload>();
    workload->cgroup = cgroup;
    workload->pod_uid = "u";
    workload->pod_namespace = "prod";
    workload->pod_name = "vllm-0";
    return workload;
  }
  Declared MayRead(const event::Process&, std::string_view asset) override {
    return asset == "allowed" ? Declared::kAllowed : Declared::kNothing;
  }
  Declared MayWrite(const event::Process&, std::string_view) override { return Declared::kNothing; }
  Declared MaySend(const event::Process&, const std::vector<std::string_view>&, const event::Endpoints&) override {
    return Declared::kNothing;
  }
  Declared MayUseGpu(const event::Process&) override { return Declared::kNothing; }
};

class Every final : public Detector {
 public:
  const char* name() const override { return "every"; }
  uint32_t kinds() const override { return Wants(event::Kind::kFileOpen); }
  void OnEvent(const event::Event& event, const Scene&, Raise& raise) override {
    raise({.kind = event::FindingKind::kCanaryTouched,
           .cause = "x",
           .process = event.header.process,
           .title = "t",
           .assets = {"llama"}});
  }
};

class HoldsBack final : public Detector {
 public:
  const char* name() const override { return "holds_back"; }
  uint32_t kinds() const override { return Wants(event::Kind::kFileOpen); }
  void OnEvent(const event::Event&, const Scene&, Raise&) override { ++held_; }
  void OnEnd(const Scene&, Raise& raise) override {
    raise({.kind = event::FindingKind::kPolicyDenial, .cause = "x", .title = "t", .times = held_});
  }
  uint64_t forgotten() const override { return 7; }

 private:
  uint64_t held_ = 0;
};

TEST(EngineTest, WhatIsHeldBackIsToldAtTheEndAndWhatIsForgottenIsCounted) {
  NoWorld world;
  std::vector<std::unique_ptr<Detector>> detectors;
  detectors.push_back(std::make_unique<HoldsBack>());
  const auto engine = Engine::Create({}, std::move(detectors), world, "run");
  auto batch = std::make_shared<event::Batch>();
  for (int i = 0; i < 3; ++i) {
    batch->events.push_back(Made(event::Kind::kFileOpen, {2, 20}, event::FileOpen{}));
  }
  engine->OnBatch(batch);
  std::vector<event::Event> made;
  engine->Take(made);
  EXPECT_THAT(made, IsEmpty());
  engine->OnEnd(2 * kSecond);
  engine->Take(made);
  ASSERT_EQ(made.size(), 1u);
  EXPECT_EQ(std::get<event::FindingPtr>(made[0].body)->count, 3u);
  EXPECT_EQ(engine->stats().forgotten, 7u);
}

TEST(EngineTest, AddsWhoAndWhoseAndMakesEventsOfItsOwn) {
  NoWorld world;
  std::vector<std::unique_ptr<Detector>> detectors;
  detectors.push_back(std::make_unique<Every>());
  const auto engine = Engine::Create({}, std::move(detectors), world, "run");
  auto names = std::make_shared<event::Names>();
  names->assets = {{"other", "weights", 1}, {"llama", "weights", 1}};
  auto batch = std::make_shared<event::Batch>();
  batch->names = names;
  const event::ProcessKey parent{1, 10}, who{2, 20};
  batch->events.push_back(Made(event::Kind::kScan, parent, event::Exec{Image(parent, {}, "/bin/sh")}));
  batch->events.push_back(Made(event::Kind::kExec, who, event::Exec{Image(who, parent, "/bin/cat")}));
  batch->events.push_back(Made(event::Kind::kFileOpen, who, event::FileOpen{}));
  batch->events.back().header.info = Image(who, parent, "/bin/cat");
  batch->events.push_back(Made(event::Kind::kFileMap, who, event::FileMap{}));  // nobody wants it
  engine->OnBatch(batch);
  std::vector<event::Event> made;
  engine->Take(made);
  ASSERT_EQ(made.size(), 1u);
  EXPECT_EQ(made[0].header.kind, event::Kind::kFinding);
  EXPECT_EQ(made[0].header.process, who);
  EXPECT_EQ(made[0].header.labels, 2u) << "of the asset that it is about";
  ASSERT_NE(made[0].header.info, nullptr);
  EXPECT_EQ(made[0].header.info->exe, "/bin/cat");
  const auto& finding = *std::get<event::FindingPtr>(made[0].body);
  EXPECT_EQ(finding.workload->pod_name, "vllm-0");
  ASSERT_EQ(finding.lineage.size(), 2u);
  EXPECT_EQ(finding.lineage[1].exe, "/bin/sh");
  made.clear();
  engine->Take(made);
  EXPECT_THAT(made, IsEmpty()) << "each once";
  engine->OnBatch(batch);
  engine->Take(made);
  EXPECT_THAT(made, IsEmpty()) << "an update rests";
  engine->OnEnd(2 * kSecond);
  engine->Take(made);
  ASSERT_EQ(made.size(), 1u) << "but is not forgotten";
  EXPECT_EQ(std::get<event::FindingPtr>(made[0].body)->count, 2u);
  EXPECT_EQ(engine->stats().told, 2u);
}

TEST(EngineTest, WhatIsExpectedOfAWorkloadIsNoFindingAndIsCounted) {
  NoWorld world;
  const auto told = [&](config::Expected expected) {
    std::vector<std::unique_ptr<Detector>> detectors;
    detectors.push_back(std::make_unique<Every>());
    config::Detect config;
    config.expected.push_back(std::move(expected));
    const auto engine = Engine::Create(config, std::move(detectors), world, "run");
    auto batch = std::make_shared<event::Batch>();
    for (int i = 0; i < 3; ++i) {
      batch->events.push_back(Made(event::Kind::kFileOpen, {2, 20}, event::FileOpen{}));
      batch->events.back().header.info = Image({2, 20}, {1, 10}, "/bin/cat");
    }
    engine->OnBatch(batch);
    std::vector<event::Event> made;
    engine->Take(made);
    engine->OnEnd(2 * kSecond);
    return std::pair(made.size(), engine->stats().expected);
  };
  using Pair = std::pair<size_t, uint64_t>;
  EXPECT_EQ(told({.kinds = {"canary-touched"}, .pods = {"prod/vllm-*"}, .units = {}, .containers = {}, .reason = "x"}),
            Pair(0, 3));
  EXPECT_EQ(told({.kinds = {"fileless-exec"}, .pods = {"prod/vllm-*"}, .units = {}, .containers = {}, .reason = "x"}),
            Pair(1, 0));
  EXPECT_EQ(told({.kinds = {"canary-touched"}, .pods = {"dev/vllm-*"}, .units = {}, .containers = {}, .reason = "x"}),
            Pair(1, 0));
}

// Whose runtime answers later.
class LateWorld final : public NoWorld {
 public:
  bool known = false;
  std::string name = "vllm-0";
  std::shared_ptr<const event::Workload> Whose(const std::string&) override {
    auto workload = std::make_shared<event::Workload>();
    workload->pod_uid = "u";
    workload->known = known;
    workload->pod_namespace = known ? "prod" : "";
    workload->pod_name = known ? name : "";
    return workload;
  }
};

TEST(EngineTest, WhatMayBeExpectedWaitsUntilItIsKnownWhoseItIs) {
  for (const int becomes : {0, 1, 2}) {  // what is expected, something else, nothing
    LateWorld world;
    std::vector<std::unique_ptr<Detector>> detectors;
    detectors.push_back(std::make_unique<Every>());
    config::Detect config;
    config.expected.push_back(
        {.kinds = {"canary-touched"}, .pods = {"prod/vllm-*"}, .units = {}, .containers = {}, .reason = "x"});
    const auto engine = Engine::Create(config, std::move(detectors), world, "run");
    auto batch = std::make_shared<event::Batch>();
    batch->events.push_back(Made(event::Kind::kFileOpen, {2, 20}, event::FileOpen{}));
    auto image = std::make_shared<event::Process>(*Image({2, 20}, {1, 10}, "/bin/cat"));
    image->cgroup = "/pod";
    batch->events.back().header.info = image;
    batch->events.back().header.time_ns = kSecond;
    engine->OnBatch(batch);
    std::vector<event::Event> made;
    engine->OnTime(2 * kSecond);
    engine->Take(made);
    EXPECT_THAT(made, IsEmpty()) << "it waits";
    world.known = becomes < 2;
    world.name = becomes == 0 ? "vllm-0" : "notebook-0";
    engine->OnTime(2 * kSecond + 1);
    engine->Take(made);
    EXPECT_EQ(made.size(), becomes == 1 ? 1u : 0u);
    engine->OnTime(4 * kSecond);
    engine->Take(made);
    ASSERT_EQ(made.size(), becomes == 0 ? 0u : 1u) << "and no longer than two seconds";
    EXPECT_EQ(engine->stats().expected, becomes == 0 ? 1u : 0u);
    if (becomes == 1) {
      EXPECT_EQ(std::get<event::FindingPtr>(made[0].body)->workload->pod_name, "notebook-0");
    }
  }
}

TEST(ExpectationsTest, AWorkloadIsWhatItIsAndNothingElse) {
  using Says = Expectations::Says;
  const auto kind = event::FindingKind::kNamespaceEscape;
  const Expectations expectations({{.kinds = {"namespace-escape"},
                                    .pods = {"kube-system/*", "gpu/driver-*"},
                                    .units = {"docker.service", "slurm*", "csi-nfs\\x2dnode.service"},
                                    .containers = {"buildkit"},
                                    .reason = "x"}});
  const auto pod = [](const char* space, const char* name, const char* id = "") {
    event::Workload workload;
    workload.pod_uid = "u";
    workload.pod_namespace = space;
    workload.pod_name = name;
    workload.container_id = id;
    workload.container_name = "buildkit";  // of docker's only
    workload.unit = "docker.service";      // what its path says
    return workload;
  };
  const auto expected = [&](const event::Workload& workload) { return expectations.Of(kind, &workload) == Says::kExpected; };
  EXPECT_TRUE(expected(pod("kube-system", "calico-1")));
  EXPECT_TRUE(expected(pod("kube-system", "calico-1", "c0")));
  EXPECT_TRUE(expected(pod("gpu", "driver-1")));
  EXPECT_FALSE(expected(pod("gpu", "device-plugin-1")));
  EXPECT_FALSE(expected(pod("kube-system2", "calico-1")));
  EXPECT_FALSE(expected(pod("", ""))) << "no runtime has told of it yet";
  EXPECT_FALSE(expected(pod("kube-system", "")));
  EXPECT_EQ(expectations.Of(kind, nullptr), Says::kNothing);
  const event::Workload calico = pod("kube-system", "calico-1");
  EXPECT_EQ(expectations.Of(event::FindingKind::kReverseShell, &calico), Says::kNothing);
  event::Workload other;
  EXPECT_FALSE(expected(other));
  other.unit = "docker.service";
  EXPECT_TRUE(expected(other));
  other.container_id = "c0";
  EXPECT_FALSE(expected(other)) << "a container below docker's unit is not docker";
  other.container_name = "buildkit";
  EXPECT_TRUE(expected(other));
  EXPECT_EQ(Expectations({}).Of(kind, &other), Says::kNothing);
  event::Workload job;
  job.slurm_job = "7";
  job.unit = "slurmstepd.scope";
  EXPECT_FALSE(expected(job)) << "what users run is not slurmd";
  event::Workload escaped;
  escaped.unit = "csi-nfs\\x2dnode.service";
  EXPECT_TRUE(expected(escaped)) << "a backslash is one";
  event::Workload fresh = pod("", "");
  fresh.known = false;
  EXPECT_EQ(expectations.Of(kind, &fresh), Says::kAskAgain);
  EXPECT_EQ(expectations.Of(event::FindingKind::kReverseShell, &fresh), Says::kNothing);
}

TEST(EngineTest, WhatTheAgentAndItsChildrenDoRaisesNothing) {
  NoWorld world;
  const event::ProcessKey agent{7, 70}, child{8, 80}, grandchild{9, 90}, other{17, 70};
  const auto told = [&](uint32_t agent_pid, const event::ProcessKey& who, const event::ProcessKey& parent) {
    std::vector<std::unique_ptr<Detector>> detectors;
    detectors.push_back(std::make_unique<Every>());
    const auto engine = Engine::Create({}, std::move(detectors), world, "run", agent_pid);
    auto batch = std::make_shared<event::Batch>();
    batch->events.push_back(Made(event::Kind::kFileOpen, who, event::FileOpen{}));
    batch->events.back().header.info = Image(who, parent, "/bin/cat");
    engine->OnBatch(batch);
    std::vector<event::Event> made;
    engine->Take(made);
    return made.size();
  };
  EXPECT_EQ(told(7, agent, {1, 10}), 0u);
  EXPECT_EQ(told(7, child, agent), 0u);
  EXPECT_EQ(told(7, grandchild, child), 1u) << "no further";
  EXPECT_EQ(told(7, other, {1, 10}), 1u);
  EXPECT_EQ(told(0, agent, {1, 10}), 1u) << "its number is not known";
  EXPECT_EQ(told(0, child, {}), 1u) << "and nobody's is 0";
}

TEST(EngineTest, AStateIsRaisedWhenItBeginsAndWhenItBeginsAgain) {
  NoWorld world;
  const auto engine = Engine::Create({.fold_ms = 1, .expected = {}}, {}, world, "run");
  const auto post = [&](bool so, uint64_t now_ns) {
    std::vector<Draft> states;
    if (so) {
      states.push_back({.kind = event::FindingKind::kAgentDegraded, .cause = "hook", .title = "t"});
    }
    engine->Post(std::move(states));
    engine->OnTime(now_ns);
    std::vector<event::Event> made;
    engine->Take(made);
    return made.size();
  };
  EXPECT_EQ(post(false, 1 * kSecond), 0u);
  EXPECT_EQ(post(true, 2 * kSecond), 1u);
  EXPECT_EQ(post(true, 3 * kSecond), 0u) << "it goes on";
  EXPECT_EQ(post(false, 4 * kSecond), 0u);
  EXPECT_EQ(post(true, 5 * kSecond), 1u);
}

TEST(EngineTest, WhatHappensTwiceIsRaisedTwiceHoweverAlike) {
  NoWorld world;
  const auto engine = Engine::Create({.fold_ms = 1, .expected = {}}, {}, world, "run");
  for (uint64_t second = 1; second <= 3; ++second) {
    engine->Post({}, {{.kind = event::FindingKind::kAgentTampering, .cause = "detached", .title = "t"}});
    engine->OnTime(second * kSecond);
    std::vector<event::Event> made;
    engine->Take(made);
    ASSERT_EQ(made.size(), 1u) << second;
    EXPECT_EQ(std::get<event::FindingPtr>(made[0].body)->count, second);
  }
}

}  // namespace
}  // namespace moat::detect
