/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whoever may read the memory of a process that holds assets, holds them too. One check of the kernel stands before ptrace,
 * process_vm_readv() and writev(), /proc/PID/mem and pidfd_getfd().
 */
#include "../lib/label.bpf.h"

#define PTRACE_MODE_ATTACH 0x2u /* include/linux/ptrace.h; PTRACE_MODE_READ gives maps and environment, not the memory */

/* No scope: the labels tell who holds what, wherever it goes. */
static __always_inline void moat_peeking(const void *arg, __u32 mode)
{
	const struct task_struct *child = moat_task(arg), *reader;
	__u64 labels;

	if (!(mode & PTRACE_MODE_ATTACH))
		return;
	labels = moat_labels(moat_get(child, tgid), moat_get(child, group_leader, start_boottime));
	if (!labels)
		return;
	reader = moat_current();
	moat_add_labels(moat_get(reader, tgid), moat_get(reader, group_leader, start_boottime), labels);
}

MOAT_SECURITY(moat_process_ptrace, ptrace_access_check, moat_peeking(child, mode), struct task_struct *child, unsigned int mode)

/* The other way round: a child asks to be traced by its parent. */
static __always_inline void moat_traced_by(const void *arg)
{
	const struct task_struct *parent = moat_task(arg), *child = moat_current();
	__u64 labels = moat_labels(moat_get(child, tgid), moat_get(child, group_leader, start_boottime));

	if (labels)
		moat_add_labels(moat_get(parent, tgid), moat_get(parent, group_leader, start_boottime), labels);
}

MOAT_SECURITY(moat_process_traceme, ptrace_traceme, moat_traced_by(parent), struct task_struct *parent)
