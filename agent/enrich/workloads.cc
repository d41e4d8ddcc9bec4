// SPDX-License-Identifier: Apache-2.0
#include "agent/enrich/workloads.h"

#include <algorithm>
#include <iterator>
#include <list>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "agent/base/clock.h"
#include "agent/enrich/workload_asker.h"
#include "agent/enrich/workload_path.h"

namespace moat::enrich {

namespace {

constexpr uint64_t kFirstWaitNs = 25'000'000;
constexpr uint64_t kLongestWaitNs = 30'000'000'000;
constexpr uint32_t kMostTries = 20;  // with these waits: five minutes

class WorkloadsImpl final : public Workloads {
 public:
  explicit WorkloadsImpl(WorkloadOptions options) : options_(std::move(options)), asker_(options_) {}

  event::Workload Resolve(std::string_view cgroup_path) override {
    WorkloadPath path = ReadWorkloadPath(cgroup_path);
    if (path.root.empty() || !asker_.CanAsk(path.teller)) {
      return std::move(path.told);
    }
    event::Workload workload = KeptOf(path).workload;
    workload.cgroup = std::move(path.told.cgroup);
    return workload;
  }

  bool Refresh(uint64_t now_ns) override {
    const uint64_t end_ns = MonotonicNs() + options_.refresh_ms * 1'000'000;
    std::vector<Kept*> due;
    std::vector<Question> questions;
    for (Kept* kept : unknown_) {
      if (kept->next_ns <= now_ns) {
        due.push_back(kept);
        questions.push_back({kept->teller, kept->workload});
      }
    }
    if (due.empty()) {
      return false;
    }
    asker_.Ask(questions, end_ns);
    bool news = false;
    for (size_t i = 0; i < due.size(); ++i) {
      news |= Learn(*due[i], questions[i], now_ns);
    }
    return news;
  }

  uint64_t next_refresh_ns() const override {
    uint64_t next = UINT64_MAX;
    for (const Kept* kept : unknown_) {
      next = std::min(next, kept->next_ns);
    }
    return next;
  }

  void Forget(std::string_view cgroup_path) override { Erase(kept_.find(std::string(cgroup_path))); }

  size_t Prune(const std::function<bool(const std::string& cgroup_path)>& exists) override {
    const size_t before = kept_.size();
    for (auto it = kept_.begin(); it != kept_.end();) {
      const auto next = std::next(it);
      if (!exists(it->first)) {
        Erase(it);
      }
      it = next;
    }
    return before - kept_.size();
  }

  void Check() override { asker_.Check(); }
  std::vector<WorkloadSource> Sources() const override { return asker_.Sources(); }
  size_t kept() const override { return kept_.size(); }

 private:
  struct Kept {  // a pod, a container or a job
    event::Workload workload{};  // without cgroup
    Teller teller = Teller::kNone;
    std::list<std::string>::iterator use{};  // where its root stands
    uint64_t next_ns = 0;                    // of what is not known: when it is due
    uint32_t tries = 0;
  };
  using KeptByRoot = std::unordered_map<std::string, Kept>;  // its values stay where they are

  Kept& KeptOf(const WorkloadPath& path) {
    if (const auto found = kept_.find(path.root); found != kept_.end()) {
      by_use_.splice(by_use_.end(), by_use_, found->second.use);
      return found->second;
    }
    if (kept_.size() >= options_.max_kept && !by_use_.empty()) {
      Erase(kept_.find(by_use_.front()));
    }
    Kept& kept = kept_[path.root];
    kept.workload = path.told;
    kept.workload.cgroup.clear();
    kept.teller = path.teller;
    kept.use = by_use_.insert(by_use_.end(), path.root);
    unknown_.insert(&kept);
    return kept;
  }

  // True: it is known now.
  bool Learn(Kept& kept, Question& question, uint64_t now_ns) {
    if (question.answer == Question::Answer::kKnown) {
      kept.workload = std::move(question.workload);
      unknown_.erase(&kept);
      return true;
    }
    if (question.answer == Question::Answer::kNotAsked) {
      return false;
    }
    kept.next_ns = now_ns + std::min(kFirstWaitNs << std::min(kept.tries, 20u), kLongestWaitNs);
    ++kept.tries;
    // Only a runtime that answers can say that there is none. One that is away may come back.
    if (kept.tries >= kMostTries && question.answer == Question::Answer::kUnknown) {
      Erase(kept_.find(*kept.use));
    }
    return false;
  }

  void Erase(KeptByRoot::iterator at) {
    if (at != kept_.end()) {
      unknown_.erase(&at->second);
      by_use_.erase(at->second.use);
      kept_.erase(at);
    }
  }

  const WorkloadOptions options_;
  WorkloadAsker asker_;
  KeptByRoot kept_;
  std::unordered_set<Kept*> unknown_;  // of these
  std::list<std::string> by_use_;      // roots, the one longest not resolved first
};

}  // namespace

std::unique_ptr<Workloads> Workloads::Create(WorkloadOptions options) {
  return std::make_unique<WorkloadsImpl>(std::move(options));
}

}  // namespace moat::enrich
