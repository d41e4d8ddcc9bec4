// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/inventory.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <set>
#include <utility>

#include "agent/base/clock.h"
#include "agent/probe/block_devices.h"
#include "agent/probe/real_path.h"
#include "agent/probe/resolve.h"

namespace moat::probe {

void Inventory::Fill(const Domain& file, const Domain& gpu) {
  const std::lock_guard lock(mutex_);
  if (file.loaded()) {
    inodes_ = std::make_unique<InodeMap>(file.MapFd("moat_inodes"), file.MapFd("moat_names"), maps_.control(),
                                         file.uses(Backend::kSyscallExit, "file.read"));
    blocks_ = file.MapFd("moat_blocks");
    SetAssets(ResolveAssets(config_.assets));
  }
  if (gpu.loaded()) {
    devices_ = std::make_unique<class Devices>(gpu.MapFd("moat_majors"), gpu.MapFd("moat_devices"), gpu.MapFd("moat_watch"),
                                               config_.gpu_root);
    for (const Status& status : {devices_->Set(config_), devices_->SetWatch(config_.watch)}) {
      if (!status) {
        spdlog::error("gpu: {}", status.error().message);
      }
    }
    SetGpuRows(/*always=*/true);
  }
}

// A driver of another version has other layouts. always: what opening devices means may have changed.
void Inventory::SetGpuRows(bool always) {
  const GpuVersions now = ReadGpuVersions(config_.driver_version);
  if (now == versions_ && !always) {
    return;
  }
  versions_ = now;
  rows_ = MakeGpuRows(versions_, devices_->openings());
  if (const auto written = WriteGpuRows(maps_.gpu_rows(), rows_); !written) {
    spdlog::error("gpu: {}", written.error().message);
  }
  maps_.control()->gpu_version[0] = versions_.nvidia;
  maps_.control()->gpu_version[1] = versions_.uvm;
  maps_.control()->watch_epoch++;
}

void Inventory::SetAssets(std::vector<ResolvedAsset> resolved) {
  assets_ = std::move(resolved);
  if (Status status = inodes_->Set(assets_); !status) {
    spdlog::error("assets: {}", status.error().message);
  }
  if (Status status = SetBlockDevices(blocks_, assets_); !status) {
    spdlog::error("assets: {}", status.error().message);
  }
  for (const ResolvedAsset& asset : assets_) {
    for (const std::string& problem : asset.problems) {
      spdlog::warn("asset {}: {}", asset.name, problem);
    }
  }
  if (tampering_) {
    tampering_->Set(assets_);
  }
}

void Inventory::WatchTampering(const Domain& file, int epoll_fd) {
  struct Notice {
    const char* event;
    std::set<moat_tamper_op> tells;
  };
  static const Notice kNotices[] = {{"file.rename", {MOAT_TAMPER_RENAME}},
                                    {"file.replace", {MOAT_TAMPER_REPLACE}},
                                    {"file.unlink", {MOAT_TAMPER_UNLINK}},
                                    {"file.rmdir", {MOAT_TAMPER_UNLINK}},
                                    {"file.link", {MOAT_TAMPER_LINK}},
                                    {"file.truncate_path", {MOAT_TAMPER_TRUNCATE}},
                                    {"file.exchange", {MOAT_TAMPER_RENAME}},
                                    {"file.symlink", {}},
                                    {"file.gone", {}}};
  std::set<moat_tamper_op> tells;
  bool wanted = false;
  for (const Notice& notice : kNotices) {
    if (file.uses(Backend::kFanotify, notice.event)) {
      tells.insert(notice.tells.begin(), notice.tells.end());
      wanted = true;
    }
  }
  const std::lock_guard lock(mutex_);
  if (!inodes_ || !wanted) {
    return;
  }
  auto watch = std::make_unique<TamperWatch>(*inodes_, owners_, maps_.procs(), std::move(tells));
  if (Status status = watch->Open(); !status) {
    refusal_ = status;
    spdlog::error("tamper watch: {}", refusal_.error().message);
    return;
  }
  watch->Set(assets_);
  epoll_event event{.events = EPOLLIN, .data = {.fd = watch->fd()}};
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, watch->fd(), &event) != 0) {
    refusal_ = FailErrno(errno, "epoll");
    return;
  }
  tampering_ = std::move(watch);
}

