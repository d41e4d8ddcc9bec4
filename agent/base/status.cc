// SPDX-License-Identifier: Apache-2.0
#include "agent/base/status.h"

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

}  // namespace moat
