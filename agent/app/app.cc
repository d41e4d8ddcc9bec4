// SPDX-License-Identifier: Apache-2.0
#include "agent/app/app.h"

#include <spdlog/spdlog.h>

#include <chrono>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "agent/api/finding_table.h"
#include "agent/api/hub.h"
#include "agent/api/server.h"
#include "agent/app/canary.h"
#include "agent/app/health.h"
#include "agent/app/identity.h"
#include "agent/app/metrics.h"
#include "agent/app/mounted_assets.h"
#include "agent/app/names.h"
#include "agent/app/pipeline.h"
#include "agent/app/policies.h"
#include "agent/app/policy_control.h"
#include "agent/app/self.h"
#include "agent/app/snapshot.h"
#include "agent/app/steps.h"
#include "agent/app/workload_watch.h"
#include "agent/app/world.h"
#include "agent/base/cgroup.h"
#include "agent/base/clock.h"
#include "agent/base/version.h"
#include "agent/detect/detectors.h"
#include "agent/detect/engine.h"
#include "agent/enrich/activity.h"
#include "agent/enrich/cgroup_paths.h"
#include "agent/enrich/proc_reader.h"
#include "agent/metrics/exporter.h"
#include "agent/probe/pins.h"
#include "agent/probe/probe.h"
#include "agent/probe/record.h"
#include "agent/sink/sinks.h"

namespace moat::app {
namespace {

constexpr std::chrono::milliseconds kSinkGrace(1000);

class AppImpl final : public App {
 public:
  AppImpl(AppOptions options, config::Config config)
      : options_(std::move(options)), config_(std::move(config)), scope_(config_.scope) {}
  ~AppImpl() override { Stop(); }

  Status Start() override {
    return steps_.Start({
        {"probe", [this] { return StartProbe(); }, [this] { StopGuard::OnlyDetaching(), probe_.reset(); }},
        // Before the others, so that it ends after them: what is mounted may not answer, and then its search does not end.
        {"mounts", [this] { return StartMounts(); }, [this] { mounted_.reset(); }},
        {"hub", [this] { return StartHub(); }, [this] { hub_.reset(); }},
        {"recorder", [this] { return StartRecorder(); }, [this] { StopRecorder(); }},
        {"detectors", [this] { return StartDetectors(); }, [this] { engine_.reset(); }},
        {"sinks", [this] { return StartSinks(); }, [this] { StopSinks(); }},
        {"pipeline", [this] { return StartPipeline(); }, [this] { Retire(pipeline_); }},
        {"workloads", [this] { return StartWorkloads(); }, [this] { world_->SetWorkloads(nullptr), workloads_.reset(); }},
        {"policies", [this] { return StartPolicies(); }, [this] { control_.reset(), Retire(policies_); }},
        {"api", [this] { return StartServer(); }, [this] { StopServer(); }},
        {"metrics", [this] { return StartMetrics(); }, [this] { exporter_.reset(); }},
    });
  }

  void Stop() override { steps_.Stop(); }

  void Reload() override {
    config::Loaded loaded = config::Load(options_.config_path);
    for (const config::Problem& problem : loaded.problems) {
      spdlog::error("reload: {}", config::ToString(problem));
    }
    if (!loaded.problems.empty()) {
      spdlog::error("reload: nothing changed, the assets stay as they were");
      return;
    }
    config::Config next = config_;
    next.assets = loaded.config.assets;
    next.asset_files = loaded.config.asset_files;
    next.tcp = loaded.config.tcp;
    next.tcp.address = config_.tcp.address;
    next.tcp.max_age_s = config_.tcp.max_age_s;
    if (next != loaded.config) {
      spdlog::warn("reload: settings other than assets and those of api.tcp differ from those in force; they need a restart");
    }
    config_.tcp = next.tcp;
    // Also when it is the same: who asks for it wants the files to be read. And whatever becomes of the assets.
    server_->Reload(config_.tcp);
    // Assets may be named by policies: then both change together, or not at all.
    if (Status status = policies_ ? policies_->SetAssets(next.assets) : probe_->ReloadAssets(next); !status) {
      spdlog::error("reload: {}", status.error().message);
      return;
    }
    config_ = std::move(next);
    SetNames();
    LogAssets();
    spdlog::info("reload: {} assets in force", config_.assets.size());
    if (sinks_) {
      sinks_->OnLifecycle(sink::Lifecycle::kUpdate,
                          "the configuration was read again: " + std::to_string(config_.assets.size()) + " assets");
    }
  }

  void LookAgain() override {
    if (std::vector<probe::ResolvedDevice> devices = probe_->Devices(); devices != devices_) {
      devices_ = std::move(devices);
      SetNames();
    }
    if (engine_) {
      engine_->Post(
          Degraded(Snapshot(), policies_ ? policies_->Get().problems : std::vector<std::string>(),
                   sinks_ ? sinks_->stats() : std::vector<sink::SinkStats>(), server_ ? server_->Counters() : api::ApiCounters()),
          Tampered(policies_ ? policies_->TakeTampering() : std::vector<std::string>()));
    }
  }

