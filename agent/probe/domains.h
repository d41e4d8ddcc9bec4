// SPDX-License-Identifier: Apache-2.0
// All domains together: what Probe::Start and Ask share.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/base/error.h"
#include "agent/base/status.h"
#include "agent/config/config.h"
#include "agent/probe/domain.h"

namespace moat::probe {

// One thread at a time, as Domain.
class Domains {
 public:
  // Opens each domain that configuration wants, refuses the others, and chooses a program for each event.
  explicit Domains(const config::Config& config);
  Domains(const Domains&) = delete;
  Domains& operator=(const Domains&) = delete;

  // The maps that they share.
  Result<std::unique_ptr<SharedMaps>> MakeMaps(const config::Config& config) const;
  // Loads them, each on a thread of its own.
  void Load(const SharedMaps& maps);
  // From now on what policies need is kept there (pins.h). Before MakeMaps.
  void KeepIn(std::unique_ptr<Pins> pins) { pins_ = std::move(pins); }
  // After Attach, from any thread: the links of enforcement, and of what labels processes; after Unpin the maps, too. And guards all that is pinned.
  Status Pin(const SharedMaps& maps);
  // Nothing is kept any more: all of it ends with this process.
  Status Unpin();
  bool unpinned() const {
    const std::lock_guard lock(pinning_);
    return unpinned_;
  }
  // Attaches all of them and makes sure, by the agent's own calls, that every hook runs; one that does not gives way to the next in its
  // row. cgroup_fd: where cgroup programs go; in_scope: this process lies below it. calls outlives the domains.
  void Attach(const SharedMaps& maps, SyscallTable& calls, int cgroup_fd, bool in_scope);
  // In place of Attach: what it would come to, without a proof.
  void Presume();
  // Over a domain that is switched off or failed by itself, its own reason stands.
  void RefuseAll(const std::string& why);

  const Domain& operator[](std::string_view name) const;  // one of Images()
  Domain& operator[](std::string_view name);
  const std::vector<std::unique_ptr<Domain>>& all() const { return domains_; }
  // Domain syscall is left out where no hook needs it: then no program sits on system calls. Domain enforce where there are no policies.
  std::vector<DomainStatus> Describe() const;

 private:
  bool NeedsSyscalls() const;
  void AttachOnce(SyscallTable& calls, int cgroup_fd);

  const bool enforce_;  // policies are configured
  std::optional<Features> features_;
  std::vector<std::string> avoid_;
  std::vector<std::unique_ptr<Domain>> domains_;
  mutable std::mutex pinning_;  // Pin and Unpin: by who repairs, and by who attaches to a driver that was loaded
  std::unique_ptr<Pins> pins_;  // null: nothing is kept
  bool unpinned_ = false;
};

}  // namespace moat::probe
