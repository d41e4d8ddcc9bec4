// SPDX-License-Identifier: Apache-2.0
#include "agent/app/ledger.h"

namespace moat::app {
namespace {

size_t Index(LostReason reason) { return static_cast<size_t>(reason); }

}  // namespace

void PipelineCounters::AddTo(Ledger& ledger) const {
  for (size_t kind = 0; kind < kKinds; ++kind) {
    KindLedger& line = ledger.kinds[kind];
    line.delivered = delivered[kind].Get();
    line.lost[Index(LostReason::kQueueFull)] = queue_full[kind].Get();
    line.lost[Index(LostReason::kMalformed)] = malformed[kind].Get();
    line.attempted = made[kind].Get();
  }
}

void PipelineCounters::Merge(KindLedger& into, const KindLedger& from) {
  into.attempted += from.attempted;
  into.delivered += from.delivered;
  into.unreadable += from.unreadable;
  for (size_t reason = 0; reason < into.lost.size(); ++reason) {
    into.lost[reason] += from.lost[reason];
  }
}

std::vector<event::Gap> GapFinder::Find(const Ledger& ledger) {
  std::vector<event::Gap> gaps;
  for (size_t kind = 0; kind < kKinds; ++kind) {
    for (size_t reason = 0; reason < told_[kind].size(); ++reason) {
      const uint64_t lost = ledger.kinds[kind].lost[reason];
      uint64_t& told = told_[kind][reason];
      if (lost > told) {
        gaps.push_back({static_cast<event::Kind>(kind), static_cast<uint8_t>(reason), lost - told});
        told = lost;
      }
    }
  }
  return gaps;
}

void GapFinder::Untell(const event::Gap& gap) { told_[static_cast<size_t>(gap.lost_kind)][gap.reason] -= gap.count; }

}  // namespace moat::app
