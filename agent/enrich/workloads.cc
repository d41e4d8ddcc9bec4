// SPDX-License-Identifier: Apache-2.0
#include "agent/enrich/workloads.h"

#include <algorithm>
#include <list>
#include <mutex>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "agent/base/clock.h"
#include "agent/enrich/workload_asker.h"
#include "agent/enrich/workload_path.h"

namespace moat::enrich {

namespace {

constexpr uint64_t kFirstWaitNs = 50'000'000;
constexpr uint64_t kLongWaitNs = 1'000'000'000;
constexpr uint64_t kLongestWaitNs = 30'000'000'000;
constexpr uint32_t kQuickTries = 300;  // five minutes: whoever does not know it by then will hardly ever

uint64_t WaitNs(Teller teller, uint32_t tries) {
  const bool seldom = teller == Teller::kSlurm || tries >= kQuickTries;
  return std::min(kFirstWaitNs << std::min(tries, 20u), seldom ? kLongestWaitNs : kLongWaitNs);
}

class WorkloadsImpl final : public Workloads {
 public:
  WorkloadsImpl(WorkloadOptions options, std::function<void()> news)
      : options_(std::move(options)), news_(std::move(news)), asker_(options_), sources_(asker_.Sources()) {}

  event::Workload Resolve(std::string_view cgroup_path) override {
    WorkloadPath path = ReadWorkloadPath(cgroup_path);
    if (path.root.empty() || !asker_.CanAsk(path.teller)) {
      return std::move(path.told);
    }
    event::Workload workload;
    bool fresh = false;
    {
      const std::lock_guard lock(mutex_);
      fresh = !kept_.contains(path.root);
      workload = KeptOf(path).workload;
    }
    workload.cgroup = std::move(path.told.cgroup);
    if (fresh && news_) {
      news_();
    }
    return workload;
  }

  bool Refresh(uint64_t now_ns) override {
    const uint64_t end_ns = MonotonicNs() + options_.refresh_ms * 1'000'000;
    std::vector<std::string> roots;
    std::vector<Question> questions = TakeDue(now_ns, roots);
    if (questions.empty()) {
      return false;
    }
    asker_.Ask(questions, end_ns);
    const std::lock_guard lock(mutex_);
    sources_ = asker_.Sources();
    bool news = false;
    for (size_t i = 0; i < questions.size(); ++i) {
      // It may be gone by now.
      if (const auto found = kept_.find(roots[i]); found != kept_.end()) {
        news |= Learn(found->second, questions[i], now_ns);
      }
    }
    return news;
  }

  uint64_t next_refresh_ns() const override {
    const std::lock_guard lock(mutex_);
    uint64_t next = UINT64_MAX;
    for (const Kept* kept : asked_) {
      next = std::min(next, kept->next_ns);
    }
    return next;
  }

  bool all_asked() const override {
    const std::lock_guard lock(mutex_);
    return std::ranges::none_of(asked_, [](const Kept* kept) { return !kept->workload.known && kept->tries == 0; });
  }

  void AskAgain() override {
    const std::lock_guard lock(mutex_);
    for (auto& [root, kept] : kept_) {
      if (kept.workload.known && kept.teller != Teller::kSlurm) {
        kept.next_ns = 0;
        asked_.insert(&kept);
      }
    }
  }

  void Forget(std::string_view cgroup_path) override {
    const std::lock_guard lock(mutex_);
    Erase(kept_.find(std::string(cgroup_path)));
  }

  size_t Prune(const std::function<bool(const std::string& cgroup_path)>& exists) override {
    std::vector<std::string> roots;
    {
      const std::lock_guard lock(mutex_);
      roots.assign(by_use_.begin(), by_use_.end());
    }
    std::erase_if(roots, exists);
    const std::lock_guard lock(mutex_);
    const size_t before = kept_.size();
    for (const std::string& root : roots) {
      Erase(kept_.find(root));
    }
    return before - kept_.size();
  }

  std::vector<event::Workload> List() const override {
    std::vector<event::Workload> list;
    {
      const std::lock_guard lock(mutex_);
      list.reserve(kept_.size());
      for (const auto& [root, kept] : kept_) {
        list.push_back(kept.workload);
        list.back().cgroup = root;
      }
    }
    std::ranges::sort(list, {}, &event::Workload::cgroup);
    return list;
  }

  void Check() override {
    asker_.Check();
    const std::lock_guard lock(mutex_);
    sources_ = asker_.Sources();
  }
  std::vector<WorkloadSource> Sources() const override {
    const std::lock_guard lock(mutex_);
    return sources_;
  }
  size_t kept() const override {
    const std::lock_guard lock(mutex_);
    return kept_.size();
  }

 private:
  struct Kept {  // a pod, a container or a job
    event::Workload workload{};  // without cgroup
    Teller teller = Teller::kNone;
    std::list<std::string>::iterator use{};  // where its root stands
    uint64_t next_ns = 0;                    // of what is to be asked: when it is due
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
    asked_.insert(&kept);
    return kept;
  }

  // A runtime tells of all pods in one answer, so when one is due, those that wait are asked about with it.
  std::vector<Question> TakeDue(uint64_t now_ns, std::vector<std::string>& roots) const {
    const std::lock_guard lock(mutex_);
    const bool cri = std::ranges::any_of(
        asked_, [now_ns](const Kept* kept) { return kept->teller == Teller::kCri && kept->next_ns <= now_ns; });
    std::vector<Question> questions;
    for (const Kept* kept : asked_) {
      if (kept->next_ns <= now_ns || (cri && kept->teller == Teller::kCri)) {
        questions.push_back({kept->teller, kept->workload});
        roots.push_back(*kept->use);
      }
    }
    return questions;
  }

  // True: it is known now, or other than before.
  bool Learn(Kept& kept, Question& question, uint64_t now_ns) {
    if (question.answer == Question::Answer::kNotAsked) {
      return false;
    }
    if (question.answer == Question::Answer::kKnown) {
      const bool news = kept.workload != question.workload;
      kept.workload = std::move(question.workload);
      kept.tries = 0;
      asked_.erase(&kept);
      return news;
    }
    // Known already, and its runtime away or forgetful: while its cgroup is there it is whose it was.
    if (kept.workload.known) {
      asked_.erase(&kept);
      return false;
    }
    kept.next_ns = now_ns + WaitNs(kept.teller, kept.tries);
    ++kept.tries;
    return false;
  }

  void Erase(KeptByRoot::iterator at) {
    if (at != kept_.end()) {
      asked_.erase(&at->second);
      by_use_.erase(at->second.use);
      kept_.erase(at);
    }
  }

  const WorkloadOptions options_;
  const std::function<void()> news_;
  WorkloadAsker asker_;  // of the thread of Refresh and Check, but for CanAsk

  mutable std::mutex mutex_;  // of what follows; never held while a runtime is asked
  std::vector<WorkloadSource> sources_;
  KeptByRoot kept_;
  std::unordered_set<Kept*> asked_;  // of these: what is not known, or to be asked again
  std::list<std::string> by_use_;    // roots, the one longest not resolved first
};

}  // namespace

std::unique_ptr<Workloads> Workloads::Create(WorkloadOptions options, std::function<void()> news) {
  return std::make_unique<WorkloadsImpl>(std::move(options), std::move(news));
}

}  // namespace moat::enrich
