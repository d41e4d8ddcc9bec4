// SPDX-License-Identifier: Apache-2.0
// Events as protobuf messages, one converter per stream. Only here and in status_service do the agent's structs meet the proto.
#pragma once

#include "agent/api/process_refs.h"
#include "agent/base/clock.h"
#include "agent/event/batch.h"

namespace moat::v1 {
class WatchResponse;
}

namespace moat::api {

class Converter {
 public:
  // response: empty, best on an arena (an event makes 3 to 8 small allocations).
  void BeginMessage(v1::WatchResponse* response);
  // False: no room in this message; add the same event to the next one. The first event of a message always fits.
  bool Add(const event::Event& event, const event::Names* names);

 private:
  static constexpr size_t kMaxProcessBytes = 1 << 20;  // a client takes 4 MiB by default

  uint32_t Process(const event::Header& header, const std::shared_ptr<const event::Process>& info);

  WallClock clock_;
  ProcessRefs refs_;
  v1::WatchResponse* response_ = nullptr;
  size_t process_bytes_ = 0;
};

}  // namespace moat::api
