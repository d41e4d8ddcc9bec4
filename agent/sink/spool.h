// SPDX-License-Identifier: Apache-2.0
// Messages on disk until they are delivered: a directory (0700) of one sink alone, with
//   N.seg     segments (0600, record.h), N the seq of the first message, 16 hexadecimal digits; only the newest is written to
//   cursor    the seq of the first message that is not delivered
//   dead.json what the receiver will never take, a JSON object a line
//   lock      so that a second agent does not take the same directory
// A message that Append() took is on disk, over SIGKILL and over power loss. The cursor is flushed by the kernel as it pleases: after
// SIGKILL it is where it was, after power loss some messages may be delivered again.
//
// Append() on one thread, Take(), Settle() and Bury() on one other, stats() on any. Neither of the two waits for the other's disk.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/error.h"
#include "agent/sink/sink.h"

namespace moat::sink {

struct SpoolOptions {
  uint64_t max_bytes = 64u << 20;  // of segments; beyond it the oldest segment is dropped
  uint64_t segment_bytes = 0;  // 0: a sixteenth of max_bytes, 64 KiB to 4 MiB
  uint64_t dead_bytes = 0;  // of dead.json; 0: a quarter of max_bytes
};

struct SpoolStats {
  uint64_t spooled = 0;  // messages taken by Append()
  uint64_t dropped_by_cap = 0;  // messages that were not delivered and gave way to newer ones, or are larger than all
  uint64_t corrupt = 0;  // messages that were lost to damage, found by the gaps in their numbers
  uint64_t torn = 0;  // ends of segments that were cut off: what was being written when the agent was killed
  uint64_t dead = 0, dead_dropped = 0;  // written to dead.json; not written because it is full or cannot be written
  uint64_t depth = 0, depth_bytes = 0;  // not delivered: messages; disk space of all segments
  uint64_t oldest_unix_ns = 0;  // Message::time_unix_ns of the oldest that is not delivered, or of one a little older; 0: none
};

class Spool {
 public:
  // Creates the directory, also its parents, or recovers what is in it. Fails when it cannot be used, saying why; what cannot be read stays as
  // it is.
  static Result<std::unique_ptr<Spool>> Open(const std::string& path, const SpoolOptions& options);
  virtual ~Spool() = default;

  // One write and one flush: how many of the first are on disk now, at least one. On an error none is.
  virtual Result<size_t> Append(std::span<const Message> messages) = 0;

  // The oldest that are not delivered, at least one when there is one; empty: none. They stay until they are settled. What a segment held that
  // is gone is counted as corrupt; of one that cannot be read now the error is told, and it is there again when it can.
  virtual Result<std::vector<Message>> Take(size_t max_messages, size_t max_bytes) = 0;
  // The first n of what Take() gave last are done with; the others come again.
  virtual void Settle(size_t n) = 0;
  // Keeps one that was refused for good; it has still to be settled.
  virtual void Bury(const Message& message, std::string_view why) = 0;

  virtual SpoolStats stats() const = 0;
};

}  // namespace moat::sink
