/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every return from a system call, on to the hook of its number. All programs of the host pay for this one: one comparison, one
 * look at an array, no call of a helper (5 to 10 ns each, with the kernel's guards against speculation). That a 32-bit call has
 * other numbers is therefore the hooks' to find out (moat_caller).
 */
#include "../lib/syscall.bpf.h"

MOAT_HOOK("tp_btf/sys_exit", moat_syscall_exit)
int moat_syscall_exit(struct moat_sys_exit *ctx)
{
	__u32 nr = moat_syscall_nr(ctx);

	moat_ran(moat_syscall_exit);
	if (nr < MOAT_SYSCALLS)
		bpf_tail_call(ctx, &moat_syscalls, nr);
	return 0;
}
