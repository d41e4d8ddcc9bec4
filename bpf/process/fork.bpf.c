/* SPDX-License-Identifier: GPL-2.0-only */
/* A new process, and the labels it inherits. Threads are not reported. */
#include "../lib/emit.bpf.h"
#include "../lib/scope.bpf.h"
#include "../abi/process.h"
#include <bpf/bpf_tracing.h>

/*
 * The labels that a child has from its parent; flags of the record about it. Runs in the parent, before the child may run: the child has
 * its labels before its first instruction. Whether or not the parent is in scope.
 */
static __always_inline __u32 moat_inherit(const struct task_struct *parent, const struct task_struct *child, __u64 *labels)
{
	*labels = moat_labels(moat_get(parent, tgid), moat_get(parent, group_leader, start_boottime));
	if (*labels && moat_add_labels(moat_get(child, tgid), moat_get(child, start_boottime), *labels))
		return MOAT_F_LABEL_LOST;
	return 0;
}

MOAT_TRACE("tp_btf/sched_process_fork", moat_process_fork, struct task_struct *arg, struct task_struct *new)
{
	const struct task_struct *parent = moat_task(arg), *child = moat_task(new);
	struct moat_control *control = moat_get_control();
	struct moat_fork *e;
	__u64 labels;
	__u32 flags;

	if (moat_get(child, tgid) == moat_get(parent, tgid))
		return 0;
	flags = moat_inherit(parent, child, &labels);
	if (!moat_in_scope(control))
		return 0;
	e = MOAT_RESERVE(moat_ring_urgent, MOAT_KIND_FORK, struct moat_fork);
	if (!e)
		return 0;
	moat_fill(&e->hdr, MOAT_KIND_FORK, sizeof(*e), parent);
	e->hdr.flags = flags;
	e->hdr.labels = labels;
	e->child_start_ns = moat_get(child, start_boottime);
	e->child_pid = moat_get(child, tgid);
	e->pad = 0;
	moat_submit(control, e);
	return 0;
}

/*
 * The labels once more, on the next function that every new task comes by: where the kernel preempts itself a tracepoint's program may be
 * skipped (lib/hook.bpf.h). A kprobe's is skipped for another reason, while somebody in the bpf() system call is preempted on this CPU
 * (kernel/trace/bpf_trace.c trace_call_bpf): for a child to miss its labels both must happen at once.
 */
MOAT_HOOK("kprobe/wake_up_new_task", moat_process_inherit)
int BPF_KPROBE(moat_process_inherit, struct task_struct *new)
{
	const struct task_struct *parent = moat_current(), *child = moat_task(new);
	__u64 labels;

	moat_ran(moat_process_inherit);
	if (moat_get(child, tgid) != moat_get(parent, tgid))
		moat_inherit(parent, child, &labels);
	return 0;
}
