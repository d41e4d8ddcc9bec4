/* SPDX-License-Identifier: Apache-2.0 */
/* The program that the load generator executes: the smallest one, so that the kernel's own work is what is measured. */
#include <sys/syscall.h>

void _start(void) {
#if defined(__x86_64__)
  __asm__ volatile("syscall" : : "a"(SYS_exit_group), "D"(0));
#elif defined(__aarch64__)
  register long number __asm__("x8") = SYS_exit_group;
  register long code __asm__("x0") = 0;
  __asm__ volatile("svc 0" : : "r"(number), "r"(code));
#endif
  __builtin_unreachable();
}
