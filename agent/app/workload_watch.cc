// SPDX-License-Identifier: Apache-2.0
#include "agent/app/workload_watch.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "agent/base/cgroup.h"
#include "agent/base/clock.h"
#include "agent/base/utf8.h"
#include "agent/base/worker.h"

namespace moat::app {
namespace {

constexpr size_t kMaxCgroups = 100'000;
constexpr uint64_t kRoundNs = 30'000'000'000;  // all of it again
constexpr uint64_t kApartNs = 10'000'000;  // between two questions: cgroups come in handfuls

const std::vector<std::string> kUsualCri = {"/run/containerd/containerd.sock", "/run/crio/crio.sock",
                                            "/run/k3s/containerd/containerd.sock", "/run/cri-dockerd.sock"};
constexpr const char* kUsualDocker = "/run/docker.sock";
constexpr const char* kUsualScontrol = "/usr/bin/scontrol";

// One of the three, as configuration means it.
struct Asked {
  std::vector<std::string> addresses;
  bool told = false;  // by configuration: counts as there, whether or not it is there yet

  bool There() const {
    return told || std::ranges::any_of(addresses, [](const std::string& path) { return ::access(path.c_str(), F_OK) == 0; });
  }
};

Asked Read(const std::vector<std::string>& configured, const std::vector<std::string>& usual) {
  if (configured == std::vector<std::string>{config::Config::kAuto}) {
    return {.addresses = usual, .told = false};
  }
  Asked asked{.addresses = configured, .told = false};
  std::erase(asked.addresses, "");
  asked.told = !asked.addresses.empty();
  return asked;
}

std::string First(const Asked& asked) { return asked.addresses.empty() ? "" : asked.addresses.front(); }

class WorkloadWatchImpl final : public WorkloadWatch {
 public:
  WorkloadWatchImpl(const config::Config& config, Cgroup2Mount mount)
      : mount_(std::move(mount)),
        top_(config.scope == "host" || config.scope == "/" ? "" : config.scope),
        cri_(Read(config.cri_sockets, kUsualCri)),
        docker_(Read({config.docker_socket}, {kUsualDocker})),
        slurm_(Read({config.scontrol}, {kUsualScontrol})) {
    enrich::WorkloadOptions options;
    options.cri_sockets = cri_.addresses;
    options.docker_socket = First(docker_);
    options.scontrol = First(slurm_);
    options.stop = stop_.get_token();
    workloads_ = enrich::Workloads::Create(std::move(options), [this] {
      const std::lock_guard lock(mutex_);
      news_ = true;
      wake_.notify_all();
    });
    worker_ = Worker("moat-workload", [this](const std::stop_token& stop) { Run(stop); });
  }

  ~WorkloadWatchImpl() override { stop_.request_stop(); }

  event::Workload OfPath(std::string_view cgroup_path) override { return workloads_->Resolve(cgroup_path); }

  Result<event::Workload> OfCgroup(uint64_t cgroup_id) override {
    MOAT_ASSIGN(const std::string path, CgroupPath(mount_, cgroup_id));
    return workloads_->Resolve(path);
  }

  std::vector<event::Workload> List() const override { return workloads_->List(); }
  void Forget(std::string_view cgroup_path) override { workloads_->Forget(cgroup_path); }

  Tellers tellers() const override {
    return {.pods = cri_.There(), .containers = cri_.There() || docker_.There(), .jobs = slurm_.There()};
  }
  std::vector<enrich::WorkloadSource> Sources() const override {
    std::vector<enrich::WorkloadSource> sources = workloads_->Sources();
    std::erase_if(sources, [this](const enrich::WorkloadSource& source) {
      const Asked& asked = source.kind == "cri" ? cri_ : source.kind == "docker" ? docker_ : slurm_;
      return !source.present && !asked.told;
    });
    return sources;
  }

  void Settle(uint64_t ms) override {
    std::unique_lock lock(mutex_);
    wake_.wait_for(lock, std::chrono::milliseconds(ms), [this] { return settled_; });
  }

  void OnChange(std::function<void()> changed) override {
    const std::lock_guard lock(changed_mutex_);
    changed_ = std::move(changed);
  }

