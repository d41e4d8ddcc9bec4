// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/features.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/btf.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <vector>

#include "agent/base/fd.h"
#include "agent/probe/fan.h"

namespace moat::probe {
namespace {

using Program = std::vector<bpf_insn>;

constexpr bpf_insn Insn(uint8_t code, uint8_t dst, uint8_t src, int16_t off, int32_t imm) {
  return {code, static_cast<uint8_t>(dst & 0xf), static_cast<uint8_t>(src & 0xf), off, imm};
}
constexpr bpf_insn MovImm(uint8_t reg, int32_t value) { return Insn(BPF_ALU64 | BPF_MOV | BPF_K, reg, 0, 0, value); }
constexpr bpf_insn kReturn = Insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
constexpr bpf_insn Load64(uint8_t dst, uint8_t src, int16_t off) { return Insn(BPF_LDX | BPF_MEM | BPF_DW, dst, src, off, 0); }

constexpr const char* kAskHook = "task_getpgid";  // rarely called: nobody is slowed down by the asking
constexpr const char* kAskFunction = "security_task_getpgid";

struct Try {
  const char* what;  // in the plural: "... load here"
  bpf_prog_type type;
  bpf_attach_type attach = static_cast<bpf_attach_type>(0);
  int btf_id = 0;  // negative: the kernel's BTF lacks the attach point
};

Fd LoadProgram(const Try& attempt, const Program& code) {
  LIBBPF_OPTS(bpf_prog_load_opts, options);
  options.expected_attach_type = attempt.attach;
  options.attach_btf_id = static_cast<uint32_t>(attempt.btf_id);
  return Fd(bpf_prog_load(attempt.type, "moat_ask", "GPL", code.data(), code.size(), &options));
}

Answer Load(const Try& attempt, const Program& code) {
  if (attempt.btf_id < 0) {
    return {false, std::string(attempt.what) + ": not in the kernel's BTF"};
  }
  if (const Fd program = LoadProgram(attempt, code)) {
    return {true, std::string(attempt.what) + " load here"};
  }
  return {false, std::string(attempt.what) + ": " + std::strerror(errno)};
}

// A link to a program on the hook of getpgid().
Fd AttachTrace(int program) { return Fd(bpf_raw_tracepoint_open(nullptr, program)); }

Fd AttachKprobe(int program) {
  uint32_t type = 0;
  if (!(std::ifstream("/sys/bus/event_source/devices/kprobe/type") >> type)) {
    errno = ENOENT;
    return Fd();
  }
  perf_event_attr attr{};
  attr.type = type;
  attr.size = sizeof(attr);
  attr.config1 = reinterpret_cast<uint64_t>(kAskFunction);
  Fd event(static_cast<int>(syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC)));
  if (!event || ioctl(event.get(), PERF_EVENT_IOC_SET_BPF, program) != 0 || ioctl(event.get(), PERF_EVENT_IOC_ENABLE, 0) != 0) {
    return Fd();
  }
  return event;
}

// At the beginning of our own executable, which nobody runs: that it attaches is the answer. Newer kernels want CAP_SYS_ADMIN for it.
Answer AskUprobe(const Program& code) {
  const char* what = "uprobe programs";
  uint32_t type = 0;
  if (!(std::ifstream("/sys/bus/event_source/devices/uprobe/type") >> type)) {
    return {false, std::string(what) + ": the kernel has none"};
  }
  const Fd program = LoadProgram({what, BPF_PROG_TYPE_KPROBE}, code);
  if (!program) {
    return {false, std::string(what) + ": " + std::strerror(errno)};
  }
  perf_event_attr attr{};
  attr.type = type;
  attr.size = sizeof(attr);
  attr.config1 = reinterpret_cast<uint64_t>("/proc/self/exe");
  const Fd event(static_cast<int>(syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC)));
  if (!event || ioctl(event.get(), PERF_EVENT_IOC_SET_BPF, program.get()) != 0) {
    return {false, std::string(what) + " load but do not attach: " + std::strerror(errno)};
  }
  return {true, std::string(what) + " attach here"};
}

