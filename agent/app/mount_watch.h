// SPDX-License-Identifier: Apache-2.0
// Tells that a mount came or went which decides what lies at a path: a volume with weights is often mounted long after moatd has started.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/error.h"
#include "agent/base/fd.h"

namespace moat::app {

// Of a mount table (proc_pid_mountinfo(5)), the mounts that are at, above or below one of the paths, each by what makes it another one. The
// root is none: it is above everything. Pure.
std::set<std::string> MountsAt(std::string_view mountinfo, const std::vector<std::string>& paths);

// One thread.
class MountWatch {
 public:
  // Of this process's mount namespace.
  static Result<MountWatch> Open();
  int fd() const { return fd_.get(); }  // POLLPRI once after each change of the table
  // Whether the mounts at these paths are others than at the last call, or at Open(). One that came in place of another with the same numbers,
  // type and source is known from the second call on. Symbolic links in paths are followed as they are now.
  bool Take(const std::vector<std::string>& paths);

 private:
  explicit MountWatch(Fd fd);
  Fd fd_;
  std::string table_;
  std::map<std::string, std::string> roots_;  // by mount: what its root is
};

}  // namespace moat::app
