// SPDX-License-Identifier: Apache-2.0
#include "agent/app/policies.h"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <optional>
#include <unordered_set>
#include <utility>

#include "agent/app/cgroup_rows.h"
#include "agent/app/file_watch.h"
#include "agent/app/label_bits.h"
#include "agent/app/policy_plan.h"
#include "agent/app/resolvers.h"
#include "agent/app/support.h"
#include "agent/app/tampering.h"
#include "agent/base/clock.h"
#include "agent/base/worker.h"
#include "agent/policy/compile.h"
#include "agent/policy/parse.h"
#include "agent/probe/policy_maps.h"

namespace moat::app {
namespace {

constexpr uint64_t kGuardNs = 2'000'000'000;  // what was taken from enforcement is noticed within 5 s
constexpr uint64_t kNamesNs = 30'000'000'000;  // names that have expired are forgotten, resolvers looked up again
constexpr uint64_t kForgetNs = 600'000'000'000;  // so long after it a name is still known to connections that were open then
constexpr uint64_t kSettleMs = 1000;  // the start waits for no runtime any longer
constexpr uint64_t kSettleNs = 200'000'000;  // an editor or the kubelet writes more than one file

struct Force {
  std::shared_ptr<const policy::Set> set;
  std::unique_ptr<policy::Compiler> compiler;
  std::shared_ptr<const policy::Rules> rules;
  std::vector<std::string> exposures;
  std::optional<std::vector<policy::Source>> sources;  // none: it is an earlier moatd's. Of what was cleared: what it was
};

class PoliciesImpl final : public Policies {
 public:
  PoliciesImpl(const config::Config& config, probe::Probe& probe, WorkloadWatch& workloads,
               std::function<void(const Policies&)> changed)
      : config_(config), probe_(probe), workloads_(workloads), changed_(std::move(changed)) {}

  ~PoliciesImpl() override {
    workloads_.OnChange({});
    if (worker_.running()) {
      worker_.RequestStop();
      const uint64_t one = 1;
      (void)!write(wake_.get(), &one, sizeof(one));
      worker_.Stop();
    }
  }

  Status Begin() {
    if (probe_.Policies() == nullptr) {
      return Fail(Code::kFailedPrecondition, "policies cannot be enforced: " + WhyNoDomain());
    }
    MOAT_ASSIGN(Cgroup2Mount mount, FindCgroup2Mount());
    rows_ = std::make_unique<CgroupRows>(std::move(mount), config_.scope, workloads_);
    MOAT_ASSIGN(FileWatch watch, FileWatch::Open(config_.policy_files));
    watch_ = std::make_unique<FileWatch>(std::move(watch));
    wake_ = Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    heard_ = Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    workloads_.OnChange([this] {
      const uint64_t one = 1;
      (void)!write(heard_.get(), &one, sizeof(one));
    });
    // What was in force before knew whose the cgroups are: so must what replaces it.
    workloads_.Settle(kSettleMs);
    labels_ = LabelBits(probe_.Policies()->Labels());
    KeepNames();
    if (Status status = Read(); !status) {
      if (probe_.Policies()->generation() == 0) {
        return status;
      }
      spdlog::error("policies: what the moatd before this one had put into force stays so");
    }
    worker_ = Worker("moat-policy", [this](const std::stop_token& stop) { Run(stop); });
    return {};
  }

  Status SetAssets(const std::vector<config::Asset>& assets) override {
    const std::lock_guard lock(reading_);
    std::vector<config::Asset> before = std::exchange(config_.assets, assets);
    Status status = ReadLocked(/*always=*/true);
    if (!status) {
      config_.assets = std::move(before);
    }
    return status;
  }

  std::vector<BudgetUse> Budgets() override {
    const std::lock_guard lock(reading_);
    return now_.set && now_.compiler ? UsedBudgets(*now_.set, *now_.compiler, probe_.Policies()->SentBytes(MonotonicNs()))
                                     : std::vector<BudgetUse>();
  }

