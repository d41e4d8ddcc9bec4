// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/hooks.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <set>

namespace moat::bench {
namespace {

// bpf_link_info with the perf event part, which linux/bpf.h has since 6.6.
struct LinkInfo {
  uint32_t type, id, prog_id, pad;
  union {
    struct {
      uint64_t name;
      uint32_t name_length;
    } raw_tracepoint;
    struct {
      uint64_t cgroup_id;
      uint32_t attach_type;
    } cgroup;
    struct {
      uint32_t type, pad;
      uint64_t name;
      uint32_t name_length;
    } perf_event;
    uint64_t room[16];
  };
};
constexpr uint32_t kPerfEventTracepoint = 5;  // BPF_PERF_EVENT_TRACEPOINT

std::vector<int> Links() {
  std::vector<int> fds;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", error)) {
    const auto target = std::filesystem::read_symlink(entry.path(), error);
    if (!error && target.string().find("bpf_link") != std::string::npos) {
      fds.push_back(std::stoi(entry.path().filename()));
    }
  }
  return fds;
}

Status Describe(int fd, std::vector<Hook>& hooks) {
  char name[128] = {};
  LinkInfo info{};
  uint32_t size = sizeof info;
  if (bpf_obj_get_info_by_fd(fd, &info, &size) != 0) {
    return FailErrno(errno, "bpf_link_info");
  }
  const uint32_t type = info.type;
  if (type == BPF_LINK_TYPE_CGROUP) {
    const int attach = static_cast<int>(info.cgroup.attach_type);
    hooks.push_back({Hook::Type::kCgroup, "cgroup attach type " + std::to_string(attach), attach});
    return {};
  }
  if (type != BPF_LINK_TYPE_RAW_TRACEPOINT && type != BPF_LINK_TYPE_PERF_EVENT) {
    return {};  // iterator
  }
  info = {};
  if (type == BPF_LINK_TYPE_RAW_TRACEPOINT) {
    info.raw_tracepoint.name = reinterpret_cast<uint64_t>(name);
    info.raw_tracepoint.name_length = sizeof name;
  } else {
    info.perf_event.name = reinterpret_cast<uint64_t>(name);
    info.perf_event.name_length = sizeof name;
  }
  size = sizeof info;
  if (bpf_obj_get_info_by_fd(fd, &info, &size) != 0) {
    return FailErrno(errno, "bpf_link_info, name");
  }
  if (type == BPF_LINK_TYPE_PERF_EVENT && info.perf_event.type != kPerfEventTracepoint) {
    return Fail(Code::kUnimplemented, "a perf event link that is no tracepoint");
  }
  hooks.push_back({type == BPF_LINK_TYPE_RAW_TRACEPOINT ? Hook::Type::kTpBtf : Hook::Type::kTracepoint, name, 0});
  return {};
}

bpf_prog_type CgroupProgramType(int attach) {
  switch (attach) {
    case BPF_CGROUP_INET_SOCK_CREATE:
    case BPF_CGROUP_INET_SOCK_RELEASE:
    case BPF_CGROUP_INET4_POST_BIND:
    case BPF_CGROUP_INET6_POST_BIND: return BPF_PROG_TYPE_CGROUP_SOCK;
    case BPF_CGROUP_INET_INGRESS:
    case BPF_CGROUP_INET_EGRESS: return BPF_PROG_TYPE_CGROUP_SKB;
    default: return BPF_PROG_TYPE_CGROUP_SOCK_ADDR;
  }
}

}  // namespace

Result<std::vector<Hook>> HooksOfThisProcess() {
  std::vector<Hook> hooks;
  for (const int fd : Links()) {
    MOAT_TRY(Describe(fd, hooks));
  }
  return hooks;
}

Result<std::vector<uint32_t>> ProgramsOfThisProcess() {
  std::set<uint32_t> programs;
  for (const int fd : Links()) {
    LinkInfo info{};
    uint32_t size = sizeof info;
    if (bpf_obj_get_info_by_fd(fd, &info, &size) != 0) {
      return FailErrno(errno, "bpf_link_info");
    }
    programs.insert(info.prog_id);
  }
  return std::vector<uint32_t>(programs.begin(), programs.end());
}