 private:
  void Run(const std::stop_token& stop) {
    uint64_t round_ns = 0;
    while (!stop.stop_requested()) {
      const bool round = MonotonicNs() >= round_ns;
      if (round) {
        LookAtAll();
        round_ns = MonotonicNs() + kRoundNs;
      }
      if (workloads_->next_refresh_ns() <= MonotonicNs()) {
        Ask();
      }
      if (workloads_->all_asked()) {
        const std::lock_guard lock(mutex_);
        settled_ = true;
        wake_.notify_all();
      }
      if (round && !stop.stop_requested()) {
        workloads_->Check();
        TellSources();
      }
      Sleep(stop, std::min(round_ns, workloads_->next_refresh_ns()));
    }
  }

  void LookAtAll() {
    Cgroup2Mount below = mount_;
    below.path += top_;
    WalkCgroups(below, kMaxCgroups, [this](uint64_t, const std::string& path) {
      (void)workloads_->Resolve(top_.empty() || path != "/" ? top_ + path : top_);
      return true;
    });
    workloads_->Prune([this](const std::string& path) {
      struct stat found{};
      return ::stat((mount_.path + path).c_str(), &found) == 0;
    });
    workloads_->AskAgain();
  }

  void Ask() {
    const bool changed = workloads_->Refresh(MonotonicNs());
    TellSources();
    if (changed) {
      const std::lock_guard lock(changed_mutex_);
      if (changed_) {
        changed_();
      }
    }
  }

  // What an operator should know: who answers, who does not any more, and what is wrong with an answer.
  void TellSources() {
    for (const enrich::WorkloadSource& source : workloads_->Sources()) {
      Told& told = told_[source.address];
      const State before = std::exchange(told.state, StateOf(source));
      if (before != told.state && told.state == State::kAnswers) {
        spdlog::info("workloads: {} answers", source.address);
      } else if (before != told.state && told.state == State::kSilent) {
        spdlog::warn("workloads: {} does not answer, so whose its cgroups are stays unknown: {}", source.address,
                     Printable(source.error));
      } else if (before != told.state) {
        spdlog::warn("workloads: {} is gone", source.address);
      } else if (told.state == State::kAnswers && !source.error.empty() && MonotonicNs() >= told.next_error_ns) {
        told.next_error_ns = MonotonicNs() + kRoundNs;
        spdlog::warn("workloads: {}", Printable(source.error));
      }
    }
  }

  enum class State : uint8_t { kAbsent, kAnswers, kSilent };
  struct Told {
    State state = State::kAbsent;
    uint64_t next_error_ns = 0;
  };

  static State StateOf(const enrich::WorkloadSource& source) {
    if (!source.present || (!source.reachable && source.error.empty())) {
      return State::kAbsent;  // or not asked yet
    }
    return source.reachable ? State::kAnswers : State::kSilent;
  }

  void Sleep(const std::stop_token& stop, uint64_t until_ns) {
    std::unique_lock lock(mutex_);
    const uint64_t now_ns = MonotonicNs();
    if (until_ns > now_ns) {
      wake_.wait_for(lock, stop, std::chrono::nanoseconds(std::min(until_ns - now_ns, kRoundNs)), [this] { return news_; });
    }
    news_ = false;
    wake_.wait_for(lock, stop, std::chrono::nanoseconds(kApartNs), [] { return false; });
  }

  const Cgroup2Mount mount_;
  const std::string top_;  // "": all
  const Asked cri_, docker_, slurm_;
  std::stop_source stop_;  // of questions that are being asked
  std::unique_ptr<enrich::Workloads> workloads_;
  std::map<std::string, Told> told_;  // of the thread

  std::mutex mutex_;  // of the next two
  bool news_ = false;
  bool settled_ = false;
  std::condition_variable_any wake_;

  std::mutex changed_mutex_;
  std::function<void()> changed_;

  Worker worker_;  // last: it uses all of the above
};

}  // namespace

Result<std::unique_ptr<WorkloadWatch>> WorkloadWatch::Start(const config::Config& config) {
  MOAT_ASSIGN(Cgroup2Mount mount, FindCgroup2Mount());
  return std::make_unique<WorkloadWatchImpl>(config, std::move(mount));
}

}  // namespace moat::app
