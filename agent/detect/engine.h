// SPDX-License-Identifier: Apache-2.0
// Detectors at work: each event goes to those that want its kind, and what they raise becomes findings.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "agent/config/detect.h"
#include "agent/detect/detector.h"
#include "agent/detect/fold.h"
#include "agent/event/batch.h"
#include "agent/event/finding.h"

namespace moat::detect {

// What of the agent detectors ask. Called on the pipeline thread; must not block.
class World {
 public:
  virtual ~World() = default;
  virtual std::shared_ptr<const event::Workload> Whose(const std::string& cgroup) = 0;  // null: not known
  virtual Declared MayRead(const event::Process& who, std::string_view asset) = 0;
  virtual Declared MayWrite(const event::Process& who, std::string_view asset) = 0;
  // assets: those whose labels the process holds.
  virtual Declared MaySend(const event::Process& who, const std::vector<std::string_view>& assets,
                           const event::Endpoints& where) = 0;
  virtual Declared MayUseGpu(const event::Process& who) = 0;
};

class Engine : public event::Producer {
 public:
  // run: tells this run of the agent from others. world must outlive the engine. agent_pid: of the agent itself, whose own acts and those of its
  // children (what it runs to see its hooks run, and to ask schedulers) raise nothing; 0: it is not known by a number that events have.
  static std::unique_ptr<Engine> Create(const config::Detect& config, std::vector<std::unique_ptr<Detector>> detectors,
                                        World& world, std::string run, uint32_t agent_pid = 0);
  // Any thread. What is so now: raised with the next OnTime() when the last call did not have it (by its cause).
  // happened: each is raised, however like the last.
  virtual void Post(std::vector<Draft> states, std::vector<Draft> happened = {}) = 0;
  virtual FoldStats stats() const = 0;  // any thread
};

}  // namespace moat::detect
