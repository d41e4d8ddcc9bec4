// SPDX-License-Identifier: Apache-2.0
// The events we want and, for each, the programs that can give it, best first. A fallback is a row here, not an if elsewhere.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "bpf/abi/event.h"
#include "bpf/abi/gpu.h"

namespace moat::probe {

struct Answer;
class Features;

enum class Backend {
  kLsm,      // sees every way to the operation and may deny it; only where "bpf" is among the active security modules
  kFmodRet,  // on the security_* function that calls the security modules: the same, whatever modules are active
  kFentry,   // fentry or fexit of any function: sees the same, cannot deny
  kKprobe,
  kUprobe,  // a function of a library, in whatever process runs it
  kTpBtf,
  kSyscallExit,  // reached through the tp_btf program of domain syscall
  kIter,
  kCgroupAddr,
  kCgroupSock,
  kSockOps,
  kCgroupSkb,
  kFanotify,  // notices read by user space: no program (tamper_watch.h)
};
const char* BackendName(Backend backend);

// Something that a backend cannot see. The id is stable: tests and scripts look for it.
struct Unseen {
  const char* id;
  const char* text;
};

struct Candidate {
  Backend backend;
  // Null: nothing of its own; the row of `with` sees this event too, or, without one, user space does (fanotify).
  const char* program = nullptr;
  // lsm: hooks ("file_open"); fmod_ret, fentry, kprobe: kernel functions; uprobe: a function of the domain's library; tp_btf: tracepoints; syscall exit: system calls, of which an
  // architecture may lack some; others: empty.
  std::vector<std::string_view> attach = {};
  // The kind that a run which the kernel skipped (recursion) would have reported: such runs are counted as lost.
  moat_kind missed = MOAT_KIND_NONE;
  std::vector<Unseen> unseen = {};
  bool passes_on = false;  // syscall exit: ends with moat_pass_on(), so that a second program may look at the same call
  Answer Features::* needs = nullptr;  // beyond what the backend needs
  // Only when another row of this domain, further up, has a program of this backend: rows that would count the same thing twice.
  const char* with = nullptr;
  Backend with_backend = Backend::kFentry;
  // Only where the kernel has no such function: where it has, a program of its own is to see this.
  const char* lacks = nullptr;
  // kprobe: its functions are those of the driver of such devices (enum moat_gpu_class), a module that may come, go and come again, and not
  // each version has all of them. 0: the kernel's own.
  uint32_t driver = 0;
  // Of such a function that the kernel refuses to probe: those that may call it, where the instruction that does is probed in its place.
  std::vector<std::string_view> callers = {};
  // Only where no fentry programs run (or are avoided): a call that the kernel lacks is not worth a program on all of them.
  bool if_no_fentry = false;
};

struct Row {
  const char* event;
  const char* domain;
  std::vector<Candidate> candidates;
  // What nobody sees when no candidate can be had. Empty: the event as a whole, and that is a fault of the agent's set-up. Not empty:
  // the row closes a gap of others, and a kernel without it is exposed by this much.
  std::vector<Unseen> absent = {};
};

std::span<const Row> Table();
std::vector<Row> ProcessRows();  // of them those of domain process (table_process.cc)
std::vector<Row> AuthRows();  // of domain auth (table_auth.cc)
std::vector<Row> CopyRows();  // of them those of drivers' own copies of parameters (table_copies.cc)

}  // namespace moat::probe
