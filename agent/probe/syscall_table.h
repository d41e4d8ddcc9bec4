// SPDX-License-Identifier: Apache-2.0
// Which program runs when a system call returns: slots of the program array that bpf/syscall/exit.bpf.c jumps through.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "agent/base/error.h"

namespace moat::probe {

// Number of a system call on this architecture; none: it has no call of this name (arm64 has no open). Calls that this kernel
// lacks, or whose name is not in probe's table, are a matter of the call: they return ENOSYS and their hooks see no descriptor.
std::optional<uint32_t> SyscallNumber(std::string_view name);

// Borrows the descriptor of the map. One thread.
class SyscallTable {
 public:
  explicit SyscallTable(int map_fd) : map_(map_fd) {}

  // Puts a program into the first slot of a call, or into the second when the program in the first passes calls on. Returns the
  // slot, for Remove. From then on it runs.
  Result<uint32_t> Add(uint32_t call, int program_fd, bool passes_on);
  void Remove(uint32_t slot);

 private:
  int map_;
  uint64_t passing_[8] = {};  // bit n: the program in the first slot of call n passes on
};

}  // namespace moat::probe
