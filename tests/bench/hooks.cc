// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/hooks.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>

#include <cerrno>
#include <filesystem>
#include <set>

namespace moat::bench {
namespace {

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
  bpf_link_info info{};
  uint32_t size = sizeof info;
  if (bpf_obj_get_info_by_fd(fd, &info, &size) != 0) {
    return FailErrno(errno, "bpf_link_info");
  }
  switch (info.type) {
    case BPF_LINK_TYPE_CGROUP: {
      const int attach = static_cast<int>(info.cgroup.attach_type);
      hooks.push_back({Hook::Type::kCgroup, "cgroup attach type " + std::to_string(attach), attach});
      return {};
    }
    case BPF_LINK_TYPE_RAW_TRACEPOINT: break;
    case BPF_LINK_TYPE_ITER: return {};
    case BPF_LINK_TYPE_PERF_EVENT: return {};  // uprobes of libpam: nobody pays but who logs in
    default: return Fail(Code::kUnimplemented, "a link of type " + std::to_string(info.type));
  }
  info = {};
  info.raw_tracepoint.tp_name = reinterpret_cast<uint64_t>(name);
  info.raw_tracepoint.tp_name_len = sizeof name;
  size = sizeof info;
  if (bpf_obj_get_info_by_fd(fd, &info, &size) != 0) {
    return FailErrno(errno, "bpf_link_info, name");
  }
  hooks.push_back({Hook::Type::kTpBtf, name, 0});
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
    bpf_link_info info{};
    uint32_t size = sizeof info;
    if (bpf_obj_get_info_by_fd(fd, &info, &size) != 0) {
      return FailErrno(errno, "bpf_link_info");
    }
    programs.insert(info.prog_id);
  }
  return std::vector<uint32_t>(programs.begin(), programs.end());
}

Result<Fd> Attach(const Hook& hook, int program, int cgroup_fd) {
  Fd link(hook.type == Hook::Type::kTpBtf
              ? bpf_raw_tracepoint_open(nullptr, program)
              : bpf_link_create(program, cgroup_fd, static_cast<bpf_attach_type>(hook.cgroup_attach_type), nullptr));
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
  bpf_prog_type type = BPF_PROG_TYPE_UNSPEC;
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