  std::vector<std::string> TakeTampering() override { return tampering_.Take(); }

  InForce Get() const override {
    const std::lock_guard lock(mutex_);
    InForce out{.set = now_.set,
                .rules = now_.rules,
                .generation = probe_.Policies()->generation(),
                .exposures = now_.exposures,
                .problems = problems_,
                .sources = now_.sources.value_or(std::vector<policy::Source>()),
                .counts = {},
                .cleared = cleared_};
    if (out.rules) {
      out.counts = probe_.Policies()->Counts(out.rules->first, out.rules->texts.size());
    }
    if (now_.set && AsksWhose(*now_.set)) {
      for (const enrich::WorkloadSource& source : workloads_.Sources()) {
        if (!source.reachable && !source.error.empty()) {
          out.exposures.push_back("whose cgroups are stays unknown where " + source.address + " would tell: " + source.error);
        }
      }
    }
    return out;
  }

  Result<PoliciesChange> Change(uint32_t expected, bool dry_run, const Edit& edit) override {
    const std::lock_guard lock(reading_);
    return ChangeLocked(expected, dry_run, edit);
  }

  Result<PoliciesChange> Rollback() override {
    const std::lock_guard lock(reading_);
    std::optional<std::vector<policy::Source>> to = cleared_ ? now_.sources : previous_;
    if (!to) {
      return Fail(Code::kFailedPrecondition, "there is nothing to go back to: this moatd has made no change yet");
    }
    return ChangeLocked(0, false, [&](const std::vector<policy::Source>&) { return SourceEdit{.sources = *to}; });
  }

  Status Clear() override {
    const std::lock_guard lock(reading_);
    MOAT_TRY(probe_.Policies()->Clear());
    const Status let_go = probe_.LetGo();
    {
      const std::lock_guard state(mutex_);
      before_ = now_.rules;
      Force none;
      none.sources = std::move(now_.sources);
      now_ = std::move(none);
      cleared_ = true;
    }
    changed_(*this);
    spdlog::warn("policies: all of them were taken out of force");
    return let_go;
  }

  std::unordered_map<uint32_t, event::Names::Rule> RuleNames() const override {
    const std::lock_guard lock(mutex_);
    std::unordered_map<uint32_t, event::Names::Rule> names;
    for (const auto& rules : {before_, now_.rules}) {
      for (size_t i = 0; rules && i < rules->texts.size(); ++i) {
        const policy::RuleText& rule = rules->texts[i];
        names[rules->first + static_cast<uint32_t>(i)] = {
            rule.policy, rule.text, rule.file + ":" + std::to_string(rule.line) + ":" + std::to_string(rule.column)};
      }
    }
    return names;
  }

 private:
  std::string WhyNoDomain() const {
    for (const DomainStatus& domain : probe_.Domains()) {
      if (domain.name == "enforce") {
        return domain.error.empty() ? "domain enforce has no maps" : domain.error;
      }
    }
    return "domain enforce is not there";
  }

  Status Read() {
    const std::lock_guard lock(reading_);
    return ReadLocked(/*always=*/false);
  }

  // All of it, or nothing. always: although the files are those that are in force, or were when all was cleared.
  Status ReadLocked(bool always) {
    std::vector<config::Problem> unread;
    std::vector<policy::Source> sources = policy::ReadSources(config_.policy_files, unread);
    if (now_.sources && unread.empty() && SameSources(sources, *now_.sources) && !always) {
      const std::lock_guard lock(mutex_);
      problems_.clear();
      return {};
    }
    return ApplySources(std::move(sources), unread);
  }

  // What is in force, once more: the files may have changed, and somebody may be in the midst of it.
  void ApplyAgain() {
    if (now_.set && now_.sources) {
      (void)ApplySources(*now_.sources, {});  // tells
    }
  }

