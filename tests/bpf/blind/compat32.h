// SPDX-License-Identifier: Apache-2.0
// System calls by int 0x80 from a 64-bit program: the kernel takes the 32-bit table, and 32 bits of each argument.
#pragma once

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <string>

#include "tests/bpf/fixture.h"

namespace moat::test {

// Numbers of the 32-bit table (arch/x86/entry/syscalls/syscall_32.tbl).
constexpr int kRead32 = 3, kOpen32 = 5, kGetpid32 = 20, kIoctl32 = 54, kOldMmap32 = 90;

inline int32_t Call32(int number, uint32_t a = 0, uint32_t b = 0, uint32_t c = 0) {
#ifdef __x86_64__
  int32_t result = 0;
  // Kernels before 4.17 zeroed r8 to r11 on this way in.
  asm volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory", "r8", "r9", "r10", "r11");
  return result;
#else
  (void)number, (void)a, (void)b, (void)c;
  return -ENOSYS;
#endif
}

inline std::string Compat32Lacks() {
#ifndef __x86_64__
  return "int 0x80 is x86's";
#endif
  // Without IA32 emulation (not built, or ia32_emulation=off) the instruction is a fault.
  const pid_t child = fork();
  if (child == 0) {
    _exit(Call32(kGetpid32) == getpid() ? 0 : 1);
  }
  int status = -1;
  if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
    return "no 32-bit system calls here (IA32 emulation is off)";
  }
  return "";
}

// Memory that a 32-bit argument can point to.
inline char* Low(size_t bytes) {
#ifdef MAP_32BIT
  void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  MOAT_CHILD_CHECK(at != MAP_FAILED && reinterpret_cast<uint64_t>(at) + bytes < (1ull << 32));
  return static_cast<char*>(at);
#else
  (void)bytes;
  return nullptr;
#endif
}

inline uint32_t Low32(const void* at) { return static_cast<uint32_t>(reinterpret_cast<uint64_t>(at)); }

}  // namespace moat::test
