// SPDX-License-Identifier: Apache-2.0
#include "agent/detect/engine.h"

#include <algorithm>
#include <array>
#include <deque>
#include <iterator>
#include <mutex>
#include <set>
#include <utility>

#include "agent/base/clock.h"
#include "agent/detect/expected.h"
#include "agent/detect/lineage.h"

namespace moat::detect {
namespace {

// What may be expected of a workload that is not known yet waits so long, and so many do.
constexpr uint64_t kHoldNs = 2'000'000'000;
constexpr size_t kMostHeld = 256;

// What makes two workloads the same, also after one was started anew.
std::string PlaceOf(const event::Workload* workload, const std::string& cgroup) {
  if (workload == nullptr) {
    return cgroup;
  }
  if (!workload->pod_name.empty()) {
    return "pod/" + workload->pod_namespace + "/" + workload->pod_name + "/" + workload->pod_container;
  }
  if (!workload->slurm_job.empty()) {
    return "job/" + workload->slurm_job;
  }
  if (!workload->container_id.empty()) {
    return "container/" + (workload->container_name.empty() ? workload->container_id : workload->container_name);
  }
  return workload->unit.empty() ? cgroup : "unit/" + workload->unit;
}

event::FindingProcess Shown(const event::Process& process) {
  event::FindingProcess shown{.key = process.key, .uid = process.uid, .exe = process.exe};
  size_t room = event::kMaxFindingText;
  for (const std::string& arg : process.args) {
    if (shown.args.size() == event::kMaxFindingArgs || arg.size() > room) {
      shown.args.emplace_back("...");
      break;
    }
    room -= arg.size();
    shown.args.push_back(arg);
  }
  return shown;
}

class EngineImpl final : public Engine, Scene, Raise {
 public:
  EngineImpl(const config::Detect& config, std::vector<std::unique_ptr<Detector>> detectors, World& world, std::string run,
             uint32_t agent_pid)
      : detectors_(std::move(detectors)),
        world_(world),
        agent_pid_(agent_pid),
        expectations_(config.expected),
        fold_(config, std::move(run), [this](event::FindingPtr finding) { Made(std::move(finding)); }) {
    for (const auto& detector : detectors_) {
      for (size_t kind = 0; kind < by_kind_.size(); ++kind) {
        if ((detector->kinds() >> kind & 1) != 0) {
          by_kind_[kind].push_back(detector.get());
        }
      }
    }
  }

  void OnBatch(const event::BatchPtr& batch) override {
    names_ = batch->names.get();
    keep_ = batch;
    for (const event::Event& event : batch->events) {
      lineage_.Apply(event);
      if (OfAgent(event.header)) {
        continue;
      }
      now_ns_ = event.header.time_ns;
      header_ = &event.header;
      for (Detector* detector : by_kind_[static_cast<size_t>(event.header.kind)]) {
        detector->OnEvent(event, *this, *this);
      }
    }
    header_ = nullptr;
  }

  void OnTime(uint64_t now_ns) override {
    now_ns_ = now_ns;
    clock_.Refresh();
    for (const auto& detector : detectors_) {
      detector->OnTime(*this, *this);
    }
    std::vector<Draft> posted;
    {
      const std::lock_guard lock(mutex_);
      posted.swap(posted_);
    }
    for (Draft& draft : posted) {
      (*this)(std::move(draft));
    }
    SettleHeld(/*all=*/false);
    fold_.OnTime(now_ns);
    Publish();
  }

  void OnEnd(uint64_t now_ns) override {
    now_ns_ = now_ns;
    for (const auto& detector : detectors_) {
      detector->OnEnd(*this, *this);
    }
    SettleHeld(/*all=*/true);
    fold_.OnTime(now_ns, /*all=*/true);
    Publish();
  }

  void Take(std::vector<event::Event>& to) override {
    for (event::Event& event : made_) {
      to.push_back(std::move(event));
    }
    made_.clear();
  }

  // What was not posted the last time is news.
  void Post(std::vector<Draft> states, std::vector<Draft> happened) override {
    const std::lock_guard lock(mutex_);
    std::ranges::move(happened, std::back_inserter(posted_));
    std::set<std::string> causes;
    for (Draft& draft : states) {
      causes.insert(draft.cause);
      if (!states_.contains(draft.cause)) {
        posted_.push_back(std::move(draft));
      }
    }
    states_ = std::move(causes);
  }

  FoldStats stats() const override {
    const std::lock_guard lock(mutex_);
    return published_;
  }

 private:
  bool OfAgent(const event::Header& header) const {
    return agent_pid_ != 0 &&
           (header.process.pid == agent_pid_ || (header.info != nullptr && header.info->parent.pid == agent_pid_));
  }

  // ---- Scene ----
  uint64_t now_ns() const override { return now_ns_; }
  const event::Names& names() const override {
    static const event::Names none;
    return names_ != nullptr ? *names_ : none;
  }
  uint32_t agent_pid() const override { return agent_pid_; }
  std::shared_ptr<const event::Process> Find(const event::ProcessKey& key) const override { return lineage_.Find(key); }
  std::shared_ptr<const event::Workload> Whose(const std::string& cgroup) const override { return world_.Whose(cgroup); }
  Declared MayRead(const event::Process& who, uint32_t asset) const override {
    return asset < names().assets.size() ? world_.MayRead(who, names().assets[asset].name) : Declared::kNothing;
  }
  Declared MayWrite(const event::Process& who, uint32_t asset) const override {
    return asset < names().assets.size() ? world_.MayWrite(who, names().assets[asset].name) : Declared::kNothing;
  }
  Declared MaySend(const event::Process& who, uint64_t labels, const event::Endpoints& where) const override {
    std::vector<std::string_view> assets;
    for (size_t i = 0; i < names().assets.size(); ++i) {
      if ((labels >> i & 1) != 0) {
        assets.emplace_back(names().assets[i].name);
      }
    }
    return world_.MaySend(who, assets, where);
  }
  Declared MayUseGpu(const event::Process& who) const override { return world_.MayUseGpu(who); }