 private:
  Status StartProbe() {
    if (auto mounts = MountWatch::Open(); mounts) {
      mounts_ = std::move(*mounts);
    } else {
      spdlog::warn("weights that are mounted from now on are found at SIGHUP only: {}", mounts.error().message);
    }
    MOAT_ASSIGN(probe_, probe::Probe::Start(config_));
    attach_ms_ = SinceStartNs() / 1'000'000;
    for (const DomainStatus& domain : probe_->Domains()) {
      if (!domain.loaded) {
        spdlog::warn("domain {} is off: {}", domain.name, domain.error);
      }
      for (const HookStatus& hook : domain.hooks) {
        if (domain.name == "enforce" && hook.exposure) {
          spdlog::debug("{} cannot be had: {}", hook.event, hook.why);  // a policy that needs it is refused, or says so
        } else if (domain.loaded && !hook.attached) {
          spdlog::warn("{} is not seen: {}", hook.event, hook.why);
        }
      }
    }
    LogAssets();
    spdlog::info("hooks attached {} ms after the process began", attach_ms_);
    return {};
  }

  Status StartHub() {
    hub_ = api::Hub::Create({.queue_events = config_.subscriber_queue_events,
                             .resume_events = config_.resume_events,
                             .max_subscribers = config_.max_subscribers,
                             .flush_ms = config_.flush_ms});
    return {};
  }

  Status StartRecorder() {
    if (!options_.record_path.empty()) {
      MOAT_ASSIGN(recorder_, probe::Recorder::Create(options_.record_path));
    }
    return {};
  }

  void StopRecorder() {
    if (!recorder_) {
      return;
    }
    if (Status status = recorder_->Close(); !status) {
      spdlog::error("recording: {}", status.error().message);
    }
    recorder_.reset();
  }

  Status StartDetectors() {
    if (config_.detect.enabled) {
      findings_ = api::FindingTable::Create(config_.detect.max_open);
      engine_ = detect::Engine::Create(config_.detect, detect::MakeAll(config_.detect), *world_,
                                       HostName() + ' ' + std::to_string(started_unix_ns_), HostPid());
    }
    return {};
  }

  Status StartSinks() {
    if (!config_.sinks.empty()) {
      MOAT_ASSIGN(sinks_, sink::Sinks::Create(config_.sinks, {.hostname = HostName(), .version = kVersion, .run = hub_->run()}));
      sinks_->OnLifecycle(sink::Lifecycle::kStart, std::string("moatd ") + kVersion + " watches " + config_.scope);
    }
    return {};
  }

  // What a receiver does not take now is sent by the next run.
  void StopSinks() {
    if (sinks_) {
      sinks_->OnLifecycle(sink::Lifecycle::kStop, std::string("moatd ") + kVersion + " ends");
      sinks_->Stop(kSinkGrace);
    }
    sinks_.reset();
  }

  std::vector<event::Consumer*> Consumers() const {
    std::vector<event::Consumer*> consumers = {hub_.get(), canary_log_.get(), activity_.get()};
    if (findings_) {
      consumers.push_back(findings_.get());
    }
    if (sinks_) {
      consumers.push_back(sinks_.get());
    }
    return consumers;
  }

  Status StartPipeline() {
    enrich::CgroupResolver cgroups = [](uint64_t, uint64_t) { return std::string(); };
    if (Result<Cgroup2Mount> mount = FindCgroup2Mount(); mount) {
      if (!ShowsWholeTree(*mount)) {
        spdlog::warn("{} shows a part of the cgroups only: give moatd's container the host's /sys/fs/cgroup", mount->path);
      }
      cgroups = [paths = std::make_shared<enrich::CgroupPaths>(*mount)](uint64_t id, uint64_t now_ns) {
        return paths->Path(id, now_ns);
      };
    } else {
      spdlog::warn("cgroups are shown by number: {}", mount.error().message);
    }
    auto tree =
        enrich::ProcessTree::Create([](const event::ProcessKey& key) { return enrich::ReadProcess("/proc", key); }, cgroups);
    auto started =
        Pipeline::Start({.queue_batches = config_.queue_batches,
                         .poll_ms = config_.poll_ms,
                         .sums_ms = config_.sums_ms,
                         .scan = config_.scan_processes && config_.process},
                        *probe_, MakeNames(*probe_, nullptr), std::move(tree), Consumers(), recorder_.get(), engine_.get());
    const std::lock_guard lock(names_);
    pipeline_ = std::move(started);
    return {};
  }

  Status StartWorkloads() {
    auto started = WorkloadWatch::Start(config_);
    if (started) {
      workloads_ = std::move(*started);
      world_->SetWorkloads(workloads_.get());
      return {};
    }
    // Without cgroups all else can be watched.
    return config_.enforce() ? Status(std::unexpected(started.error())) : Status();
  }

