/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Hooks on the return from a system call, where fentry and LSM are not to be had. One program sits on the tracepoint sys_exit
 * (bpf/syscall/exit.bpf.c) and jumps to the hook of the call by its number.
 *
 * Not one tracepoint per system call (syscalls/sys_exit_*), although it costs other calls 30 ns less: a hooked call pays 330 ns
 * for it and 190 ns here (empty programs, same machine, getppid 350 ns), and reads and ioctls, which we hook, are most of what a
 * GPU node calls. It also attaches and detaches in 1 ms where 23 tracepoints wait for a grace period each.
 */
#ifndef MOAT_LIB_SYSCALL_BPF_H
#define MOAT_LIB_SYSCALL_BPF_H

#include "../abi/syscall.h"
#include "../kernel/read.bpf.h"
#include "hook.bpf.h"

/* Filled by the loader. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, MOAT_SYSCALL_SLOTS);
	__type(key, __u32);
	__type(value, __u32);
} moat_syscalls SEC(".maps") __weak;

/*
 * Ends a hook: on to the second hook of this call, if there is one. For hooks of calls that two domains look at; the loader's
 * table says which do (Candidate::passes_on).
 */
static __always_inline void moat_pass_on(struct moat_sys_exit *ctx)
{
	__u32 nr = moat_syscall_nr(ctx);

	if (nr < MOAT_SYSCALLS)
		bpf_tail_call(ctx, &moat_syscalls, MOAT_SYSCALLS + nr);
}

#endif
