// SPDX-License-Identifier: Apache-2.0
// The border of detectors: events and time in, findings out. One file per detector, no clock, no thread, no system call in it; each is made
// by a function of its own in detectors.h, which lists them all.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agent/event/batch.h"
#include "agent/event/event.h"
#include "agent/event/finding.h"

namespace moat::detect {

// What policies say of an act in any mode, observe too: what is declared is not what is enforced.
enum class Declared : uint8_t {
  kNothing,  // no policy speaks of it
  kAllowed,
  kDenied,
  kUnknown,  // whose the process is has not been told yet
};

// What is known beside the event. Valid during the call.
class Scene {
 public:
  virtual ~Scene() = default;
  virtual uint64_t now_ns() const = 0;  // CLOCK_MONOTONIC: of the event, or the time that has come
  virtual const event::Names& names() const = 0;
  virtual uint32_t agent_pid() const { return 0; }  // of the agent itself; 0: not known by a number that events have
  // A process that was seen, also one that ended within the last minute; null: not known.
  virtual std::shared_ptr<const event::Process> Find(const event::ProcessKey& key) const = 0;
  // Whose a cgroup (path below the cgroup2 mount) is; null: not known.
  virtual std::shared_ptr<const event::Workload> Whose(const std::string& cgroup) const = 0;
  virtual Declared MayRead(const event::Process& who, uint32_t asset) const = 0;
  virtual Declared MayWrite(const event::Process& who, uint32_t asset) const = 0;
  // labels: bit n for asset n, that the process holds; 0: what is said of it without any.
  virtual Declared MaySend(const event::Process& who, uint64_t labels, const event::Endpoints& where) const = 0;
  virtual Declared MayUseGpu(const event::Process& who) const = 0;
};

// What a detector has found. The engine adds who, whose and since when, and folds what has the same cause.
struct Draft {
  event::FindingKind kind = event::FindingKind::kNone;
  event::Severity severity = event::Severity::kMedium;
  uint8_t confidence = 50;  // percent
  // What makes two of a kind the same, beside the workload (or, without one, the cgroup) of the process: the asset, the peer, the program.
  // What differs from event to event (a pid, a port of the caller's) does not belong in it.
  std::string cause{};
  event::ProcessKey process{};  // who; pid 0: nobody
  std::string title{};  // one line: "pod prod/vllm-0 sent 1.2 GiB of llama-70b to 203.0.113.9:443"
  std::string explanation{};  // a paragraph: what happened, why that is told, what would make it harmless
  std::string action{};  // what to do about it
  std::vector<std::string> assets{}, devices{}, peers{};  // by name
  std::vector<std::string> evidence{};  // what was seen, an event a line
  std::vector<event::Technique> techniques{};
  uint64_t times = 1;  // that it was seen since it was raised last
};

class Raise {
 public:
  virtual ~Raise() = default;
  virtual void operator()(Draft draft) = 0;
};

// Pipeline thread only. What it remembers is bounded, whatever anyone does.
class Detector {
 public:
  virtual ~Detector() = default;
  virtual const char* name() const = 0;  // that of its file
  virtual uint32_t kinds() const = 0;  // of events that it wants: bit n for the kind numbered n
  virtual void OnEvent(const event::Event& event, const Scene& scene, Raise& raise) = 0;
  // At least once a second.
  virtual void OnTime(const Scene&, Raise&) {}
  // Once, after the last event: whatever is still held back is raised.
  virtual void OnEnd(const Scene&, Raise&) {}
  // What it has forgotten for want of room: what it concludes may be less than there was.
  virtual uint64_t forgotten() const { return 0; }
};

constexpr uint32_t Wants(event::Kind kind) { return uint32_t{1} << static_cast<uint8_t>(kind); }
static_assert(static_cast<uint8_t>(event::Kind::kCount) <= 32);

}  // namespace moat::detect