  Status ApplySources(std::vector<policy::Source> sources, const std::vector<config::Problem>& unread) {
    policy::Parsed parsed = policy::ParseAndCheckSources(sources, config_.assets);
    parsed.problems.insert(parsed.problems.begin(), unread.begin(), unread.end());
    std::vector<std::string> problems;
    problems.reserve(parsed.problems.size());
    for (const config::Problem& problem : parsed.problems) {
      problems.push_back(config::ToString(problem));
    }
    if (problems.empty()) {
      return Apply(std::move(parsed.set), std::move(sources));
    }
    return Refuse(std::move(problems));
  }

  void WriteAgain(const std::vector<std::string>& altered) {
    for (const std::string& what : altered) {
      tampering_.Add(what + " were changed by somebody, and are written again");
    }
    ApplyAgain();
    resolvers_.clear();
    KeepNames();
  }

  Result<PoliciesChange> ChangeLocked(uint32_t expected, bool dry_run, const Edit& edit) {
    const uint32_t generation = probe_.Policies()->generation();
    if (expected != 0 && expected != generation) {
      return Fail(Code::kAborted, "generation " + std::to_string(generation) + " is in force, not " + std::to_string(expected) +
                                      ": somebody else has changed it, look again");
    }
    MOAT_ASSIGN(PolicyPlan plan, PlanChange(config_, edit, probe_.Domains(), workloads_.tellers()));
    PoliciesChange& change = plan.change;
    if (dry_run || !change.problems.empty()) {
      change.set.generation = generation;
      return std::move(change);
    }
    MOAT_TRY(WriteSources(plan.before, plan.after, change.written));
    const bool same = now_.set && now_.sources && SameSources(*now_.sources, plan.after);
    if (Status status = same ? Status() : Apply(std::move(plan.set), plan.after); !status) {
      std::vector<std::string> ignored;
      Status undone = WriteSources(plan.after, plan.before, ignored);
      return Fail(status.error().code, status.error().message + (undone ? "" : "; and " + undone.error().message));
    }
    change.set = Get();
    return std::move(change);
  }

  Status Refuse(std::vector<std::string> problems) {
    std::string all;
    for (const std::string& problem : problems) {
      spdlog::error("policies: {}", problem);
      all += (all.empty() ? "" : "; ") + problem;
    }
    const std::lock_guard lock(mutex_);
    problems_ = std::move(problems);
    return Fail(Code::kInvalidArgument, all);
  }

  Status Apply(policy::Set set, std::vector<policy::Source> sources) {
    Force next;
    next.sources = std::move(sources);
    Supported supported = Support(std::move(set), probe_.Domains(), workloads_.tellers());
    if (!supported.problems.empty()) {
      return Refuse(std::move(supported.problems));
    }
    next.exposures = std::move(supported.exposures);
    auto placed = labels_.Place(std::move(supported.set.assets));
    if (!placed) {
      return Refuse({placed.error().message});
    }
    supported.set.assets = std::move(*placed);
    probe_.Policies()->SetLabels(labels_.names());
    probe_.Keep();
    if (const std::string why = probe_.NotKept(); !why.empty()) {
      next.exposures.push_back("what is enforced ends with moatd: " + why);
    }
    config::Config with_assets = config_;
    with_assets.assets = supported.set.assets;
    next.set = std::make_shared<const policy::Set>(std::move(supported.set));
    next.compiler = policy::Compiler::Create(*next.set, probe_.Policies()->NextFirstRule());
    for (const std::string& path : next.compiler->Executables()) {
      struct stat file{};
      if (stat(path.c_str(), &file) == 0) {
        next.compiler->AddExecutable(path, static_cast<uint32_t>(major(file.st_dev) << 20 | minor(file.st_dev)), file.st_ino);
      } else {
        spdlog::warn("policies: executable {} is not there: as a subject it selects nobody", path);
      }
    }
    next.rules = std::make_shared<const policy::Rules>(next.compiler->rules());
    if (next.rules->texts.size() >= MOAT_RULES / 2) {
      return Refuse({"the policies make more rules than can be numbered (" + std::to_string(next.rules->texts.size()) + ")"});
    }
    if (Status status = probe_.ReloadAssets(with_assets); !status && !with_assets.assets.empty() && config_.file) {
      return Refuse({status.error().message});
    }
    SetAssetBytes(*next.compiler);
    rows_->AddAll(*next.set, *next.compiler);
    {
      // Names first: no verdict comes without.
      const std::lock_guard lock(mutex_);
      before_ = now_.rules;
      now_.rules = next.rules;
    }
    changed_(*this);
    if (Status status = probe_.Policies()->Swap(next.compiler->Take(), *next.rules); !status) {
      {
        const std::lock_guard lock(mutex_);
        now_.rules = before_;  // still those in force
      }
      return Refuse({status.error().message});
    }
    size_t policies = 0;
    {
      const std::lock_guard lock(mutex_);
      if (now_.sources && !SameSources(*now_.sources, *next.sources)) {
        previous_ = std::move(now_.sources);
      }
      now_ = std::move(next);
      cleared_ = false;
      problems_.clear();
      policies = now_.set->policies.size();
    }
    spdlog::info("policies: {} in force, {} rules, generation {}", policies, now_.rules->texts.size(),
                 probe_.Policies()->generation());
    for (const std::string& exposure : now_.exposures) {
      spdlog::warn("policies: {}", exposure);
    }
    // A cgroup that came while we looked: its news is there, but was of no use to the image before.
    WalkAgain();
    return {};
  }

