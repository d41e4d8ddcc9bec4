// SPDX-License-Identifier: Apache-2.0
// The agent's own calls, made once the hooks are attached, so that each can be seen to run: a program may be attached and never run
// (lsm where "bpf" is not among the active security modules), and then its silence would look like peace.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace moat::probe {

class Canary {
 public:
  // Claims that these were done ("file.open", or "file.copy@sys_exit" where only that backend sees it).
  explicit Canary(std::set<std::string, std::less<>> done = {}) : done_(std::move(done)) {}
  // Opens /dev/null, reads the agent's own executable, writes to a memory file, talks to itself over loopback, and has children
  // exec, exit and be looked into: milliseconds, nothing left behind. in_scope: this process lies in the cgroup whose sockets are
  // watched. Its children are seen by hooks like any process's.
  static Canary Sing(bool in_scope);

  // Whether something was done that a hook of this event must have seen.
  bool Did(std::string_view event, std::string_view backend) const;
  // Why not.
  std::string WhyNot(std::string_view event) const;

 private:
  using Call = std::function<std::string()>;  // what went wrong; empty: done
  void Try(std::initializer_list<const char*> events, const Call& call);

  std::set<std::string, std::less<>> done_;  // "file.open", or "file.copy@sys_exit" where only that backend sees it
  std::map<std::string, std::string, std::less<>> why_;  // of those that could not be done
};

}  // namespace moat::probe
