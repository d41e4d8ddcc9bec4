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

#define MOAT_CALL(name, syscall, call)                                                   \
	MOAT_TRACE(MOAT_CALL_SECTION(syscall), name##_fexit, const void *regs, long ret) \
	{                                                                                \
		const struct moat_sys_exit *exit_ = NULL;                                \
		const __s64 moat_call_result = ret;                                      \
		call;                                                                    \
		return 0;                                                                \
	}                                                                                \
	MOAT_HOOK("tp_btf/sys_exit", name)                                               \
	int name(struct moat_sys_exit *exit_)                                            \
	{                                                                                \
		const void *regs = NULL;                                                 \
		const __s64 moat_call_result = exit_->ret;                               \
		moat_ran(name);                                                          \
		if (moat_caller())                                                       \
			call;                                                            \
		return 0;                                                                \
	}
/* Which of the two it is the compiler knows. */
#define moat_call_arg(n) (exit_ ? moat_syscall_arg(exit_, n) : moat_regs_arg(regs, n, 0))

#endif
