// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/probe.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>

#include "agent/base/cgroup.h"
#include "agent/base/clock.h"
#include "agent/base/fd.h"
#include "agent/probe/domains.h"
#include "agent/probe/drivers.h"
#include "agent/probe/inventory.h"
#include "agent/probe/ledger.h"
#include "agent/probe/log.h"
#include "agent/probe/owners.h"
#include "agent/probe/policy_maps.h"
#include "agent/probe/ring.h"
#include "agent/probe/scan.h"
#include "agent/probe/sums.h"

namespace moat::probe {
namespace {

template <typename Record>
std::span<const std::byte> BytesOf(const Record& record) {
  return std::as_bytes(std::span(&record, 1));
}

class ProbeImpl final : public Probe {
 public:
  Status Begin(const config::Config& config);

  Status Scan(RecordSink& sink) override;
  size_t Drain(RecordSink& sink, size_t max) override;
  void Nap(int ms) override { Wait(ms); }
  void Sleep(int timeout_ms) override;
  void Wake() override;
  void Sums(RecordSink& sink) override;
  Status ReloadAssets(const config::Config& config) override { return inventory_->Reload(config); }
  std::vector<std::string> AssetPaths() const override { return inventory_->Paths(); }
  bool FindAssetsAgain() override { return inventory_->FindAgain(); }
  std::vector<ResolvedAsset> Assets() const override { return inventory_->Assets(); }
  std::vector<ResolvedDevice> Devices() const override { return inventory_->Devices(); }
  std::vector<DomainStatus> Domains() const override;
  Ledger KernelLedger() const override;
  std::vector<RingStatus> Rings() const override;
  std::vector<std::string> Repair() override;
  void Keep() override;
  Status LetGo() override { return domains_->Unpin(); }
  std::string NotKept() const override { return not_kept_; }
  PolicyMaps* Policies() override { return policies_.get(); }

 private:
  Status SetScope(const std::string& scope);
  Status OpenPins(const config::Config& config);
  Status OpenRings();
  Status RequireOne() const;
  void Pin();
  void MakeParts();
  void Wait(int timeout_ms);
  size_t PollTampering(RecordSink& sink, bool idle);
  void PollDrivers(uint64_t now_ns);
  void LookAtDrivers(bool devices_too, bool again);

  // Counts what is made in user space on its way to the pipeline.
  class Counted final : public RecordSink {
   public:
    Counted(ProbeImpl& probe, RecordSink& sink) : probe_(probe), sink_(sink) {}
    void OnRecord(std::span<const std::byte> record) override {
      const auto kind = reinterpret_cast<const moat_hdr*>(record.data())->kind;
      probe_.made_[kind].fetch_add(1, std::memory_order_relaxed);
      sink_.OnRecord(record);
    }

   private:
    ProbeImpl& probe_;
    RecordSink& sink_;
  };

  Fd cgroup_;  // where cgroup programs attach
  std::unique_ptr<SharedMaps> maps_;
  std::unique_ptr<SyscallTable> calls_;  // before the domains that have slots in it
  std::unique_ptr<class Domains> domains_;
  Ring urgent_, bulk_;
  Fd epoll_, wake_;
  // Records made here, not in the kernel, by kind.
  std::array<std::atomic<uint64_t>, MOAT_KIND_COUNT> made_{};