  Status StartPolicies() {
    if (!config_.enforce()) {
      if (!config_.policy_pins.empty() && !probe::Pins::Held(config_.policy_pins).empty()) {
        spdlog::warn("policies of an earlier moatd are still enforced, although none are configured: moatd --unload ends them");
      }
      return {};
    }
    // The names of rules are wanted before there is anybody to ask for them.
    auto started = Policies::Start(config_, *probe_, *workloads_, [this](const Policies& policies) {
      {
        const std::lock_guard lock(names_);
        SetNamesLocked(&policies);
      }
      world_->SetPolicies(policies.Get().set);
    });
    if (!started) {
      return std::unexpected(started.error());
    }
    {
      const std::lock_guard lock(names_);
      policies_ = std::move(*started);
    }
    control_ = MakePolicyControl(config_, *policies_, *workloads_);
    world_->SetPolicies(policies_->Get().set);
    SetNames();
    return {};
  }

  Status StartMounts() {
    if (mounts_) {
      MOAT_ASSIGN(mounted_, MountedAssets::Start(std::move(*mounts_), *probe_, [this] { SetNames(); }));
    }
    return {};
  }

  // Any thread.
  void SetNames() {
    const std::lock_guard lock(names_);  // the newest are set last
    SetNamesLocked(policies_.get());
  }
  void SetNamesLocked(const Policies* policies) {
    if (pipeline_) {
      pipeline_->SetNames(MakeNames(*probe_, policies));
    }
  }
  // Ends a part that SetNames() uses.
  template <typename Part>
  void Retire(std::unique_ptr<Part>& part) {
    std::unique_ptr<Part> last;
    {
      const std::lock_guard lock(names_);
      last.swap(part);
    }
  }

  Status StartServer() {
    MOAT_ASSIGN(server_, api::Server::Start(
                             config_, *hub_, [this] { return Snapshot(); }, control_.get(),
                             {.activity = [this](event::ActivityOf what) { return activity_->Get(what); },
                              .whose = [this](const std::string& cgroup) { return WhoseCgroup(cgroup, workloads_.get()); }},
                             findings_.get(), [this] { return pipeline_->Moving(); }));
    return {};
  }

  void StopServer() {
    hub_->Close();  // ends the streams, so that the server need not wait for them
    server_.reset();
  }

  Status StartMetrics() {
    if (config_.metrics_address.empty()) {
      return {};
    }
    MOAT_ASSIGN(exporter_, metrics::Exporter::Start(config_.metrics_address, [this] {
                  return MetricsOf(Snapshot(), policies_ ? policies_->Get() : InForce(),
                                   findings_ ? findings_->Totals() : std::vector<api::FindingTotal>(),
                                   sinks_ ? sinks_->stats() : std::vector<sink::SinkStats>(), server_->Counters());
                }));
    spdlog::info("metrics at port {}", exporter_->port());
    return {};
  }

  // Threads of gRPC and of the exporter; only while they run, so probe, hub and pipeline are there.
  api::StatusSnapshot Snapshot() const {
    return SnapshotOf({.probe = *probe_, .pipeline = *pipeline_, .hub = *hub_, .engine = engine_.get(), .sinks = sinks_.get()},
                      scope_, started_unix_ns_, attach_ms_);
  }

  void LogAssets() const {
    for (const probe::ResolvedAsset& asset : probe_->Assets()) {
      for (const std::string& problem : asset.problems) {
        spdlog::warn("asset {}: {}", asset.name, problem);
      }
    }
  }

  const AppOptions options_;
  config::Config config_;  // this thread's alone
  const std::string scope_;  // gRPC's threads read it
  const uint64_t started_unix_ns_ = WallNs();
  uint64_t attach_ms_ = 0;
  std::vector<probe::ResolvedDevice> devices_;  // whose names are in events
  std::mutex names_;  // of pipeline_ and policies_, where they come and go, and of what SetNames() does with them
  std::unique_ptr<probe::Probe> probe_;
  std::unique_ptr<api::Hub> hub_;
  const std::unique_ptr<event::Consumer> canary_log_ = MakeCanaryLog();
  const std::unique_ptr<enrich::ActivityTable> activity_ = enrich::ActivityTable::Create();
  std::unique_ptr<probe::Recorder> recorder_;  // null: not asked for
  const std::unique_ptr<World> world_ = World::Create();
  std::unique_ptr<api::FindingTable> findings_;  // null: nothing looks for any
  std::unique_ptr<detect::Engine> engine_;  // null, too
  std::optional<MountWatch> mounts_;  // until StartMounts; none: there is no table of mounts
  std::unique_ptr<MountedAssets> mounted_;
  std::unique_ptr<sink::Sinks> sinks_;  // null: none are configured
  std::unique_ptr<Pipeline> pipeline_;
  std::unique_ptr<WorkloadWatch> workloads_;  // null: there is no cgroup2 file system
  std::unique_ptr<Policies> policies_;  // null: none are configured
  std::unique_ptr<api::PolicyControl> control_;
  std::unique_ptr<api::Server> server_;
  std::unique_ptr<metrics::Exporter> exporter_;  // null: not asked for
  Steps steps_;  // last: it stops the others
};

}  // namespace

std::unique_ptr<App> App::Create(AppOptions options, config::Config config) {
  return std::make_unique<AppImpl>(std::move(options), std::move(config));
}

}  // namespace moat::app
