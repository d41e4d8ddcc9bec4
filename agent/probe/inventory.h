// SPDX-License-Identifier: Apache-2.0
// What is protected and watched on this host: assets, accelerators, and the notices of tampering, which both read and change them.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "agent/base/error.h"
#include "agent/base/status.h"
#include "agent/config/config.h"
#include "agent/probe/devices.h"
#include "agent/probe/domain.h"
#include "agent/probe/gpu_rows.h"
#include "agent/probe/inode_map.h"
#include "agent/probe/owners.h"
#include "agent/probe/probe.h"
#include "agent/probe/shared_maps.h"
#include "agent/probe/tamper_watch.h"

namespace moat::probe {

// Completes the rows that stand on fanotify. refused: it was not opened. note: what it could not watch.
void DescribeFanotify(DomainStatus& file, const Status& refused, const std::string& note);

// Poll, Note and HouseKeep on the ring thread; the others from any. One lock, never taken per record: it is waited for only
// outside the ring thread. maps and owners stay the caller's and must live as long.
class Inventory {
 public:
  Inventory(const config::Config& config, const SharedMaps& maps, Owners& owners)
      : config_(config), maps_(maps), owners_(owners) {}

  // Fills the maps of the domains that are loaded, once it is settled which programs run.
  void Fill(const Domain& file, const Domain& gpu);
  // Starts fanotify, where rows of the file domain stand on it, and puts it into epoll_fd.
  void WatchTampering(const Domain& file, int epoll_fd);

  // Emits the notices of fanotify, and looks again at assets whose files have changed. Nothing while a reload is at work: they wait.
  size_t Poll(RecordSink& sink, uint64_t now_ns);
  // A tamper record of the kernel side passes.
  void Note(const moat_file_tamper& record) {
    if (tampering_) {
      tampering_->Note(record);
    }
  }
  // Resolves again when fanotify has lost notices; looks for drivers that came late.
  void HouseKeep(bool devices_too);
  Status Reload(const config::Config& config);
  std::vector<std::string> Paths() const;
  bool FindAgain();  // as Probe::FindAssetsAgain
  // Puts rows of the table of GPU calls back that somebody else has changed; how many. The control thread's, every second or two.
  size_t RestoreGpuRows();

  std::vector<ResolvedAsset> Assets() const;
  std::vector<ResolvedDevice> Devices() const;
  // Notices that the kernel dropped: at least this many.
  uint64_t lost() const { return lost_.load(std::memory_order_relaxed); }
  // What became of the rows that stand on fanotify.
  void Describe(DomainStatus& file) const {
    const std::lock_guard lock(mutex_);
    DescribeFanotify(file, refusal_, tampering_ ? tampering_->why() : "");
  }

 private:
  void SetGpuRows(bool always);
  void SetAssets(std::vector<ResolvedAsset> resolved);
  void LookAgain(uint64_t now_ns);
  void Update(uint32_t asset);
  // Adds to an asset what it has lost of before, and what is still watched as its own; how many.
  size_t KeepLeft(const ResolvedAsset& before, ResolvedAsset& fresh, const std::function<bool(uint32_t dev)>& keeps) const;
  // The same for all that are as they were in config_. wanted: the assets that fresh was found for.
  void KeepReadable(const std::vector<config::Asset>& wanted, std::vector<ResolvedAsset>& fresh) const;

  mutable std::mutex mutex_;
  config::Config config_;
  const SharedMaps& maps_;
  Owners& owners_;
  std::vector<ResolvedAsset> assets_;
  std::unique_ptr<InodeMap> inodes_;  // null: no file domain
  int blocks_ = -1;  // moat_blocks, borrowed
  // Null: no file domain, or refused. Set once, before the ring thread drains. Note touches nothing that Set does.
  std::unique_ptr<TamperWatch> tampering_;
  Status refusal_;  // of fanotify
  // When to look at an asset's files again after a program said that they change, which it does before they have: soon, and once
  // more for those that took their time. 0: not.
  struct Due {
    uint64_t soon_ns = 0, again_ns = 0;
  };
  std::array<Due, MOAT_MAX_ASSETS> due_{};
  size_t next_due_ = 0;
  uint64_t rested_ns_ = 0;  // not before this time: looking takes a twentieth of it at most
  std::unique_ptr<class Devices> devices_;  // null: no gpu domain
  GpuVersions versions_;
  GpuRows rows_;  // as they are to be in the kernel
  std::atomic<uint64_t> lost_ = 0;
};

}  // namespace moat::probe
