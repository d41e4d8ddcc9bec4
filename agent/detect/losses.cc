// SPDX-License-Identifier: Apache-2.0
// Events that are missing from the stream: whatever is concluded from it may be incomplete. Process life, tampering and verdicts have a ring of
// their own that other events cannot fill: their loss is worse.
#include <array>

#include "agent/base/status.h"
#include "agent/detect/detectors.h"
#include "agent/detect/techniques.h"

namespace moat::detect {
namespace {

using event::Kind;

const char* Why(uint8_t reason) {
  switch (static_cast<LostReason>(reason)) {
    case LostReason::kRingFull: return "a buffer between the kernel and moatd was full (rings in moatd.yaml)";
    case LostReason::kProgramMissed: return "the kernel skipped a program of moat's";
    case LostReason::kMalformed: return "records could not be understood";
    case LostReason::kQueueFull: return "moatd could not keep up (pipeline.queue_batches in moatd.yaml)";
    case LostReason::kCount: break;
  }
  return "the reason is not known";
}

class Losses final : public Detector {
 public:
  const char* name() const override { return "losses"; }
  uint32_t kinds() const override { return Wants(Kind::kGap); }

  void OnEvent(const event::Event& event, const Scene&, Raise& raise) override {
    const auto* gap = std::get_if<event::Gap>(&event.body);
    if (gap == nullptr || gap->count == 0) {
      return;
    }
    const std::string kind = gap->lost_kind == Kind::kNone ? "any kind" : std::string("kind ") + event::KindName(gap->lost_kind);
    const std::string lost = std::to_string(gap->count) + (gap->count == 1 ? " event of " : " events of ") + kind;
    const bool urgent = gap->lost_kind == Kind::kFork || gap->lost_kind == Kind::kExec || gap->lost_kind == Kind::kExit ||
                        gap->lost_kind == Kind::kFileTamper || gap->lost_kind == Kind::kVerdict;
    const char* const reason = Why(gap->reason);
    raise(
        {.kind = event::FindingKind::kEventsLost,
         .severity = urgent ? event::Severity::kHigh : event::Severity::kMedium,
         .confidence = 100,
         .cause = kind + "\n" + reason,
         .title = lost + " lost on this host: " + reason,
         .explanation =
             lost + " happened and " + (gap->count == 1 ? "was" : "were") + " not seen: " + reason +
             ". What moat says of this time may be incomplete, and somebody who wants not to be seen may have made the noise on "
             "purpose. It is harmless if the host was simply busier than moat was set up for. What policies forbid was "
             "forbidden all the same: the kernel decides that by itself.",
         .action = "See in moatctl status who made the events. If the load is ordinary, give moat larger buffers.",
         .evidence = {"lost " + lost + ": " + reason},
         .techniques = {technique::kImpairTools},
         .times = gap->count});
  }
};

}  // namespace

std::unique_ptr<Detector> MakeLosses() { return std::make_unique<Losses>(); }

}  // namespace moat::detect
