// SPDX-License-Identifier: Apache-2.0
#include "agent/app/canary.h"

#include <spdlog/spdlog.h>

#include <set>
#include <utility>
#include <variant>

#include "agent/base/utf8.h"

namespace moat::app {
namespace {

constexpr size_t kToldProcesses = 4096;  // then all are told anew

class CanaryLog final : public event::Consumer {
 public:
  void OnBatch(const event::BatchPtr& batch) override {
    if (!batch->names || batch->names->canaries == 0) {
      return;
    }
    for (const event::Event& event : batch->events) {
      if ((event.header.flags & event::kFlagCanary) != 0) {
        Tell(event, *batch->names);
      }
    }
  }

 private:
  void Tell(const event::Event& event, const event::Names& names) {
    const uint32_t asset = event::AssetOf(event);
    if (told_.size() >= kToldProcesses) {
      told_.clear();
    }
    if (!told_.emplace(event.header.process, asset).second) {
      return;
    }
    const event::Process* who = event.header.info.get();
    spdlog::warn("canary {} was touched: {} by {}[{}], uid {}, {}, cgroup {}", names.assets[asset].name,
                 event::KindName(event.header.kind), Printable(event.header.comm.view()), event.header.process.pid,
                 event.header.uid, who != nullptr && !who->exe.empty() ? Printable(who->exe) : "of an unknown executable",
                 who != nullptr && !who->cgroup.empty() ? Printable(who->cgroup) : std::to_string(event.header.cgroup_id));
  }

  std::set<std::pair<event::ProcessKey, uint32_t>> told_;
};

}  // namespace

void MarkCanaries(event::Batch& batch) {
  const uint64_t canaries = batch.names ? batch.names->canaries : 0;
  if (canaries == 0) {
    return;
  }
  for (event::Event& event : batch.events) {
    const uint32_t asset = event::AssetOf(event);
    if (asset < event::kMaxAssets && (canaries >> asset & 1) != 0) {
      event.header.flags |= event::kFlagCanary;
    }
  }
}

std::unique_ptr<event::Consumer> MakeCanaryLog() { return std::make_unique<CanaryLog>(); }

}  // namespace moat::app
