// SPDX-License-Identifier: Apache-2.0
// The rows of domain process.
#include <utility>

#include "agent/probe/features.h"
#include "agent/probe/table.h"
#include "agent/probe/table_macros.h"
#include "agent/probe/unseen.h"

namespace moat::probe {
namespace {

constexpr Unseen kNoCall = {"no_call", "a call that this kernel does not have, or not under a name that is known"};

// A system call when it returns, as MOAT_CALL (bpf/lib/call.bpf.h) defines the programs; of a row with the program's name.
Row CallRow(const char* event, moat_kind kind, const char* fexit, std::vector<std::string_view> functions, const char* at_exit,
            std::string_view call) {
  return {event,
          "process",
          {{.backend = Backend::kFentry,
            .program = fexit,
            .attach = std::move(functions),
            .missed = kind,
            .unseen = {kCompat}},  // __ia32_sys_... are functions of their own
           {.backend = Backend::kSyscallExit,
            .program = at_exit,
            .attach = {call},
            .missed = kind,
            .unseen = {kCompat},
            .if_no_fentry = true}},
          {kNoCall}};
}

// NOLINTNEXTLINE(cppcoreguidelines-macro-usage): literals are pasted together
#define MOAT_CALL_ROW(event, call, kind)                                                                    \
  CallRow("process." event, kind, "moat_process_" event "_fexit", {"__x64_sys_" call, "__arm64_sys_" call}, \
          "moat_process_" event, call)

}  // namespace

std::vector<Row> ProcessRows() {
  return {
      {"process.fork", "process", {{Backend::kTpBtf, "moat_process_fork", {"sched_process_fork"}, MOAT_KIND_FORK}}},
      {"process.fork_label",
       "process",
       {{.backend = Backend::kTpBtf, .needs = &Features::runs_whole, .with = "process.fork", .with_backend = Backend::kTpBtf},
        {.backend = Backend::kKprobe,
         .program = "moat_process_inherit",
         .attach = {"wake_up_new_task"},
         .needs = &Features::preempts}},
       {{"preempted_fork", "the labels of a child, when its parent forks while another is preempted in the same program"}}},
      {"process.exec", "process", {{Backend::kTpBtf, "moat_process_exec", {"sched_process_exec"}, MOAT_KIND_EXEC}}},
      {"process.exit",
       "process",
       {{.backend = Backend::kTpBtf,
         .program = "moat_process_exit",
         .attach = {"sched_process_exit"},
         .missed = MOAT_KIND_EXIT,
         .needs = &Features::group_dead},
        {Backend::kTpBtf, "moat_process_exit_live", {"sched_process_exit"}, MOAT_KIND_EXIT}}},
      {"process.free", "process", {{Backend::kTpBtf, "moat_process_free", {"sched_process_free"}}}},
      {"process.scan", "process", {{Backend::kIter, "moat_process_scan"}}},
      {"process.ptrace",
       "process",
       {MOAT_SECURITY("moat_process_ptrace", "ptrace_access_check", MOAT_KIND_NONE,
                      {"traced_before", "what a process reads after another has begun to trace it"})},
       {{"proc_mem", "memory of a process that holds assets, read by another (process_vm_readv, /proc/PID/mem, ptrace)"}}},
      {"process.traceme",
       "process",
       {MOAT_SECURITY("moat_process_traceme", "ptrace_traceme", MOAT_KIND_NONE)},
       {{"traceme", "memory of a process that holds assets and has itself traced by its parent"}}},
      MOAT_CALL_ROW("ptrace_call", "ptrace", MOAT_KIND_PROCESS_ACCESS),
      MOAT_CALL_ROW("vm_write", "process_vm_writev", MOAT_KIND_PROCESS_ACCESS),
      MOAT_CALL_ROW("vm_read", "process_vm_readv", MOAT_KIND_PROCESS_ACCESS),
      {"process.memory",
       "process",
       {{Backend::kFentry, "moat_process_memory_fexit", {"mem_open"}, MOAT_KIND_PROCESS_ACCESS}},
       {{"mem_open", "who opens /proc/PID/mem of another process"}}},
      MOAT_CALL_ROW("setns", "setns", MOAT_KIND_PRIVILEGE),
      MOAT_CALL_ROW("unshare", "unshare", MOAT_KIND_PRIVILEGE),
      MOAT_CALL_ROW("mount", "mount", MOAT_KIND_PRIVILEGE),
      MOAT_CALL_ROW("pivot_root", "pivot_root", MOAT_KIND_PRIVILEGE),
      MOAT_CALL_ROW("open_tree", "open_tree", MOAT_KIND_PRIVILEGE),
      MOAT_CALL_ROW("move_mount", "move_mount", MOAT_KIND_PRIVILEGE),
      MOAT_CALL_ROW("fsopen", "fsopen", MOAT_KIND_PRIVILEGE),
      MOAT_CALL_ROW("chroot", "chroot", MOAT_KIND_PRIVILEGE),
      MOAT_CALL_ROW("init_module", "init_module", MOAT_KIND_PRIVILEGE),
      MOAT_CALL_ROW("finit_module", "finit_module", MOAT_KIND_PRIVILEGE),
      MOAT_CALL_ROW("kexec_load", "kexec_load", MOAT_KIND_PRIVILEGE),
      MOAT_CALL_ROW("kexec_file_load", "kexec_file_load", MOAT_KIND_PRIVILEGE),
  };
}

}  // namespace moat::probe
