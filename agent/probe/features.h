// SPDX-License-Identifier: Apache-2.0
// What this kernel offers, asked by loading tiny programs and, where loading says too little, running them; never by comparing version
// numbers (distributions backport).
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "agent/base/error.h"
#include "agent/probe/kernel_btf.h"
#include "agent/probe/table.h"

namespace moat::probe {

struct Answer {
  bool yes = false;
  std::string why;  // what was asked and what the kernel said, also when yes
};

// Asked once; then read-only, any thread.
class Features {
 public:
  static Result<Features> Ask();

  // A program of each kind is attached to the hook of getpgid() for the moment of one such call: on 5.10 with its own list of security
  // modules lsm programs load, attach, and never run.
  Answer lsm, fmod_ret, fentry, kprobe;
  Answer tp_btf;  // BTF tracepoints
  Answer uprobe;  // probes of functions of libraries
  Answer task_iter;  // iterator over tasks
  Answer cgroup_addr;  // cgroup/connect, sendmsg
  Answer cgroup_sock;  // cgroup/post_bind, sock_release
  Answer sock_ops;  // cgroup sockops
  Answer cgroup_skb;  // cgroup_skb/egress
  Answer cast;  // bpf_rdonly_cast (6.2): which of a domain's two images runs (domain.h)
  Answer group_dead;  // sched_process_exit tells the last thread (6.16)
  Answer clone_length;  // generic_remap_file_range_prep()'s length, a pointer to a number, may be looked at (5.10 refuses)
  Answer preempts;  // one thread may take another's place inside the kernel: fexit programs may be skipped (bpf/lib/hook.bpf.h)
  Answer runs_whole;  // it may not
  Answer many_arguments;  // fentry on a function of more than six: iomap_dio_rw() (6.6; before, it loads and does not attach)
  Answer truncate_idmap;  // do_truncate() takes the mount's id mapping first (5.12)
  Answer truncate_plain;  // it does not
  // inode_setattr takes the mount's id mapping first: the function since 6.0 or so, the hook of the modules since 6.8. Or it does not.
  Answer setattr_idmap, setattr_plain, lsm_setattr_idmap, lsm_setattr_plain;
  Answer write_by_file;  // generic_perform_write() takes a file and a position (until 5.18)
  Answer write_by_kiocb;  // it does not
  Answer fanotify;  // the kernel knows what is asked of fanotify (5.17), whether or not we may

  // What the kernel says of itself: uname's version, and debugfs' sched/preempt ("none voluntary (full) lazy"; empty: not readable).
  static Answer Preempts(std::string_view version, std::string_view mode);

  // Whether the kernel has an attach point of this name, for a candidate of the table.
  bool Has(Backend backend, std::string_view point) const;

 private:
  explicit Features(KernelBtf btf) : btf_(std::move(btf)) {}
  KernelBtf btf_;
};

}  // namespace moat::probe
