// SPDX-License-Identifier: Apache-2.0
// What the agent says of itself: plain data that probe and app fill, and api shows.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace moat {

// One event source of a domain: the program chosen for it, those passed over, and what the choice cannot see.
struct HookStatus {
  std::string event;    // "file.open"
  std::string backend;  // "sys_exit", "tp_btf", "cgroup", "fanotify", ...; empty: none could be loaded
  std::string program;  // BPF program name
  bool attached = false;  // of an agent that does not run (probe/ask.h): would be
  std::string why;                  // why this row was chosen, or why none was
  std::vector<std::string> unseen;  // what the chosen backend cannot see: a stable id, ": ", plain words
  uint64_t runs_missed = 0;         // program runs that the kernel skipped
  // Not attached because this kernel has nothing for it: no fault of the set-up, but a gap, and unseen says how wide.
  bool exposure = false;
  std::string proof = {};  // whether it has been seen to run; empty: nobody looked
};

struct DomainStatus {
  std::string name;  // "process", "file", "gpu", "net", "enforce"
  bool loaded = false;
  std::string error;  // why not, when not loaded
  std::vector<HookStatus> hooks;
};

// Where events were lost. attempted = delivered + the sum over reasons, per kind.
enum class LostReason : uint8_t { kRingFull, kProgramMissed, kMalformed, kQueueFull, kCount };
const char* LostReasonName(LostReason reason);  // "ring_full", ...

struct KindLedger {
  uint64_t attempted = 0;
  uint64_t delivered = 0;
  std::array<uint64_t, static_cast<size_t>(LostReason::kCount)> lost{};
  uint64_t unreadable = 0;  // delivered with a field that could not be read
};

constexpr size_t kKinds = 32;  // MOAT_KIND_COUNT

struct Ledger {
  std::array<KindLedger, kKinds> kinds{};
  std::array<uint64_t, 16> table_full{};  // index: enum moat_table
};

// Of Ledger::table_full: "inodes", "labels", ...; "unknown".
const char* TableName(size_t table);

struct RingStatus {
  std::string name;
  uint64_t size_bytes = 0;
  uint64_t used_bytes = 0;
};

}  // namespace moat