  std::string scope_;
  std::unique_ptr<Owners> owners_;
  std::unique_ptr<class Sums> sums_;
  std::unique_ptr<Inventory> inventory_;  // before the domains in destruction: it uses their maps
  std::string not_kept_;
  std::unique_ptr<PolicyMaps> policies_;  // null: nothing is enforced
  uint32_t sums_calls_ = 0;
  uint64_t polled_ns_ = 0;
  Drivers drivers_;
  uint64_t drivers_until_ns_ = 0, drivers_looked_ns_ = 0;
  int drivers_tries_ = 0;
};

Status ProbeImpl::RequireOne() const {
  std::string why;
  for (const auto& domain : domains_->all()) {
    if (domain->loaded() && domain->name() != "syscall") {  // by itself that one sees nothing
      return {};
    }
    why += "; " + domain->name() + ": " + domain->error();
  }
  return Fail(Code::kFailedPrecondition, "no domain could be loaded" + why);
}

Status ProbeImpl::SetScope(const std::string& scope) {
  MOAT_ASSIGN(const Cgroup2Mount mount, FindCgroup2Mount());
  const bool host = scope == "host";
  if (!host && !scope.starts_with('/')) {
    return Fail(Code::kInvalidArgument,
                "scope \"" + scope + "\": neither \"host\" nor a path below the cgroup2 mount (\"/...\")");
  }
  const std::string directory = host ? mount.path : mount.path + scope;
  cgroup_ = Fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!cgroup_) {
    return FailErrno(errno, "scope: no cgroup " + directory + " (create it before the agent starts, or use scope: host)");
  }
  if (host) {
    maps_->control()->scope_all = 1;
    maps_->control()->agent_pid = static_cast<uint32_t>(getpid());
    return {};
  }
  const uint32_t zero = 0, fd = static_cast<uint32_t>(cgroup_.get());
  if (bpf_map_update_elem(maps_->scope(), &zero, &fd, BPF_ANY) != 0) {
    return FailErrno(errno, "scope: " + directory);
  }
  MOAT_ASSIGN(maps_->control()->scope_cgroup, CgroupId(mount, scope));
  return {};
}

// Before any map is made: those of the agent before are taken over.
Status ProbeImpl::OpenPins(const config::Config& config) {
  if (!config.enforce() || config.policy_pins.empty()) {
    return {};
  }
  std::string scope = "host";
  if (config.scope != "host") {
    MOAT_ASSIGN(const Cgroup2Mount mount, FindCgroup2Mount());
    const Result<uint64_t> id = CgroupId(mount, config.scope);
    if (!id) {
      return {};  // SetScope says it
    }
    scope = std::to_string(*id);
  }
  Result<Pins> pins = Pins::Open(config.policy_pins, scope);
  if (pins) {
    domains_->KeepIn(std::make_unique<Pins>(std::move(*pins)));
  } else {
    not_kept_ = pins.error().message;
  }
  return {};
}

Status ProbeImpl::OpenRings() {
  const auto size = [](int fd) {
    bpf_map_info info{};
    uint32_t length = sizeof(info);
    return bpf_obj_get_info_by_fd(fd, &info, &length) == 0 ? info.max_entries : 0;
  };
  MOAT_ASSIGN(urgent_, Ring::Map(maps_->ring_urgent(), size(maps_->ring_urgent())));
  MOAT_ASSIGN(bulk_, Ring::Map(maps_->ring_bulk(), size(maps_->ring_bulk())));
  epoll_ = Fd(epoll_create1(EPOLL_CLOEXEC));
  wake_ = Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  for (const int fd : {urgent_.fd(), bulk_.fd(), wake_.get(), drivers_.fd()}) {
    if (fd < 0) {
      continue;
    }
    // A ring tells each wake-up once: what lies in it while we nap must not cut the next nap short.
    epoll_event event{.events = fd == wake_.get() ? EPOLLIN : EPOLLIN | EPOLLET, .data = {.fd = fd}};
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
      return FailErrno(errno, "watch the rings");
    }
  }
  return {};
}

Status ProbeImpl::Begin(const config::Config& config) {
  CatchLibbpfLog();
  scope_ = config.scope;
  domains_ = std::make_unique<class Domains>(config);
  MOAT_TRY(OpenPins(config));
  MOAT_ASSIGN(maps_, domains_->MakeMaps(config));
  MOAT_TRY(SetScope(config.scope));
  MOAT_TRY(OpenRings());
  domains_->Load(*maps_);
  MOAT_TRY(RequireOne());
  calls_ = std::make_unique<SyscallTable>(maps_->syscalls());
  domains_->Attach(*maps_, *calls_, cgroup_.get(), /*in_scope=*/config.scope == "host");
  (void)drivers_.Changed();
  (*domains_)["gpu"].AttachToDrivers(drivers_.loaded(), /*afresh=*/true);
  Pin();
  // Only now: a domain that had to take another program has other maps than before.
  MakeParts();
  inventory_ = std::make_unique<Inventory>(config, *maps_, *owners_);
  inventory_->Fill((*domains_)["file"], (*domains_)["gpu"]);
  inventory_->WatchTampering((*domains_)["file"], epoll_.get());
  return {};
}

void ProbeImpl::Pin() {
  if (Status pinned = domains_->Pin(*maps_); !pinned) {
    not_kept_ = pinned.error().message;
  }
}

void ProbeImpl::Keep() {
  if (domains_->unpinned()) {
    not_kept_.clear();
    Pin();
  }
}

