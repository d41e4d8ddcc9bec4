// SPDX-License-Identifier: Apache-2.0
// What is on its way to a receiver, from what was found, seen or became of the agent. Pure; any thread.
#pragma once

#include <string_view>

#include "agent/event/batch.h"
#include "agent/event/event.h"
#include "agent/sink/sink.h"

namespace moat::sink {

// At most kMaxText (shrink.h), whatever is in the finding.
Message FindingMessage(const Encoding& encoding, const event::Finding& finding);

// Its text is empty where the encoding has no words for it. time_unix_ns: of the event. Its id is the cursor that "moatctl watch --since"
// takes: what it shows next came after this event.
Message EventMessage(const Encoding& encoding, const event::Event& event, const event::Names& names, const Origin& origin,
                     uint64_t time_unix_ns);

Message LifecycleMessage(const Encoding& encoding, Lifecycle what, std::string_view message, uint64_t time_unix_ns);

}  // namespace moat::sink
