// SPDX-License-Identifier: Apache-2.0
// Who a pid is: for records made in user space, which the kernel did not fill in. Ring thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bpf/abi/process.h"

struct bpf_program;

namespace moat::probe {

// Whether the process of this pid and start time is still there, a zombie included. CLOCK_BOOTTIME ns, compared to the clock
// tick that /proc tells.
bool Alive(uint32_t pid, uint64_t start_ns);

class Owners {
 public:
  // scan: the iterator program; null: it could not be loaded, then only processes seen on the rings are known.
  Owners(bpf_program* scan, std::string scope) : scan_(scan), scope_(std::move(scope)), slots_(kSlots) {}

  // Called for every record that is drained: one look at a slot when the process is known already.
  void Note(const moat_hdr& header) {
    moat_hdr& slot = slots_[header.pid % kSlots];
    if (slot.pid != header.pid || slot.start_ns != header.start_ns || header.kind == MOAT_KIND_EXEC) {
      slot = header;
    }
    if (header.kind == MOAT_KIND_FORK) {
      NoteChild(reinterpret_cast<const moat_fork&>(header));
    }
  }

  enum class Who {
    kKnown,   // out is filled: pid, start, cgroup, uid, comm
    kBeside,  // lives, outside the scope
    kGone,    // ended before we looked: its exit record may still come
  };
  // Of a pid alone, as fanotify tells it.
  Who Find(uint32_t pid, moat_hdr& out);
  // Of a known identity. False: nothing is known of it.
  bool Find(uint32_t pid, uint64_t start_ns, moat_hdr& out);

 private:
  static constexpr uint32_t kSlots = 4096;  // the latest processes by pid; a collision costs a scan
  void NoteChild(const moat_fork& fork);

  bpf_program* scan_;
  std::string scope_;
  std::vector<moat_hdr> slots_;
};

}  // namespace moat::probe
