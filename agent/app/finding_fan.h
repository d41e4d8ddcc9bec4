// SPDX-License-Identifier: Apache-2.0
// Findings out of the stream of events, for those who take nothing else.
#pragma once

#include "agent/event/batch.h"
#include "agent/event/finding.h"

namespace moat::app {

class FindingFan final : public event::Consumer {
 public:
  // to: must outlive it.
  explicit FindingFan(event::FindingConsumer& to) : to_(to) {}
  void OnBatch(const event::BatchPtr& batch) override {
    for (const event::Event& event : batch->events) {
      if (const auto* finding = std::get_if<event::FindingPtr>(&event.body); finding != nullptr && *finding != nullptr) {
        to_.OnFinding(*finding);
      }
    }
  }

 private:
  event::FindingConsumer& to_;
};

}  // namespace moat::app