  // ---- Raise ----
  void operator()(Draft draft) override {
    Subject subject;
    std::string cgroup;
    std::shared_ptr<const event::Process> who;
    if (draft.process.pid != 0) {
      // What the event came with, else what was seen of it.
      who = header_ != nullptr && header_->process == draft.process ? header_->info : nullptr;
      who = who != nullptr ? who : lineage_.Find(draft.process);
      subject.lineage.push_back(who != nullptr ? Shown(*who) : event::FindingProcess{.key = draft.process});
    }
    if (who != nullptr) {
      cgroup = who->cgroup;
      if (!(who->parent == draft.process)) {
        for (const auto& parent : lineage_.Of(who->parent, event::kMaxLineage - 1)) {
          subject.lineage.push_back(Shown(*parent));
        }
      }
    }
    subject.workload = cgroup.empty() ? nullptr : world_.Whose(cgroup);
    subject.place = PlaceOf(subject.workload.get(), cgroup);
    Held one{std::move(draft), std::move(subject), std::move(cgroup), std::move(who), now_ns_};
    if (!Settled(one, held_.size() < kMostHeld)) {
      held_.push_back(std::move(one));
    }
  }

  // On its way to be told. A container does its worst as it starts, before its runtime has said whose it is.
  struct Held {
    Draft draft;
    Subject subject;
    std::string cgroup;
    std::shared_ptr<const event::Process> who;
    uint64_t since_ns = 0;
  };

  // Tells it, which takes it away, or counts it. False: it is as it was, and may be another thing when its workload is known; not where it may
  // not wait.
  bool Settled(Held& one, bool may_wait) {
    switch (expectations_.Of(one.draft.kind, one.subject.workload.get())) {
      case Expectations::Says::kAskAgain:
        if (may_wait) {
          return false;
        }
        break;
      case Expectations::Says::kExpected: expected_ += one.draft.times; return true;
      case Expectations::Says::kNothing: break;
    }
    raised_ = {one.draft.process, std::move(one.who)};
    fold_.Raise(std::move(one.draft), std::move(one.subject), one.since_ns, clock_.ToUnixNs(one.since_ns));
    raised_ = {};
    return true;
  }

  void SettleHeld(bool all) {
    std::deque<Held> held = std::exchange(held_, {});
    for (Held& one : held) {
      one.subject.workload = world_.Whose(one.cgroup);
      one.subject.place = PlaceOf(one.subject.workload.get(), one.cgroup);
      if (!Settled(one, !all && now_ns_ - one.since_ns < kHoldNs)) {
        held_.push_back(std::move(one));
      }
    }
  }

  // A finding is an event among events: it has the number, the process and the labels by which streams are cut.
  void Made(event::FindingPtr finding) {
    event::Event& event = made_.emplace_back();
    event.header.kind = event::Kind::kFinding;
    event.header.time_ns = clock_.ToMonotonicNs(finding->last_unix_ns);
    if (!finding->lineage.empty()) {
      const event::FindingProcess& first = finding->lineage.front();
      event.header.process = first.key;
      event.header.tid = first.key.pid;
      event.header.uid = first.uid;
      event.header.info = raised_.first == first.key ? raised_.second : lineage_.Find(first.key);
    }
    for (size_t i = 0; i < names().assets.size() && i < event::kMaxAssets; ++i) {
      for (const std::string& asset : finding->assets) {
        event.header.labels |= uint64_t{asset == names().assets[i].name} << i;
      }
    }
    event.body = std::move(finding);
  }

  void Publish() {
    FoldStats stats = fold_.stats();
    stats.expected = expected_;
    stats.forgotten = lineage_.evicted();
    for (const auto& detector : detectors_) {
      stats.forgotten += detector->forgotten();
    }
    const std::lock_guard lock(mutex_);
    published_ = stats;
  }

  const std::vector<std::unique_ptr<Detector>> detectors_;
  World& world_;
  const uint32_t agent_pid_;
  const Expectations expectations_;
  uint64_t expected_ = 0;
  std::deque<Held> held_;
  std::array<std::vector<Detector*>, static_cast<size_t>(event::Kind::kCount)> by_kind_;
  Lineage lineage_;
  WallClock clock_;
  uint64_t now_ns_ = 0;
  event::BatchPtr keep_;  // whose names_ are
  const event::Names* names_ = nullptr;
  const event::Header* header_ = nullptr;  // of the event at hand
  std::pair<event::ProcessKey, std::shared_ptr<const event::Process>> raised_;
  std::vector<event::Event> made_;
  Fold fold_;
  mutable std::mutex mutex_;
  FoldStats published_;
  std::vector<Draft> posted_;
  std::set<std::string> states_;  // causes of the last Post
};

}  // namespace

std::unique_ptr<Engine> Engine::Create(const config::Detect& config, std::vector<std::unique_ptr<Detector>> detectors,
                                       World& world, std::string run, uint32_t agent_pid) {
  return std::make_unique<EngineImpl>(config, std::move(detectors), world, std::move(run), agent_pid);
}

}  // namespace moat::detect