void ProbeImpl::MakeParts() {
  const class Domains& domains = *domains_;
  const Domain &process = domains["process"], &file = domains["file"], &gpu = domains["gpu"], &net = domains["net"];
  if (domains["enforce"].loaded()) {
    if (auto made = PolicyMaps::Create(domains["enforce"], *maps_); made) {
      policies_ = std::move(*made);
    } else {
      spdlog::error("policies: {}", made.error().message);
    }
  }
  owners_ = std::make_unique<Owners>(process.Program("moat_process_scan"), scope_);
  sums_ = std::make_unique<class Sums>(SumMaps{.io = file.MapFd("moat_io"),
                                               .flows = net.MapFd("moat_flows"),
                                               .procs = maps_->procs(),
                                               .gpu_calls = gpu.MapFd("moat_gpu_calls"),
                                               .net_totals = net.MapFd("moat_net_totals"),
                                               .gpu_clients = maps_->gpu_clients(),
                                               .gpu_debuggers = maps_->gpu_debuggers(),
                                               .gpu_files = maps_->gpu_files(),
                                               .control = maps_->control()},
                                       *owners_);
}

Status ProbeImpl::Scan(RecordSink& sink) {
  bpf_program* program = (*domains_)["process"].Program("moat_process_scan");
  if (program == nullptr) {
    return Fail(Code::kUnavailable, "processes that already run cannot be listed: the scan program is not loaded");
  }
  MOAT_ASSIGN(const std::vector<moat_exec> records, ScanProcesses(program));
  Counted counted(*this, sink);
  for (const moat_exec& record : records) {
    counted.OnRecord(BytesOf(record));
  }
  return {};
}

size_t ProbeImpl::Drain(RecordSink& sink, size_t max) {
  const auto take = [&](std::span<const std::byte> record) {
    if (record.size() >= sizeof(moat_hdr)) {
      const auto& header = *reinterpret_cast<const moat_hdr*>(record.data());  // ring records are aligned to 8
      owners_->Note(header);
      if (header.kind == MOAT_KIND_FILE_TAMPER && record.size() >= sizeof(moat_file_tamper)) {
        inventory_->Note(reinterpret_cast<const moat_file_tamper&>(header));
      }
    }
    sink.OnRecord(record);
  };
  size_t taken = bulk_.Drain(max, take);
  taken += urgent_.Drain(max, take);
  return taken + PollTampering(sink, taken == 0);
}

// After the rings: they tell who the processes were that fanotify names, also those that have ended since.
size_t ProbeImpl::PollTampering(RecordSink& sink, bool idle) {
  constexpr uint64_t kPollNs = 10'000'000;
  const uint64_t now = MonotonicNs();
  if (!idle && now - polled_ns_ < kPollNs) {
    return 0;
  }
  polled_ns_ = now;
  PollDrivers(now);
  Counted counted(*this, sink);
  return inventory_->Poll(counted, now);
}

// A module tells that it comes before it has registered its devices: so it is looked for a while.
void ProbeImpl::PollDrivers(uint64_t now_ns) {
  constexpr uint64_t kWhileNs = 3'000'000'000, kPauseNs = 50'000'000;
  if (drivers_.Stirred()) {
    drivers_until_ns_ = now_ns + kWhileNs;
  }
  if (now_ns < drivers_until_ns_ && now_ns - drivers_looked_ns_ >= kPauseNs) {
    drivers_looked_ns_ = now_ns;
    LookAtDrivers(/*devices_too=*/false, /*again=*/false);
  }
}

// Attaching to a driver takes a millisecond a function, letting go of one that went some more: that is when one is loaded, and not else.
// again: to try what the kernel has refused, too.
void ProbeImpl::LookAtDrivers(bool devices_too, bool again) {
  constexpr int kTries = 10;  // before a refusal is taken for good
  Domain& gpu = (*domains_)["gpu"];
  const bool changed = drivers_.Changed();
  inventory_->HouseKeep(devices_too || changed);
  drivers_tries_ = changed ? 0 : drivers_tries_;
  if (!changed && (!again || !gpu.refused_for_now() || drivers_tries_++ >= kTries)) {
    return;
  }
  if (!gpu.AttachToDrivers(drivers_.loaded(), drivers_.gone()) || domains_->unpinned()) {
    return;
  }
  if (Status pinned = domains_->Pin(*maps_); !pinned) {
    spdlog::error("what was attached to a driver ends with this agent: {}", pinned.error().message);
  }
}

// The kernel side asks the flag after its record is visible, we look at the rings after the flag is: one of the two sees the
// other, so no record waits for the time-out.
void ProbeImpl::Sleep(int timeout_ms) {
  moat_control* control = maps_->control();
  __atomic_store_n(&control->reader_asleep, 1, __ATOMIC_SEQ_CST);
  if (urgent_.Empty() && bulk_.Empty()) {
    Wait(timeout_ms);
  }
  __atomic_store_n(&control->reader_asleep, 0, __ATOMIC_RELAXED);
}