// Loads, attaches, calls getpgid() once, and looks whether the program ran.
Answer Run(const Try& attempt, Fd (*attach)(int) = AttachTrace) {
  if (attempt.btf_id < 0) {
    return {false, std::string(attempt.what) + ": not in the kernel's BTF"};
  }
  const auto no = [&attempt](const char* step) { return Answer{false, std::string(attempt.what) + step + std::strerror(errno)}; };
  const Fd map(bpf_map_create(BPF_MAP_TYPE_ARRAY, "moat_ask", sizeof(uint32_t), sizeof(uint64_t), 1, nullptr));
  if (!map) {
    return no(" (a map to ask with): ");
  }
  const Fd program =
      LoadProgram(attempt, {Insn(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_VALUE, 0, map.get()), Insn(0, 0, 0, 0, 0),
                            Insn(BPF_ST | BPF_MEM | BPF_DW, 1, 0, 0, 1), MovImm(0, 0), kReturn});
  if (!program) {
    return no(": ");
  }
  const Fd link = attach(program.get());
  if (!link) {
    return no(" load but do not attach: ");
  }
  (void)getpgid(getpid());  // of 0, oneself, the security modules are not asked
  const uint32_t zero = 0;
  uint64_t ran = 0;
  if (bpf_map_lookup_elem(map.get(), &zero, &ran) != 0 || ran == 0) {
    return {false, std::string(attempt.what) + " load and attach but never run"};
  }
  return {true, std::string(attempt.what) + " run here"};
}

// Loads and attaches, for a moment; that it runs is known from its kind.
Answer Attach(const Try& attempt, const Program& code) {
  if (attempt.btf_id < 0) {
    return {false, std::string(attempt.what) + ": not in the kernel's BTF"};
  }
  const Fd program = LoadProgram(attempt, code);
  if (!program) {
    return {false, std::string(attempt.what) + ": " + std::strerror(errno)};
  }
  const Fd link = AttachTrace(program.get());
  return {static_cast<bool>(link), std::string(attempt.what) + (link ? " attach here" : " load but do not attach")};
}

// The BTF name of an attach point.
KernelBtf::Name PointName(Backend backend, std::string_view point) {
  switch (backend) {
    case Backend::kLsm: return {BTF_KIND_FUNC, "bpf_lsm_" + std::string(point)};
    case Backend::kTpBtf: return {BTF_KIND_TYPEDEF, "btf_trace_" + std::string(point)};
    default: return {BTF_KIND_FUNC, std::string(point)};
  }
}

bool InBtf(Backend backend) {
  return backend == Backend::kLsm || backend == Backend::kFmodRet || backend == Backend::kFentry || backend == Backend::kTpBtf;
}

}  // namespace

Answer Features::Preempts(std::string_view version, std::string_view mode) {
  if (!version.contains("PREEMPT")) {
    return {false, "the kernel is not built to preempt itself"};
  }
  if (mode.contains("(none)") || mode.contains("(voluntary)")) {
    return {false, "the kernel does not preempt itself as it is set"};
  }
  return {true, mode.empty() ? "the kernel may preempt itself" : "the kernel preempts itself"};
}

bool Features::Has(Backend backend, std::string_view point) const {
  if (!InBtf(backend)) {
    return true;  // a kprobe's function need not be in the BTF; attaching tells
  }
  const KernelBtf::Name name = PointName(backend, point);
  return btf_.Find(name.first, name.second) > 0;
}

