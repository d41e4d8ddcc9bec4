// SPDX-License-Identifier: Apache-2.0
// What this kernel offers, asked by loading tiny programs; never by comparing version numbers (distributions backport).
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "agent/base/error.h"
#include "agent/probe/kernel_btf.h"

namespace moat::probe {

struct Answer {
  bool yes = false;
  std::string why;  // what was asked and what the kernel said, also when yes
};

// Asked once; then read-only, any thread.
class Features {
 public:
  static Result<Features> Ask();

  Answer tp_btf;        // BTF tracepoints
  Answer syscall_exit;  // the one on the return from any system call, in whose programs any kernel pointer can be followed
  Answer task_iter;     // iterator over tasks
  Answer cgroup_addr;   // cgroup/connect, sendmsg
  Answer cgroup_sock;   // cgroup/post_bind, sock_release

  // Whether the kernel has a BTF tracepoint of this name ("sock_send_length"); only those of the table are known.
  bool HasTracepoint(std::string_view name) const;

 private:
  explicit Features(KernelBtf btf) : btf_(std::move(btf)) {}
  KernelBtf btf_;
};

}  // namespace moat::probe
