// SPDX-License-Identifier: Apache-2.0
#include "agent/base/status.h"

#include <iterator>

namespace moat {

const char* LostReasonName(LostReason reason) {
  switch (reason) {
    case LostReason::kRingFull: return "ring_full";
    case LostReason::kProgramMissed: return "program_missed";
    case LostReason::kMalformed: return "malformed";
    case LostReason::kQueueFull: return "queue_full";
    case LostReason::kCount: break;
  }
  return "unknown";
}

const char* TableName(size_t table) {
  static constexpr const char* kNames[] = {
      "inodes",        "labels",        "file_io",      "gpu_calls", "flows",      "net_totals", "sockets", "sent",
      "dns_untrusted", "dns_malformed", "dns_too_long", "dns_full",  "gpu_owners", "table13",    "table14", "table15"};
  static_assert(std::size(kNames) == std::tuple_size_v<decltype(Ledger::table_full)>);
  return table < std::size(kNames) ? kNames[table] : "unknown";
}

}  // namespace moat
