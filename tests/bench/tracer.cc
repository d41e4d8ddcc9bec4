// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/tracer.h"

#include <sched.h>

#include <chrono>
#include <thread>

#include "agent/app/pipeline.h"
#include "agent/base/counters.h"
#include "agent/probe/probe.h"
#include "tests/bench/host.h"
#include "tests/bench/ledger.h"

namespace moat::bench {
namespace {

class Counting final : public event::Consumer {
 public:
  void OnBatch(const event::BatchPtr& batch) override { events.AddOwned(batch->events.size()); }
  Counter events;
};

class TracerImpl final : public Tracer {
 public:
  static Result<std::unique_ptr<Tracer>> Create(const config::Config& config, int agent_cpu) {
    // The pipeline's threads inherit the core of the thread that starts them.
    cpu_set_t own;
    sched_getaffinity(0, sizeof own, &own);
    PinThread(agent_cpu);
    auto tracer = std::make_unique<TracerImpl>();
    auto probe = probe::Probe::Start(config);
    if (probe) {
      tracer->probe_ = std::move(*probe);
      app::PipelineOptions options;
      options.queue_batches = config.queue_batches;
      options.poll_ms = config.poll_ms;
      options.sums_ms = config.sums_ms;
      // No look into /proc or for cgroup names: the load is one process, known from the scan.
      auto tree = enrich::ProcessTree::Create([](const event::ProcessKey&) { return std::nullopt; },
                                              [](uint64_t, uint64_t) { return std::string(); });
      tracer->pipeline_ = app::Pipeline::Start(options, *tracer->probe_, std::make_shared<event::Names>(), std::move(tree),
                                               {&tracer->consumer_}, nullptr);
    }
    sched_setaffinity(0, sizeof own, &own);
    if (!probe) {
      return std::unexpected(std::move(probe).error());
    }
    for (const DomainStatus& domain : tracer->probe_->Domains()) {
      if (!domain.loaded) {
        return Fail(Code::kFailedPrecondition, "domain " + domain.name + " did not load: " + domain.error);
      }
    }
    return tracer;
  }

  uint64_t events() const override { return consumer_.events.Get(); }
  Ledger ledger() const override {
    Ledger ledger = pipeline_->WholeLedger();
    for (int i = 0; i < 20 && !Check(ledger).broken.empty(); i++) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      ledger = pipeline_->WholeLedger();
    }
    return ledger;
  }
  void Settle() override {
    for (uint64_t before = ~0ull; before != events();) {
      before = events();
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
  }

 private:
  Counting consumer_;
  std::unique_ptr<probe::Probe> probe_;
  std::unique_ptr<app::Pipeline> pipeline_;  // ends before what it uses
};

}  // namespace

Result<std::unique_ptr<Tracer>> Tracer::Start(const config::Config& config, int agent_cpu) {
  return TracerImpl::Create(config, agent_cpu);
}

}  // namespace moat::bench