Result<Features> Features::Ask() {
  const KernelBtf::Name iterator = {BTF_KIND_FUNC, "bpf_iter_task"}, cast_function = {BTF_KIND_FUNC, "bpf_rdonly_cast"},
                        list_head = {BTF_KIND_STRUCT, "list_head"}, lsm_ask = PointName(Backend::kLsm, kAskHook),
                        function_ask = PointName(Backend::kFentry, kAskFunction),
                        exit = PointName(Backend::kTpBtf, "sched_process_exit"),
                        truncate = PointName(Backend::kFentry, "do_truncate"),
                        write = PointName(Backend::kFentry, "generic_perform_write"),
                        clone = PointName(Backend::kFentry, "generic_remap_file_range_prep"),
                        dio = PointName(Backend::kFentry, "iomap_dio_rw");
  std::vector<KernelBtf::Name> names = {iterator, cast_function, list_head, lsm_ask, function_ask,
                                        exit,     truncate,      write,     clone,   dio};
  for (const Row& row : Table()) {
    for (const Candidate& candidate : row.candidates) {
      for (const std::string_view point : candidate.attach) {
        if (InBtf(candidate.backend)) {
          names.push_back(PointName(candidate.backend, point));
        }
      }
    }
  }
  MOAT_ASSIGN(KernelBtf btf, KernelBtf::Load(names));
  Features f(std::move(btf));
  const auto find = [&f](const KernelBtf::Name& name) { return f.btf_.Find(name.first, name.second); };
  const Program zero = {MovImm(0, 0), kReturn};
  const Program allow = {MovImm(0, 1), kReturn};

  f.lsm = Run({"lsm programs", BPF_PROG_TYPE_LSM, BPF_LSM_MAC, find(lsm_ask)});
  f.fmod_ret = Run({"fmod_ret programs", BPF_PROG_TYPE_TRACING, BPF_MODIFY_RETURN, find(function_ask)});
  f.fentry = Run({"fentry programs", BPF_PROG_TYPE_TRACING, BPF_TRACE_FENTRY, find(function_ask)});
  f.kprobe = Run({"kprobe programs", BPF_PROG_TYPE_KPROBE}, AttachKprobe);
  f.uprobe = AskUprobe(zero);
  const Try exit_point = {"BTF tracepoints", BPF_PROG_TYPE_TRACING, BPF_TRACE_RAW_TP, find(exit)};
  f.tp_btf = Load(exit_point, zero);
  f.task_iter = Load({"task iterators", BPF_PROG_TYPE_TRACING, BPF_TRACE_ITER, find(iterator)}, zero);
  f.cgroup_addr = Load({"cgroup/connect programs", BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET4_CONNECT}, allow);
  f.cgroup_sock = Load({"cgroup/sock_release programs", BPF_PROG_TYPE_CGROUP_SOCK, BPF_CGROUP_INET_SOCK_RELEASE}, allow);
  f.cgroup_skb = Load({"cgroup_skb programs", BPF_PROG_TYPE_CGROUP_SKB, BPF_CGROUP_INET_EGRESS}, allow);
  // These load without CAP_NET_ADMIN, which attaching any program to a cgroup takes, and loading the others (kernel/bpf/syscall.c
  // is_net_admin_prog_type leaves them out).
  if (f.cgroup_skb.yes && !f.cgroup_sock.yes) {
    f.cgroup_skb = f.cgroup_sock;
  }
  f.sock_ops = Load({"sockops programs", BPF_PROG_TYPE_SOCK_OPS, BPF_CGROUP_SOCK_OPS}, allow);

  Try group_dead = exit_point;
  group_dead.what = "sched_process_exit's group_dead";
  f.group_dead = Load(group_dead, {Load64(0, 1, 8), MovImm(0, 0), kReturn});
  // The context of fexit is the arguments and the result: a load from the last place is refused where there are fewer arguments.
  f.truncate_idmap = Load({"five arguments of do_truncate", BPF_PROG_TYPE_TRACING, BPF_TRACE_FEXIT, find(truncate)},
                          {Load64(0, 1, 40), MovImm(0, 0), kReturn});
  f.clone_length = Load({"pointers to numbers as arguments", BPF_PROG_TYPE_TRACING, BPF_TRACE_FEXIT, find(clone)},
                        {Load64(0, 1, 32), MovImm(0, 0), kReturn});
  const auto other = [](const Answer& answer) { return Answer{!answer.yes, answer.why}; };
  f.truncate_plain = other(f.truncate_idmap);
  // The result lies behind the arguments, and may be read, too: so what lies behind three of them is asked for.
  const Program fourth = {Load64(0, 1, 24), MovImm(0, 0), kReturn};
  f.setattr_idmap = Load({"three arguments of security_inode_setattr", BPF_PROG_TYPE_TRACING, BPF_TRACE_FEXIT,
                          find(PointName(Backend::kFmodRet, "security_inode_setattr"))},
                         fourth);
  f.setattr_plain = other(f.setattr_idmap);
  f.lsm_setattr_idmap = Load({"three arguments of the modules' inode_setattr", BPF_PROG_TYPE_LSM, BPF_LSM_MAC,
                              find(PointName(Backend::kLsm, "inode_setattr"))},
                             fourth);
  f.lsm_setattr_plain = other(f.lsm_setattr_idmap);
  f.write_by_file = Load({"three arguments of generic_perform_write", BPF_PROG_TYPE_TRACING, BPF_TRACE_FEXIT, find(write)},
                         {Load64(0, 1, 24), MovImm(0, 0), kReturn});
  f.write_by_kiocb = other(f.write_by_file);
  utsname system{};
  std::string mode;
  uname(&system);
  std::getline(std::ifstream("/sys/kernel/debug/sched/preempt"), mode);
  f.preempts = Preempts(system.version, mode);
  f.runs_whole = other(f.preempts);
  f.many_arguments = Attach({"fentry programs on iomap_dio_rw", BPF_PROG_TYPE_TRACING, BPF_TRACE_FENTRY, find(dio)}, zero);
  const Result<Fan> fan = Fan::Open();
  f.fanotify =
      fan ? Answer{true, "fanotify tells names here"} : Answer{fan.error().code != Code::kInvalidArgument, fan.error().message};
  const int cast = find(cast_function);
  Try cast_point = exit_point;
  cast_point.what = "bpf_rdonly_cast";
  cast_point.btf_id = cast < 0 ? cast : cast_point.btf_id;
  f.cast = Load(cast_point, {MovImm(1, 0), MovImm(2, find(list_head)),
                             Insn(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, cast), MovImm(0, 0), kReturn});
  return f;
}

}  // namespace moat::probe