size_t Inventory::RestoreGpuRows() {
  const std::lock_guard lock(mutex_);
  size_t changed = 0;
  if (devices_) {
    changed = WriteGpuRows(maps_.gpu_rows(), rows_).value_or(1);
    maps_.control()->watch_epoch += changed > 0 ? 1 : 0;
  }
  return changed;
}

size_t Inventory::Poll(RecordSink& sink, uint64_t now_ns) {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock || !inodes_) {
    return 0;
  }
  if (!tampering_) {
    LookAgain(now_ns);
    return 0;
  }
  const size_t made = tampering_->Poll(sink, now_ns, assets_);
  lost_.store(tampering_->lost(), std::memory_order_relaxed);
  return made;
}

// With fanotify this is not needed: it tells which names are new, after they are.
void Inventory::LookAgain(uint64_t now_ns) {
  constexpr uint64_t kSoonNs = 50'000'000, kAgainNs = 2'000'000'000;
  auto& stirred = maps_.control()->stirred;
  for (size_t k = 0; k < assets_.size(); ++k) {
    const size_t i = (next_due_ + k) % assets_.size();  // each in its turn
    Due& due = due_[i];
    if (__atomic_load_n(&stirred[i], __ATOMIC_RELAXED) != 0 && __atomic_exchange_n(&stirred[i], 0, __ATOMIC_ACQUIRE) != 0) {
      due = {.soon_ns = due.soon_ns != 0 ? due.soon_ns : now_ns + kSoonNs, .again_ns = now_ns + kAgainNs};
    }
    if (now_ns < rested_ns_) {
      continue;
    }
    const bool again = due.again_ns != 0 && now_ns >= due.again_ns;
    if (again || (due.soon_ns != 0 && now_ns >= due.soon_ns)) {
      due = {.soon_ns = 0, .again_ns = again ? 0 : due.again_ns};
      const uint64_t before = MonotonicNs();
      Update(static_cast<uint32_t>(i));
      next_due_ = i + 1;
      rested_ns_ = now_ns + (MonotonicNs() - before) * 20;
    }
  }
}

size_t Inventory::KeepLeft(const ResolvedAsset& before, ResolvedAsset& fresh,
                           const std::function<bool(uint32_t dev)>& keeps) const {
  constexpr size_t kMost = 32'768;  // with those at their paths: half of the map, so that what is kept takes no room from these
  std::set<InodeId> found;
  for (const auto& file : fresh.files) {
    found.emplace(file.dev, file.inode);
  }
  size_t kept = 0, given_up = 0;
  for (const auto& file : before.files) {
    if (found.contains({file.dev, file.inode}) || !keeps(file.dev) || !inodes_->Holds({file.dev, file.inode}, fresh.id)) {
      continue;
    }
    if (fresh.files.size() >= kMost) {
      ++given_up;
      continue;
    }
    fresh.files.push_back(file);
    fresh.files.back().left = true;
    ++kept;
  }
  if (given_up > 0) {
    fresh.problems.push_back(std::to_string(given_up) +
                             " files that are not at its paths any more are not watched: there are too many");
  }
  return kept;
}

// What is not at an asset's paths any more, and can be read all the same: moved away within its file system, or covered by a mount. Of a file
// system without a block device (NFS, FUSE, tmpfs) only while an asset still has something on it, or lies right above on it: its number is
// another one's as soon as it is unmounted.
void Inventory::KeepReadable(const std::vector<config::Asset>& wanted, std::vector<ResolvedAsset>& fresh) const {
  std::optional<std::set<uint32_t>> mounted;
  std::set<uint32_t> present;
  for (const ResolvedAsset& asset : fresh) {
    for (const auto& file : asset.files) {
      present.insert(file.dev);
    }
  }
  const MountDevices mounts;
  for (const config::Asset& asset : wanted) {
    for (const std::string& path : asset.paths) {
      if (Found above; FindFile(mounts, AT_FDCWD, ParentOf(path).c_str(), /*follow=*/true, above)) {
        present.insert(above.id.first);
      }
    }
  }
  const auto keeps = [&](uint32_t dev) {
    if (present.contains(dev) || dev >> 20 == 0) {
      return present.contains(dev);
    }
    if (!mounted) {
      mounted = MountedDevices();
    }
    return mounted->contains(dev);
  };
  for (size_t i = 0; i < fresh.size() && i < assets_.size(); ++i) {
    if (i >= config_.assets.size() || i >= wanted.size() || wanted[i] != config_.assets[i]) {
      continue;  // another asset, or with other paths: what it has lost is not its own any more
    }
    if (const size_t kept = KeepLeft(assets_[i], fresh[i], keeps); kept > 0) {
      fresh[i].bytes = fresh[i].bytes != 0 ? fresh[i].bytes : assets_[i].bytes;
      spdlog::warn(
          "asset {}: {} of its files and directories are not at its paths any more, can be read all the same, and stay its own",
          fresh[i].name, kept);
    }
  }
}

