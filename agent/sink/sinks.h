// SPDX-License-Identifier: Apache-2.0
// All sinks of a configuration, behind the pipeline.
#pragma once

#include <chrono>
#include <memory>
#include <string_view>
#include <vector>

#include "agent/base/error.h"
#include "agent/config/sinks.h"
#include "agent/event/batch.h"
#include "agent/sink/runner.h"
#include "agent/sink/sink.h"

namespace moat::sink {

// All sinks of the configuration.
class Sinks : public event::Consumer {
 public:
  // Fails when a spool or a transport cannot be made; the message names the sink. No receiver is asked: it may come later.
  static Result<std::unique_ptr<Sinks>> Create(const std::vector<config::Sink>& config, const Origin& origin,
                                               const SinkOptions& options = {});
  void OnBatch(const event::BatchPtr& batch) override;  // findings and events
  void OnFinding(const event::FindingPtr& finding);     // one that came by no batch
  void OnLifecycle(Lifecycle what, std::string_view message);  // any thread
  std::vector<SinkStats> stats() const;  // any thread, as all below
  bool Flush(std::chrono::milliseconds timeout);
  void Stop(std::chrono::milliseconds grace);  // all at once: takes no longer than one

 private:
  std::vector<std::unique_ptr<Sink>> sinks_;
};

}  // namespace moat::sink
