// SPDX-License-Identifier: Apache-2.0
// The borders of sinks. A finding, or an event, is encoded once for its sink, lies in the sink's spool until its transport has delivered it, and is never
// asked for again. An encoding and a transport are a file each; runner.h ties them together.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/error.h"
#include "agent/event/batch.h"
#include "agent/event/finding.h"

namespace moat::sink {

// What every message says of where it comes from.
struct Origin {
  std::string hostname, version;  // of moatd
  std::string run{};  // tells this run of moatd from any other; with an event's number it is the event's id
};

// What becomes of the agent itself; activity_id of OCSF's class 6002. kUpdate: another configuration.
enum class Lifecycle : uint8_t { kStart = 3, kStop = 4, kUpdate = 8 };
const char* LifecycleName(Lifecycle what);  // "agent-start", "agent-stop", "agent-update"

// Pure; any thread. The text is valid UTF-8 without line ends and without control characters, whatever the finding's texts hold.
class Encoding {
 public:
  virtual ~Encoding() = default;
  virtual const char* name() const = 0;  // "ocsf", "cef"
  virtual std::string Encode(const event::Finding& finding) const = 0;
  // Empty, both: the encoding has no words for it. An event is at most kMaxText long (shrink.h). time_unix_ns: of the event.
  virtual std::string EncodeEvent(const event::Event&, const event::Names&, uint64_t /*time_unix_ns*/) const { return ""; }
  virtual std::string EncodeLifecycle(Lifecycle, std::string_view /*message*/, uint64_t /*time_unix_ns*/) const { return ""; }
};
std::unique_ptr<Encoding> MakeOcsf(Origin origin);  // ocsf.cc: OCSF 1.8.0
std::unique_ptr<Encoding> MakeCef(Origin origin);  // cef.cc

// One that is on its way. What a transport needs beside the text, so that it need not read it.
struct Message {
  uint64_t time_unix_ns = 0;  // when it was last seen
  event::Severity severity = event::Severity::kInfo;
  std::string id;  // of the finding or the event; of the agent's own life its kind and the time, since no two are the same
  uint64_t revision = 0;
  std::string kind;  // FindingKindName, KindName or LifecycleName
  std::string text;  // as encoded
};

enum class Outcome : uint8_t {
  kDelivered,
  kRetry,  // the receiver cannot take it now: it is sent again, after a pause
  kRejected,  // it will never take it: to the dead letters
};
struct Delivery {
  // Of messages in their order: the first `delivered` have arrived as far as the protocol lets a sender know. outcome is that of the next
  // one, kDelivered when there is none.
  size_t delivered = 0;
  Outcome outcome = Outcome::kDelivered;
  std::string why{};  // when not delivered
  uint64_t retry_after_ms = 0;  // as the receiver asks; 0: it does not say
};

struct TransportStats {
  uint64_t resent = 0;  // messages sent again after a fault that may have arrived before it
  uint64_t unkept = 0;  // messages that the disk did not take for that, and that a receiver which dies can lose
  uint64_t refused = 0;  // that the receiver refused among others that it took, without saying which: they count as delivered
};

// One thread, the sink's own. May block, but for no longer than its configured timeout.
class Transport {
 public:
  virtual ~Transport() = default;
  virtual const char* name() const = 0;  // "file", "syslog", "otlp"
  virtual Delivery Send(std::span<const Message> messages) = 0;
  virtual TransportStats stats() const { return {}; }
};

}  // namespace moat::sink