bool Inventory::FindAgain() {
  std::vector<config::Asset> wanted;
  {
    const std::lock_guard lock(mutex_);
    if (!inodes_) {
      return false;
    }
    wanted = config_.assets;
  }
  // Walks disks, and whatever else is mounted: not under the lock, the ring thread would wait for it.
  std::vector<ResolvedAsset> fresh = ResolveAssets(wanted);
  const std::lock_guard lock(mutex_);
  if (wanted != config_.assets) {
    return false;
  }
  KeepReadable(wanted, fresh);
  SetAssets(std::move(fresh));
  return true;
}

std::vector<std::string> Inventory::Paths() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> paths;
  for (const config::Asset& asset : config_.assets) {
    paths.insert(paths.end(), asset.paths.begin(), asset.paths.end());
  }
  return paths;
}

// An asset's files as they are now. Those that left its directories stay its own while they live.
void Inventory::Update(uint32_t asset) {
  ResolvedAsset& now = assets_[asset];
  std::vector<ResolvedAsset> resolved = ResolveAssets({config_.assets[asset]});
  ResolvedAsset& fresh = resolved.front();
  fresh.id = asset;
  KeepLeft(now, fresh, [](uint32_t) { return true; });
  if (Status status = inodes_->Update(fresh); !status) {
    fresh.problems.push_back(status.error().message);
  }
  for (const std::string& problem : fresh.problems) {
    if (std::ranges::find(now.problems, problem) == now.problems.end()) {
      spdlog::warn("asset {}: {}", fresh.name, problem);
    }
  }
  now = std::move(fresh);
  if (Status status = SetBlockDevices(blocks_, assets_); !status) {
    spdlog::error("assets: {}", status.error().message);
  }
}

void Inventory::HouseKeep(bool devices_too) {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock) {
    return;
  }
  if (tampering_ && tampering_->TakeRescanWanted()) {
    std::vector<ResolvedAsset> fresh = ResolveAssets(config_.assets);
    KeepReadable(config_.assets, fresh);
    SetAssets(std::move(fresh));
  }
  if (devices_ && devices_too) {
    SetGpuRows(/*always=*/devices_->Refresh(config_));
  }
}

Status Inventory::Reload(const config::Config& config) {
  std::vector<ResolvedAsset> resolved = ResolveAssets(config.assets);  // walks the disk: not under the lock
  const std::lock_guard lock(mutex_);
  if (!inodes_) {
    return Fail(Code::kUnavailable, "assets cannot be watched: the file domain is not loaded");
  }
  KeepReadable(config.assets, resolved);
  config_.assets = config.assets;
  SetAssets(std::move(resolved));
  return {};
}

std::vector<ResolvedAsset> Inventory::Assets() const {
  const std::lock_guard lock(mutex_);
  return assets_;
}

std::vector<ResolvedDevice> Inventory::Devices() const {
  const std::lock_guard lock(mutex_);
  return devices_ ? devices_->list() : std::vector<ResolvedDevice>();
}

void DescribeFanotify(DomainStatus& file, const Status& refused, const std::string& note) {
  for (HookStatus& hook : file.hooks) {
    if (hook.backend != BackendName(Backend::kFanotify) || !hook.attached) {
      continue;
    }
    if (!refused) {
      hook.attached = false;
      hook.why = refused.error().message;
      hook.unseen = {"all of it"};
    } else if (!note.empty()) {
      hook.why += "; " + note;
    }
  }
}

}  // namespace moat::probe
