// SPDX-License-Identifier: Apache-2.0
// Whose child a process is: what events carried of processes, kept a while after they ended. Pipeline thread only.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "agent/event/event.h"

namespace moat::detect {

class Lineage {
 public:
  explicit Lineage(size_t max_processes = 131072) : max_(max_processes) {}

  // Learns from forks, execs and scans, and from whatever a process not known yet does; forgets what has exited kKeptNs ago.
  void Apply(const event::Event& event);
  std::shared_ptr<const event::Process> Find(const event::ProcessKey& key) const;
  // The process, then its parents as far as they are known, at most `limit`.
  std::vector<std::shared_ptr<const event::Process>> Of(const event::ProcessKey& key, size_t limit) const;

  size_t size() const { return processes_.size(); }
  uint64_t evicted() const { return evicted_; }  // for want of room, before their time

 private:
  static constexpr uint64_t kKeptNs = 60'000'000'000;

  void Keep(const event::ProcessKey& key, std::shared_ptr<const event::Process> process);
  void Expire(uint64_t now_ns);

  const size_t max_;
  std::map<event::ProcessKey, std::shared_ptr<const event::Process>> processes_;
  struct Ended {
    event::ProcessKey key;
    uint64_t ns;
  };
  std::deque<Ended> ended_;
  uint64_t evicted_ = 0;
};

}  // namespace moat::detect
