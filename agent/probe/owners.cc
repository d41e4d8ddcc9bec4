// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/owners.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <string_view>

#include "agent/base/fd.h"
#include "agent/probe/scan.h"
#include "agent/probe/scope.h"

namespace moat::probe {

bool Alive(uint32_t pid, uint64_t start_ns) {
  char path[32], text[1024];
  std::snprintf(path, sizeof(path), "/proc/%u/stat", pid);
  Fd file(open(path, O_RDONLY | O_CLOEXEC));
  const ssize_t length = file ? read(file.get(), text, sizeof(text)) : -1;
  if (length <= 0) {
    return !file && errno != ENOENT;  // no descriptors left, ...: then nobody is declared dead
  }
  // "pid (comm) S ppid ...": comm may hold anything, so count from the last ')'. Field 22 is the start time.
  std::string_view rest(text, static_cast<size_t>(length));
  rest.remove_prefix(std::min(rest.rfind(')') + 1, rest.size()));
  for (int field = 3; field <= 22 && !rest.empty(); ++field) {
    rest.remove_prefix(1);
    const size_t end = std::min(rest.find(' '), rest.size());
    if (field == 22) {
      static const uint64_t tick_ns = 1000000000ull / static_cast<uint64_t>(sysconf(_SC_CLK_TCK));
      uint64_t ticks = 0;
      const std::string_view word = rest.substr(0, end);
      std::from_chars(word.begin(), word.end(), ticks);
      const uint64_t expected = start_ns / tick_ns;
      return ticks + 1 >= expected && ticks <= expected + 1;
    }
    rest.remove_prefix(end);
  }
  return true;
}

void Owners::NoteChild(const moat_fork& fork) {
  moat_hdr& slot = slots_[fork.child_pid % kSlots];
  slot = fork.hdr;  // until it executes a program, a child has its parent's name, user and cgroup
  slot.pid = fork.child_pid;
  slot.tid = fork.child_pid;
  slot.start_ns = fork.child_start_ns;
}

Owners::Who Owners::Find(uint32_t pid, moat_hdr& out) {
  if (pid == 0) {
    return Who::kGone;
  }
  const moat_hdr& slot = slots_[pid % kSlots];
  if (slot.pid == pid && Alive(pid, slot.start_ns)) {
    out = slot;
    return Who::kKnown;
  }
  if (auto record = ScanProcess(scan_, pid)) {
    Note(record->hdr);
    out = record->hdr;
    return Who::kKnown;
  }
  // Lives, but is no process that the iterator reports: outside the scope, or a zombie, which keeps its cgroup.
  if (const std::string cgroup = CgroupOf(pid); !cgroup.empty() && !InScope(cgroup, scope_)) {
    return Who::kBeside;
  }
  if (slot.pid == pid) {
    out = slot;
    return Who::kKnown;
  }
  return Who::kGone;
}

bool Owners::Find(uint32_t pid, uint64_t start_ns, moat_hdr& out) {
  const moat_hdr& slot = slots_[pid % kSlots];
  if (slot.pid == pid && slot.start_ns == start_ns) {
    out = slot;
    return true;
  }
  if (auto record = ScanProcess(scan_, pid); record && record->hdr.start_ns == start_ns) {
    Note(record->hdr);
    out = record->hdr;
    return true;
  }
  return false;
}

}  // namespace moat::probe
