// SPDX-License-Identifier: Apache-2.0
// Same cause, same finding: what detectors raise becomes findings that are told at once when they are new or grow worse, and else ever more
// rarely, with exact counts. Pipeline thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>

#include "agent/config/detect.h"
#include "agent/detect/detector.h"
#include "agent/event/finding.h"

namespace moat::detect {

// Who did it, as the engine knows it.
struct Subject {
  std::string place{};  // what makes workloads the same: pod, container, job or unit, else the cgroup
  std::shared_ptr<const event::Workload> workload{};  // null: not known
  std::vector<event::FindingProcess> lineage{};
};

struct FoldStats {
  uint64_t raised = 0;  // drafts, each counted as often as it says
  uint64_t told = 0;  // findings and updates of them
  uint64_t open = 0;  // remembered now
  uint64_t closed = 0;  // forgotten for want of room; should the same be seen again, it is counted from 1
  uint64_t crowded = 0;  // that were told together, since one workload had too many of one kind
  uint64_t expected = 0;  // that detect.expected names: none of the above
  uint64_t forgotten = 0;  // processes, reads, peers and the like that detectors remember no more for want of room
};

class Fold {
 public:
  using Tell = std::function<void(event::FindingPtr)>;
  // run: tells this run of the agent from others, so that a finding's id is its own.
  Fold(const config::Detect& config, std::string run, Tell tell);

  void Raise(Draft draft, Subject subject, uint64_t now_ns, uint64_t unix_ns);
  // Tells what is due; all: whatever has not been told, since this is the end.
  void OnTime(uint64_t now_ns, bool all = false);
  FoldStats stats() const { return stats_; }

 private:
  struct Open {
    event::Finding finding;
    bool dirty = false;
    uint64_t next_ns = 0, pause_ns = 0;  // when it may be told again, and how long it then rests
    std::list<std::string>::iterator place;  // in seen_
  };
  struct Crowd {
    uint64_t since_ns = 0, news = 0;
  };

  bool Crowded(Draft& draft, const std::string& place, uint64_t now_ns);
  void Merge(Open& open, Draft draft, uint64_t unix_ns);
  void Out(Open& open, uint64_t now_ns);
  void Close();

  const config::Detect config_;
  const std::string run_;
  const Tell tell_;
  std::unordered_map<std::string, Open> open_;
  std::list<std::string> seen_;  // keys of open_, the one seen longest ago first
  std::map<std::string, Crowd> crowds_;  // by kind and place
  std::multimap<uint64_t, std::string> due_;  // dirty ones by when
  FoldStats stats_;
};

}  // namespace moat::detect
