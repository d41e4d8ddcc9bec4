// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/features.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/btf.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "agent/base/fd.h"
#include "agent/probe/table.h"

namespace moat::probe {
namespace {

constexpr bpf_insn Insn(uint8_t code, uint8_t dst, uint8_t src, int16_t off, int32_t imm) {
  return {code, static_cast<uint8_t>(dst & 0xf), static_cast<uint8_t>(src & 0xf), off, imm};
}
constexpr bpf_insn MovImm(uint8_t reg, int32_t value) { return Insn(BPF_ALU64 | BPF_MOV | BPF_K, reg, 0, 0, value); }
constexpr bpf_insn kReturn = Insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);

struct Try {
  const char* what;  // in the plural: "... load here"
  bpf_prog_type type;
  bpf_attach_type attach = static_cast<bpf_attach_type>(0);
  int btf_id = 0;  // negative: the kernel's BTF lacks the attach point
};

Answer Load(const Try& attempt, const std::vector<bpf_insn>& code) {
  if (attempt.btf_id < 0) {
    return {false, std::string(attempt.what) + ": not in the kernel's BTF"};
  }
  LIBBPF_OPTS(bpf_prog_load_opts, options);
  options.expected_attach_type = attempt.attach;
  options.attach_btf_id = static_cast<uint32_t>(attempt.btf_id);
  Fd program(bpf_prog_load(attempt.type, "moat_ask", "GPL", code.data(), code.size(), &options));
  if (program) {
    return {true, std::string(attempt.what) + " load here"};
  }
  return {false, std::string(attempt.what) + ": " + std::strerror(errno)};
}

}  // namespace

bool Features::HasTracepoint(std::string_view name) const {
  return btf_.Find(BTF_KIND_TYPEDEF, "btf_trace_" + std::string(name)) > 0;
}

Result<Features> Features::Ask() {
  const KernelBtf::Name iterator = {BTF_KIND_FUNC, "bpf_iter_task"}, cast_function = {BTF_KIND_FUNC, "bpf_rdonly_cast"},
                        list_head = {BTF_KIND_STRUCT, "list_head"}, sys_exit = {BTF_KIND_TYPEDEF, "btf_trace_sys_exit"};
  std::vector<KernelBtf::Name> names = {iterator, cast_function, list_head, sys_exit};
  for (const Row& row : Table()) {
    for (const Candidate& candidate : row.candidates) {
      for (const std::string_view point : candidate.attach) {
        if (candidate.backend == Backend::kTpBtf) {
          names.emplace_back(BTF_KIND_TYPEDEF, "btf_trace_" + std::string(point));
        }
      }
    }
  }
  MOAT_ASSIGN(KernelBtf btf, KernelBtf::Load(names));
  Features f(std::move(btf));
  const auto find = [&f](const KernelBtf::Name& name) { return f.btf_.Find(name.first, name.second); };
  const std::vector<bpf_insn> zero = {MovImm(0, 0), kReturn};
  const std::vector<bpf_insn> allow = {MovImm(0, 1), kReturn};

  f.tp_btf =
      Load({"BTF tracepoints", BPF_PROG_TYPE_TRACING, BPF_TRACE_RAW_TP, find({BTF_KIND_TYPEDEF, "btf_trace_sched_process_exit"})},
           zero);
  f.task_iter = Load({"task iterators", BPF_PROG_TYPE_TRACING, BPF_TRACE_ITER, find(iterator)}, zero);
  f.cgroup_addr = Load({"cgroup/connect programs", BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET4_CONNECT}, allow);
  f.cgroup_sock = Load({"cgroup/sock_release programs", BPF_PROG_TYPE_CGROUP_SOCK, BPF_CGROUP_INET_SOCK_RELEASE}, allow);

  // What the programs behind it need beyond the tracepoint: the kfunc bpf_rdonly_cast (6.2).
  const int cast = find(cast_function);
  f.syscall_exit = Load(
      {"BTF tracepoint sys_exit and bpf_rdonly_cast", BPF_PROG_TYPE_TRACING, BPF_TRACE_RAW_TP, cast < 0 ? cast : find(sys_exit)},
      {MovImm(1, 0), MovImm(2, find(list_head)), Insn(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, cast), MovImm(0, 0),
       kReturn});
  return f;
}

}  // namespace moat::probe
