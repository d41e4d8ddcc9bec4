// SPDX-License-Identifier: Apache-2.0
#include "agent/sink/message.h"

#include "agent/sink/ocsf.h"
#include "agent/sink/shrink.h"

namespace moat::sink {

Message FindingMessage(const Encoding& encoding, const event::Finding& finding) {
  return {.time_unix_ns = finding.last_unix_ns,
          .severity = finding.severity,
          .id = finding.id,
          .revision = finding.revision,
          .kind = event::FindingKindName(finding.kind),
          .text = EncodeBounded(encoding, finding)};
}

Message EventMessage(const Encoding& encoding, const event::Event& event, const event::Names& names, const Origin& origin,
                     uint64_t time_unix_ns) {
  return {.time_unix_ns = time_unix_ns,
          .severity = SeverityOf(event),
          .id = EventId(event, origin),
          .revision = 1,
          .kind = event::KindName(event.header.kind),
          .text = encoding.EncodeEvent(event, names, time_unix_ns)};
}

Message LifecycleMessage(const Encoding& encoding, Lifecycle what, std::string_view message, uint64_t time_unix_ns) {
  return {.time_unix_ns = time_unix_ns,
          .severity = event::Severity::kInfo,
          .id = std::string(LifecycleName(what)) + "-" + std::to_string(time_unix_ns),  // each is one of its own
          .revision = 1,
          .kind = LifecycleName(what),
          .text = encoding.EncodeLifecycle(what, message, time_unix_ns)};
}

}  // namespace moat::sink
