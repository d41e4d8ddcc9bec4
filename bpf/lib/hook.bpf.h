/* SPDX-License-Identifier: GPL-2.0-only */
/* How a program is declared, so that user space can tell whether it has ever run, and how one body serves several backends. */
#ifndef MOAT_LIB_HOOK_BPF_H
#define MOAT_LIB_HOOK_BPF_H

#include <linux/ptrace.h> /* before bpf_tracing.h: the registers of a kprobe */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

/*
 * A program and its mark "ran_NAME" in the object's .bss, which user space finds by that name (probe/canary.h): a program can be
 * attached and never run (lsm on 5.10 without "bpf" among the active modules; fentry/filp_close from 6.12).
 */
#define MOAT_HOOK(section, name)  \
	volatile __u8 ran_##name; \
	SEC(section)

/* The first statement of each. Written once only, so that CPUs do not fight for the line. */
#define moat_ran(name)                  \
	do {                            \
		if (!ran_##name)        \
			ran_##name = 1; \
	} while (0)

/*
 * A program of a kind that the kernel runs once at a time on a CPU (fentry, fexit, tp_btf): while a thread is preempted inside it,
 * others on that CPU pass unseen, counted as runs missed. Kernels that preempt do so in fexit, and from 7.x in tp_btf too. Turning
 * preemption off meanwhile (bpf_preempt_disable, 6.10) does not help: the switch then comes when it is turned on again, which is still
 * inside. So labels are taken by an lsm program too (file/label.bpf.c), which has no such guard, and on a fork by a second one.
 */
#define MOAT_TRACE(section, name, args...)                                                            \
	MOAT_HOOK(section, name)                                                                      \
	int name(unsigned long long *ctx);                                                            \
	static __always_inline int name##_seen(unsigned long long *ctx, ##args);                      \
	int name(unsigned long long *ctx)                                                             \
	{                                                                                             \
		moat_ran(name);                                                                       \
		_Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wint-conversion\"") \
			name##_seen(___bpf_ctx_cast(args));                                           \
		_Pragma("GCC diagnostic pop") return 0;                                               \
	}                                                                                             \
	static __always_inline int name##_seen(unsigned long long *ctx, ##args)

/*
 * A check of the security modules, by each way to it, best first (agent/probe/table.h): NAME_lsm, NAME_fmod, NAME_fentry, NAME_kprobe.
 * call sees the arguments by the names given after it. What it is handed are the kernel's own objects, not a descriptor or a user
 * pointer that another thread may change.
 *
 * moat_arg(type, name) in call: an argument as a pointer for moat_get. Where the kernel vouches for it (lsm) a load is one instruction,
 * after a moat_cast nine: the JIT then tests each address.
 * by_module in call: asked for one security module of several (lsm), which some checks do more than once and with fewer arguments.
 */
#define moat_arg(type, name) (typed ? (type *)(name) : moat_cast(type, name))
#define MOAT_SECURITY(name, hook, call, args...)                 \
	MOAT_HOOK("lsm/" #hook, name##_lsm)                      \
	int BPF_PROG(name##_lsm, ##args)                         \
	{                                                        \
		const int typed __attribute__((unused)) = 1;     \
		const int by_module __attribute__((unused)) = 1; \
		moat_ran(name##_lsm);                            \
		call;                                            \
		return 0; /* observed, never refused */          \
	}                                                        \
	MOAT_HOOK("fmod_ret/security_" #hook, name##_fmod)       \
	int BPF_PROG(name##_fmod, ##args)                        \
	{                                                        \
		const int typed __attribute__((unused)) = 1;     \
		const int by_module __attribute__((unused)) = 0; \
		moat_ran(name##_fmod);                           \
		call;                                            \
		return 0;                                        \
	}                                                        \
	MOAT_SECURITY_SEEN(name, hook, call, ##args)

/* A check that a policy may refuse, by the two ways that can: call is 0 or an error. */
#define MOAT_SECURITY_DENIES(name, hook, call, args...)    \
	MOAT_HOOK("lsm/" #hook, name##_lsm)                \
	int BPF_PROG(name##_lsm, ##args)                   \
	{                                                  \
		moat_ran(name##_lsm);                      \
		return call;                               \
	}                                                  \
	MOAT_HOOK("fmod_ret/security_" #hook, name##_fmod) \
	int BPF_PROG(name##_fmod, ##args)                  \
	{                                                  \
		moat_ran(name##_fmod);                     \
		return call;                               \
	}

/* The same for a check that returns nothing, and of an lsm program for one. */
#define MOAT_SECURITY_SEEN(name, hook, call, args...)            \
	MOAT_HOOK("fentry/security_" #hook, name##_fentry)       \
	int BPF_PROG(name##_fentry, ##args)                      \
	{                                                        \
		const int typed __attribute__((unused)) = 1;     \
		const int by_module __attribute__((unused)) = 0; \
		moat_ran(name##_fentry);                         \
		call;                                            \
		return 0;                                        \
	}                                                        \
	MOAT_HOOK("kprobe/security_" #hook, name##_kprobe)       \
	int BPF_KPROBE(name##_kprobe, ##args)                    \
	{                                                        \
		const int typed __attribute__((unused)) = 0;     \
		const int by_module __attribute__((unused)) = 0; \
		moat_ran(name##_kprobe);                         \
		call;                                            \
		return 0;                                        \
	}

#endif
