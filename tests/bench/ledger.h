// SPDX-License-Identifier: Apache-2.0
// The equation that must hold once everything has come to rest: attempted = delivered + lost, per kind.
#pragma once

#include <numeric>
#include <string>

#include "agent/base/status.h"
#include "agent/event/event.h"

namespace moat::bench {

struct Balance {
  uint64_t lost = 0;
  std::string broken;  // empty: it holds
};

inline Balance Check(const Ledger& ledger) {
  Balance balance;
  for (size_t i = 0; i < ledger.kinds.size(); i++) {
    const KindLedger& kind = ledger.kinds[i];
    const uint64_t lost = std::accumulate(kind.lost.begin(), kind.lost.end(), uint64_t{0});
    balance.lost += lost;
    if (kind.attempted != kind.delivered + lost) {
      balance.broken += std::string(balance.broken.empty() ? "" : "; ") + event::KindName(static_cast<event::Kind>(i)) +
                        ": attempted " + std::to_string(kind.attempted) + ", delivered " + std::to_string(kind.delivered) +
                        ", lost " + std::to_string(lost);
    }
  }
  return balance;
}

}  // namespace moat::bench
