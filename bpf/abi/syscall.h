/* SPDX-License-Identifier: GPL-2.0-only */
/* The table by which returns from system calls reach their hooks. */
#ifndef MOAT_ABI_SYSCALL_H
#define MOAT_ABI_SYSCALL_H

/* Numbers of system calls are below this on every architecture that moat knows (6.18: 470). */
#define MOAT_SYSCALLS 512

/*
 * Slots of the program array moat_syscalls: [nr] the first hook of a call, [MOAT_SYSCALLS + nr] the second, which runs when the
 * first one passes the call on.
 */
#define MOAT_SYSCALL_SLOTS (2 * MOAT_SYSCALLS)

#endif
