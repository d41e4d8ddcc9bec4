/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A hook on the return from one system call: NAME_fexit on the kernel's own function for it, where nobody but who calls it pays, and
 * NAME from the tracepoint of all returns where there is no fentry. call sees moat_call_arg(n), n from 0 to 4, and moat_call_result.
 */
#ifndef MOAT_LIB_CALL_BPF_H
#define MOAT_LIB_CALL_BPF_H

#include "syscall.bpf.h"

#if defined(__TARGET_ARCH_x86)
#define MOAT_CALL_SECTION(name) "fexit/__x64_sys_" #name
#else
#define MOAT_CALL_SECTION(name) "fexit/__arm64_sys_" #name
#endif

/*
 * The context of such an fexit program: its one argument, the registers, and the result. By a helper: where the BTF of a kernel knows the
 * argument's struct by its name alone (5.10, of some calls) it refuses the load.
 */
struct moat_call_exit {
	const void *regs;
	__s64 ret;
};

#define MOAT_CALL(name, syscall, call)                         \
	MOAT_HOOK(MOAT_CALL_SECTION(syscall), name##_fexit)    \
	int name##_fexit(void *ctx)                            \
	{                                                      \
		const struct moat_sys_exit *exit_ = NULL;      \
		struct moat_call_exit at_ = {};                \
		moat_ran(name##_fexit);                        \
		bpf_probe_read_kernel(&at_, sizeof(at_), ctx); \
		const void *regs = at_.regs;                   \
		const __s64 moat_call_result = at_.ret;        \
		call;                                          \
		return 0;                                      \
	}                                                      \
	MOAT_HOOK("tp_btf/sys_exit", name)                     \
	int name(struct moat_sys_exit *exit_)                  \
	{                                                      \
		const void *regs = NULL;                       \
		const __s64 moat_call_result = exit_->ret;     \
		moat_ran(name);                                \
		if (moat_caller())                             \
			call;                                  \
		return 0;                                      \
	}
/* Which of the two it is the compiler knows. */
#define moat_call_arg(n) (exit_ ? moat_syscall_arg(exit_, n) : moat_regs_arg(regs, n, 0))

#endif
