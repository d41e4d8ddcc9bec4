// SPDX-License-Identifier: Apache-2.0
// OCSF 1.8.0 of what is no finding: events (classes 1001, 1003, 1004, 1007, 4001) and the agent's own life (6002). Pure; any thread. Each
// is one line of JSON with no control character in it, as sink.h promises.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "agent/event/batch.h"
#include "agent/event/event.h"
#include "agent/sink/sink.h"

namespace moat::sink {

std::string EventId(const event::Event& event, const Origin& origin);
event::Severity SeverityOf(const event::Event& event);  // medium where something was denied, otherwise info

// Empty: OCSF has no class for this kind (gaps), or it is a finding (MakeOcsf). time_unix_ns: of the event. At most kMaxText (shrink.h):
// of one that would be longer texts are cut, and unmapped.moat.shortened says how many.
std::string OcsfEvent(const event::Event& event, const event::Names& names, const Origin& origin, uint64_t time_unix_ns);

std::string OcsfLifecycle(Lifecycle what, std::string_view message, const Origin& origin, uint64_t time_unix_ns);

}  // namespace moat::sink
