// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/inventory.h"

#include <spdlog/spdlog.h>
#include <sys/epoll.h>

#include <cerrno>
#include <cstring>

#include "agent/probe/block_devices.h"
#include "agent/probe/resolve.h"

namespace moat::probe {

void Inventory::Fill(const Domain& file, const Domain& gpu) {
  const std::lock_guard lock(mutex_);
  if (file.loaded()) {
    inodes_ =
        std::make_unique<InodeMap>(file.MapFd("moat_inodes"), maps_.control(), file.uses(Backend::kSyscallExit, "file.read"));
    blocks_ = file.MapFd("moat_blocks");
    SetAssets(ResolveAssets(config_.assets));
  }
  if (gpu.loaded()) {
    devices_ = std::make_unique<class Devices>(gpu.MapFd("moat_majors"), gpu.MapFd("moat_devices"), gpu.MapFd("moat_watch"));
    for (const Status& status : {devices_->Set(config_), devices_->SetWatch(config_.watch)}) {
      if (!status) {
        spdlog::error("gpu: {}", status.error().message);
      }
    }
    maps_.control()->watch_epoch = 1;
  }
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

void Inventory::WatchTampering(int epoll_fd) {
  const std::lock_guard lock(mutex_);
  if (!inodes_) {
    return;
  }
  auto watch = std::make_unique<TamperWatch>(*inodes_, owners_, maps_.procs());
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

size_t Inventory::Poll(RecordSink& sink, uint64_t now_ns) {
  if (!tampering_) {
    return 0;
  }
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock) {
    return 0;
  }
  const size_t made = tampering_->Poll(sink, now_ns, assets_);
  lost_.store(tampering_->lost(), std::memory_order_relaxed);
  return made;
}

void Inventory::HouseKeep(bool devices_too) {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock) {
    return;
  }
  if (tampering_ && tampering_->TakeRescanWanted()) {
    SetAssets(ResolveAssets(config_.assets));
  }
  if (devices_ && devices_too) {
    devices_->Refresh(config_);
  }
}

Status Inventory::Reload(const config::Config& config) {
  std::vector<ResolvedAsset> resolved = ResolveAssets(config.assets);  // walks the disk: not under the lock
  const std::lock_guard lock(mutex_);
  if (!inodes_) {
    return Fail(Code::kUnavailable, "assets cannot be watched: the file domain is not loaded");
  }
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

HookStatus TamperHook(const Status& refused, const std::string& note) {
  HookStatus hook;
  hook.event = "file.tamper";
  if (!refused) {
    hook.why = refused.error().message;
    hook.exposure = refused.error().code == Code::kInvalidArgument;
    hook.unseen = {"rename, unlink, link, replacement and truncation by path of asset files",
                   "new files of an asset directory, until they are opened"};
    return hook;
  }
  hook.backend = "fanotify";
  hook.attached = true;
  hook.why = "no tracepoint tells which inode a path led to" + (note.empty() ? "" : "; " + note);
  hook.unseen = {"who did it, when the process ended before the notice was read and was not known before",
                 "a truncation by path when the file has grown back before the notice was read",
                 "changes made on another host of a network file system"};
  return hook;
}

}  // namespace moat::probe
