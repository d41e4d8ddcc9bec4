// SPDX-License-Identifier: Apache-2.0
// The ledger's user-space half: attempted = delivered + lost, by kind and reason, from the hook to the end of the pipeline.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "agent/base/counters.h"
#include "agent/base/status.h"
#include "agent/event/event.h"

namespace moat::app {

// Counted by the ring and the pipeline thread, each its own counters; read by any.
struct PipelineCounters {
  using PerKind = std::array<Counter, kKinds>;
  PerKind made;        // ring thread: gaps; what the probe makes itself (scans, sums, fanotify) is in its own ledger
  PerKind malformed;   // ring thread
  PerKind queue_full;  // ring thread
  PerKind delivered;   // pipeline thread: handed to every consumer

  // Adds them to the kernel's half. Read these first and the kernel's after, or what is under way could look like more delivered
  // than attempted: so the kernel's half is asked for by a call.
  template <typename KernelLedger>
  Ledger Whole(const KernelLedger& kernel) const {
    Ledger own;
    AddTo(own);
    Ledger whole = kernel();
    for (size_t kind = 0; kind < kKinds; ++kind) {
      Merge(whole.kinds[kind], own.kinds[kind]);
    }
    return whole;
  }

 private:
  void AddTo(Ledger& ledger) const;
  static void Merge(KindLedger& into, const KindLedger& from);
};

// Turns the growth of losses between two looks at the ledger into gap events.
class GapFinder {
 public:
  // The gaps since the last call, one for each kind and reason.
  std::vector<event::Gap> Find(const Ledger& ledger);
  // A gap that could not be handed on: found again by the next call.
  void Untell(const event::Gap& gap);

 private:
  std::array<std::array<uint64_t, static_cast<size_t>(LostReason::kCount)>, kKinds> told_{};
};

}  // namespace moat::app
