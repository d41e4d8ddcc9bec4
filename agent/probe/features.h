// SPDX-License-Identifier: Apache-2.0
// What this kernel offers, asked by loading tiny programs; never by comparing version numbers (distributions backport).
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "agent/base/error.h"

struct btf;

namespace moat::probe {

struct Answer {
  bool yes = false;
  std::string why;  // when not: what was asked and what the kernel said
};

// Asked once, in the constructor; then read-only, any thread.
class Features {
 public:
  static Result<std::unique_ptr<Features>> Ask();
  ~Features();

  Answer tp_btf;        // BTF tracepoints: typed arguments, no per-syscall gate
  Answer syscall_exit;  // classic tracepoints whose programs may reach the saved registers and follow any kernel pointer
  Answer task_iter;     // iterator over tasks
  Answer cgroup_addr;   // cgroup/connect, sendmsg
  Answer cgroup_sock;   // cgroup/post_bind, sock_release

  // Whether the kernel has a BTF tracepoint of this name ("sock_send_length").
  bool HasTracepoint(std::string_view name) const;

 private:
  Features() = default;
  int Find(const std::string& name, uint32_t kind) const;  // BTF id; negative: none
  btf* btf_ = nullptr;
};

}  // namespace moat::probe