  // As they are now: when they grow or shrink, the policies are read again.
  void SetAssetBytes(policy::Compiler& compiler) {
    asset_bytes_ = AssetBytes(probe_.Assets());
    for (size_t label = 0; label < asset_bytes_.size(); ++label) {
      compiler.SetAssetBytes(label, asset_bytes_[label]);
    }
  }
  bool BudgetsHaveChanged() const { return now_.set && HasParts(*now_.set) && AssetBytes(probe_.Assets()) != asset_bytes_; }

  void WalkAgain() {
    rows_->AddAll(*now_.set, *now_.compiler);
    AddRows();
  }

  void AddRows() {
    if (Status status = probe_.Policies()->Add(now_.compiler->Take()); !status) {
      spdlog::error("policies: a cgroup that came is taken for one of those above it: {}", status.error().message);
    }
  }

  // True: some that came cannot be found yet, and are looked for again.
  bool TakeNews() {
    const std::lock_guard lock(reading_);
    const probe::PolicyMaps::News news = probe_.Policies()->TakeNews();
    rows_->Forget(news.gone);
    if (!now_.set) {
      return false;
    }
    if (news.lost) {
      spdlog::warn("policies: not every cgroup that came was told: looking at all of them");
      WalkAgain();
      return rows_->any_early();
    }
    bool any = rows_->AddEarly(MonotonicNs(), *now_.set, *now_.compiler);
    const std::unordered_set<uint64_t> gone(news.gone.begin(), news.gone.end());
    for (const uint64_t id : news.made) {
      any = (!gone.contains(id) && rows_->AddOne(id, MonotonicNs(), *now_.set, *now_.compiler)) || any;
    }
    if (any) {
      AddRows();
    }
    probe_.Policies()->RemoveCgroups(news.gone);  // one that was gone before its row was written
    return rows_->any_early();
  }

  // Whose answers are believed, and what was learnt of them. Of a connection that is open a name is good after it has expired.
  void KeepNames() {
    std::vector<policy::Resolver> found = FindResolvers(config_.resolvers);
    if (found != resolvers_) {
      if (Status status = probe_.Policies()->SetResolvers(found); !status) {
        spdlog::error("policies: {}", status.error().message);
        return;
      }
      resolvers_ = std::move(found);
      spdlog::info("policies: answers of {} DNS servers are believed", resolvers_.size());
    }
    const uint64_t now_ns = MonotonicNs();
    (void)probe_.Policies()->ForgetExpired(now_ns > kForgetNs ? now_ns - kForgetNs : 0);
  }