void ProbeImpl::Wait(int timeout_ms) {
  constexpr int kDriversMs = 50;
  epoll_event event{};
  timeout_ms = MonotonicNs() < drivers_until_ns_ ? std::min(timeout_ms, kDriversMs) : timeout_ms;
  if (epoll_wait(epoll_.get(), &event, 1, timeout_ms) == 1 && event.data.fd == wake_.get()) {
    uint64_t count = 0;
    (void)!read(wake_.get(), &count, sizeof(count));
  }
}

void ProbeImpl::Wake() {
  const uint64_t one = 1;
  (void)!write(wake_.get(), &one, sizeof(one));
}

void ProbeImpl::Sums(RecordSink& sink) {
  constexpr uint32_t kHouseKeeping = 5;  // calls, about seconds
  Counted counted(*this, sink);
  PollTampering(sink, /*idle=*/true);
  sums_->Emit(counted);
  if (++sums_calls_ % kHouseKeeping == 0) {
    sums_->Reclaim(counted);
  }
  LookAtDrivers(/*devices_too=*/sums_calls_ % kHouseKeeping == 0, /*again=*/true);
  if (sums_calls_ % kHouseKeeping == 0) {
    (*domains_)["auth"].FollowLibrary();
  }
}

std::vector<DomainStatus> ProbeImpl::Domains() const {
  std::vector<DomainStatus> out = domains_->Describe();
  for (DomainStatus& domain : out) {
    if (domain.name == "file") {
      inventory_->Describe(domain);
    }
  }
  return out;
}

std::vector<std::string> ProbeImpl::Repair() {
  std::vector<std::string> told;
  if (!policies_) {
    return told;
  }
  for (const std::string& event : (*domains_)["enforce"].Repair(cgroup_.get())) {
    told.push_back("the program of " + event + " was detached by somebody, and is attached again");
  }
  if (!told.empty() && !domains_->unpinned()) {
    if (Status pinned = domains_->Pin(*maps_); !pinned) {
      told.push_back("what was attached again is not kept: " + pinned.error().message);
    }
  }
  if (const size_t rows = inventory_->RestoreGpuRows(); rows > 0) {
    told.push_back(std::to_string(rows) + " rows of the table of GPU calls were changed by somebody, and are put back");
  }
  if (policies_->RestoreGeneration()) {
    told.push_back("the generation in force was changed by somebody, and is put back");
  }
  return told;
}

Ledger ProbeImpl::KernelLedger() const {
  Ledger ledger;
  if (auto stats = ReadStats(maps_->stats()); stats) {
    for (size_t kind = 0; kind < stats->size(); ++kind) {
      ledger.kinds[kind].attempted = (*stats)[kind].attempted;
      ledger.kinds[kind].lost[static_cast<size_t>(LostReason::kRingFull)] = (*stats)[kind].lost_ring_full;
      ledger.kinds[kind].unreadable = (*stats)[kind].unreadable;
    }
  } else {
    spdlog::error("ledger: {}", stats.error().message);
  }
  if (auto full = ReadTableFull(maps_->table_full()); full) {
    ledger.table_full = *full;
  }
  std::array<uint64_t, MOAT_KIND_COUNT> missed{};
  for (const auto& domain : domains_->all()) {
    domain->MissedRuns(missed);
  }
  for (size_t kind = 0; kind < kKinds; ++kind) {
    ledger.kinds[kind].attempted += missed[kind] + made_[kind].load(std::memory_order_relaxed);
    ledger.kinds[kind].lost[static_cast<size_t>(LostReason::kProgramMissed)] = missed[kind];
  }
  const uint64_t unread = inventory_->lost();  // overflows of fanotify's queue: at least one event each
  ledger.kinds[MOAT_KIND_FILE_TAMPER].attempted += unread;
  ledger.kinds[MOAT_KIND_FILE_TAMPER].lost[static_cast<size_t>(LostReason::kQueueFull)] = unread;
  return ledger;
}

std::vector<RingStatus> ProbeImpl::Rings() const {
  return {{"urgent", urgent_.size(), urgent_.used()}, {"bulk", bulk_.size(), bulk_.used()}};
}

}  // namespace

Result<std::unique_ptr<Probe>> Probe::Start(const config::Config& config) {
  auto probe = std::make_unique<ProbeImpl>();
  MOAT_TRY(probe->Begin(config));
  return probe;
}

}  // namespace moat::probe
