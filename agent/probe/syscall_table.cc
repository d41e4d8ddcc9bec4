// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/syscall_table.h"

#include <bpf/bpf.h>
#include <sys/syscall.h>

#include <cerrno>
#include <iterator>
#include <string>

#include "bpf/abi/syscall.h"

namespace moat::probe {
namespace {

struct Call {
  std::string_view name;
  uint32_t number;
};

constexpr Call kCalls[] = {
#ifdef SYS_open
    {"open", SYS_open},
    {"creat", SYS_creat},
#endif
    {"openat", SYS_openat},
    {"openat2", SYS_openat2},
    {"open_by_handle_at", SYS_open_by_handle_at},
    {"read", SYS_read},
    {"pread64", SYS_pread64},
    {"readv", SYS_readv},
    {"preadv", SYS_preadv},
    {"preadv2", SYS_preadv2},
    {"write", SYS_write},
    {"pwrite64", SYS_pwrite64},
    {"writev", SYS_writev},
    {"pwritev", SYS_pwritev},
    {"pwritev2", SYS_pwritev2},
    {"mmap", SYS_mmap},
    {"sendfile", SYS_sendfile},
    {"copy_file_range", SYS_copy_file_range},
    {"splice", SYS_splice},
    {"ftruncate", SYS_ftruncate},
    {"ioctl", SYS_ioctl},
    {"accept", SYS_accept},
    {"accept4", SYS_accept4},
    {"ptrace", SYS_ptrace},
    {"process_vm_readv", SYS_process_vm_readv},
    {"process_vm_writev", SYS_process_vm_writev},
    {"setns", SYS_setns},
    {"unshare", SYS_unshare},
    {"mount", SYS_mount},
    {"pivot_root", SYS_pivot_root},
    {"open_tree", SYS_open_tree},
    {"move_mount", SYS_move_mount},
    {"fsopen", SYS_fsopen},
    {"chroot", SYS_chroot},
    {"init_module", SYS_init_module},
    {"finit_module", SYS_finit_module},
    {"kexec_load", SYS_kexec_load},
    {"kexec_file_load", SYS_kexec_file_load},
};

}  // namespace

std::optional<uint32_t> SyscallNumber(std::string_view name) {
  for (const Call& call : kCalls) {
    if (call.name == name) {
      return call.number;
    }
  }
  return std::nullopt;
}

Result<uint32_t> SyscallTable::Add(uint32_t call, int program_fd, bool passes_on) {
  static_assert(sizeof(passing_) * 8 == MOAT_SYSCALLS);
  if (call >= MOAT_SYSCALLS) {
    return Fail(Code::kOutOfRange, "system call " + std::to_string(call) + " is beyond the table");
  }
  const auto put = [this, program_fd](uint32_t slot) {
    const auto fd = static_cast<uint32_t>(program_fd);
    return bpf_map_update_elem(map_, &slot, &fd, BPF_ANY) == 0;
  };
  const auto taken = [this](uint32_t slot) {
    uint32_t id = 0;
    return bpf_map_lookup_elem(map_, &slot, &id) == 0;
  };
  uint32_t slot = call;
  if (taken(slot)) {
    slot += MOAT_SYSCALLS;
    if ((passing_[call / 64] >> (call % 64) & 1) == 0 || taken(slot)) {
      return Fail(Code::kAlreadyExists, "system call " + std::to_string(call) + " has a hook that passes nothing on");
    }
  } else if (passes_on) {
    passing_[call / 64] |= uint64_t{1} << call % 64;
  }
  if (!put(slot)) {
    return FailErrno(errno, "hook system call " + std::to_string(call));
  }
  return slot;
}

void SyscallTable::Remove(uint32_t slot) {
  (void)bpf_map_delete_elem(map_, &slot);
  if (slot < MOAT_SYSCALLS) {
    passing_[slot / 64] &= ~(uint64_t{1} << slot % 64);
  }
}

}  // namespace moat::probe