  // Of some cgroups it is known now whose they are.
  void TakeHeard() {
    uint64_t times = 0;
    if (read(heard_.get(), &times, sizeof(times)) != sizeof(times)) {
      return;
    }
    const std::lock_guard lock(reading_);
    if (now_.set && rows_->AddChanged(*now_.compiler)) {
      AddRows();
    }
  }

  void Run(const std::stop_token& stop) {
    uint64_t guard_ns = 0, names_ns = MonotonicNs() + kNamesNs;
    bool early = false;
    uint64_t due_ns = 0;  // when to read the files again; 0: they have not changed
    while (!stop.stop_requested()) {
      pollfd ready[] = {{wake_.get(), POLLIN, 0},
                        {heard_.get(), POLLIN, 0},
                        {watch_->fd(), POLLIN, 0},
                        {probe_.Policies()->news_fd(), POLLIN, 0}};
      const uint64_t now_ns = MonotonicNs();
      const int wait_ms = due_ns == 0 ? 1000 : due_ns <= now_ns ? 0 : static_cast<int>((due_ns - now_ns) / 1'000'000) + 1;
      (void)poll(ready, std::size(ready), early ? 1 : wait_ms);
      if (stop.stop_requested()) {
        return;
      }
      early = TakeNews();
      TakeHeard();
      if (MonotonicNs() >= guard_ns) {
        guard_ns = MonotonicNs() + kGuardNs;
        const std::lock_guard lock(reading_);
        for (std::string& what : probe_.Repair()) {
          tampering_.Add(std::move(what));
        }
        if (const std::vector<std::string> altered = probe_.Policies()->Altered(); !altered.empty()) {
          WriteAgain(altered);
        }
        if (BudgetsHaveChanged()) {
          ApplyAgain();
        }
      }
      if (MonotonicNs() >= names_ns) {
        names_ns = MonotonicNs() + kNamesNs;
        const std::lock_guard lock(reading_);
        KeepNames();
        (void)probe_.Policies()->ForgetSent(MonotonicNs());
      }
      if (watch_->Take()) {
        due_ns = MonotonicNs() + kSettleNs;
      } else if (due_ns != 0 && MonotonicNs() >= due_ns) {
        due_ns = 0;
        // What was a file may be a directory now. Before the reading: what changes from here on is told.
        if (auto watch = FileWatch::Open(config_.policy_files); watch) {
          *watch_ = std::move(*watch);
        }
        if (Status status = Read(); !status) {
          spdlog::error("policies: nothing changed, what was in force stays so");
        }
      }
    }
  }

  Tampering tampering_;

  std::mutex reading_;  // one reading, or one handful of news, at a time; taken before mutex_
  config::Config config_;
  probe::Probe& probe_;
  WorkloadWatch& workloads_;
  const std::function<void(const Policies&)> changed_;
  std::unique_ptr<CgroupRows> rows_;
  std::unique_ptr<FileWatch> watch_;
  Fd wake_, heard_;
  LabelBits labels_;
  std::vector<policy::Resolver> resolvers_;
  std::vector<uint64_t> asset_bytes_;  // by label, as the budgets in force have them

  mutable std::mutex mutex_;  // of what follows, for readers; written under reading_, too
  Force now_;
  std::shared_ptr<const policy::Rules> before_;
  std::vector<std::string> problems_;
  std::optional<std::vector<policy::Source>> previous_;  // the files before the last change
  bool cleared_ = false;

  Worker worker_;  // last: it uses all of the above
};

}  // namespace

Result<std::unique_ptr<Policies>> Policies::Start(const config::Config& config, probe::Probe& probe, WorkloadWatch& workloads,
                                                  std::function<void(const Policies&)> changed) {
  auto policies = std::make_unique<PoliciesImpl>(config, probe, workloads, std::move(changed));
  MOAT_TRY(policies->Begin());
  return policies;
}

}  // namespace moat::app
