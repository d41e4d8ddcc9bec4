// SPDX-License-Identifier: Apache-2.0
// Events as bytes of a moat.v1.WatchResponse, one encoder per stream. Only here, in watch and in status_service do the agent's
// structs meet the proto; a test holds what is written against the generated classes, field by field.
#pragma once

#include <memory>
#include <string_view>

#include "agent/api/process_refs.h"
#include "agent/api/wire.h"
#include "agent/base/clock.h"
#include "agent/event/batch.h"

namespace moat::api {

class Encoder {
 public:
  void BeginMessage();
  // False: no room in this message; add the same event to the next one. The first event of a message always fits.
  bool Add(const event::Event& event, const event::Names* names);
  size_t events() const { return events_; }
  // The whole message; valid until BeginMessage.
  std::string_view EndMessage(uint64_t lost, std::string_view cursor, bool agent_restarted);

 private:
  static constexpr size_t kMaxBytes = 2 << 20;  // a gRPC client takes 4 MiB by default; one event is far below the rest

  uint32_t Process(const event::Header& header, const std::shared_ptr<const event::Process>& info);

  WallClock clock_;
  ProcessRefs refs_;
  Wire wire_;
  size_t events_ = 0;
};

}  // namespace moat::api