Result<Attacher> Attacher::Create(int cgroup_fd) {
  // <linux/mount.h> and <sys/mount.h> of Debian 12 cannot be included together: the numbers stand here.
  constexpr int kConfigCreate = 6;
  const Fd context(static_cast<int>(syscall(SYS_fsopen, "tracefs", 0)));
  if (!context || syscall(SYS_fsconfig, context.get(), kConfigCreate, nullptr, nullptr, 0) != 0) {
    return FailErrno(errno, "fsopen tracefs");
  }
  Attacher attacher;
  attacher.tracefs_ = Fd(static_cast<int>(syscall(SYS_fsmount, context.get(), 0, 0)));
  if (!attacher.tracefs_) {
    return FailErrno(errno, "fsmount tracefs");
  }
  attacher.cgroup_ = cgroup_fd;
  return attacher;
}

Result<Fd> Attacher::Tracepoint(const std::string& name, int program) const {
  const std::string path = "events/syscalls/" + name + "/id";
  const Fd file(openat(tracefs_.get(), path.c_str(), O_RDONLY | O_CLOEXEC));
  char text[32] = {};
  const ssize_t length = file ? read(file.get(), text, sizeof text - 1) : -1;
  uint64_t id = 0;
  if (length <= 0 || std::from_chars(text, text + length, id).ec != std::errc()) {
    return FailErrno(errno, "tracepoint " + name);
  }
  perf_event_attr attr{};
  attr.type = PERF_TYPE_TRACEPOINT;
  attr.size = sizeof attr;
  attr.config = id;
  const Fd event(static_cast<int>(syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC)));
  if (!event) {
    return FailErrno(errno, "perf_event_open " + name);
  }
  Fd link(bpf_link_create(program, event.get(), BPF_PERF_EVENT, nullptr));
  if (!link) {
    return FailErrno(errno, "attach to " + name);
  }
  return link;
}

Result<Fd> Attacher::Attach(const Hook& hook, int program) const {
  if (hook.type == Hook::Type::kTracepoint) {
    return Tracepoint(hook.name, program);
  }
  Fd link(hook.type == Hook::Type::kTpBtf
              ? bpf_raw_tracepoint_open(nullptr, program)
              : bpf_link_create(program, cgroup_, static_cast<bpf_attach_type>(hook.cgroup_attach_type), nullptr));
  if (!link) {
    return FailErrno(errno, "attach to " + hook.name);
  }
  return link;
}

Result<Fd> LoadEmpty(const Hook& hook) {
  const int result = hook.type == Hook::Type::kCgroup ? 1 : 0;
  bpf_insn program[2] = {};
  program[0].code = BPF_ALU64 | BPF_MOV | BPF_K;
  program[0].imm = result;
  program[1].code = BPF_JMP | BPF_EXIT;
  bpf_prog_type type = BPF_PROG_TYPE_TRACEPOINT;
  LIBBPF_OPTS(bpf_prog_load_opts, options);
  if (hook.type == Hook::Type::kCgroup) {
    type = CgroupProgramType(hook.cgroup_attach_type);
    options.expected_attach_type = static_cast<bpf_attach_type>(hook.cgroup_attach_type);
  } else if (hook.type == Hook::Type::kTpBtf) {
    type = BPF_PROG_TYPE_TRACING;
    options.expected_attach_type = BPF_TRACE_RAW_TP;
    const int id = libbpf_find_vmlinux_btf_id(hook.name.c_str(), BPF_TRACE_RAW_TP);
    if (id < 0) {
      return FailErrno(-id, "BTF of " + hook.name);
    }
    options.attach_btf_id = static_cast<uint32_t>(id);
  }
  Fd fd(bpf_prog_load(type, "moat_empty", "GPL", program, 2, &options));
  if (!fd) {
    return FailErrno(errno, "load an empty program for " + hook.name);
  }
  return fd;
}

}  // namespace moat::bench
