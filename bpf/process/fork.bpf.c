/* SPDX-License-Identifier: GPL-2.0-only */
/* A new process, and the labels it inherits. Threads are not reported. */
#include "../lib/emit.bpf.h"
#include "../lib/scope.bpf.h"
#include "../abi/process.h"
#include <bpf/bpf_tracing.h>

/* Runs in the parent, before the child may run: the child has its labels before its first instruction. */
static __always_inline void moat_forked(const struct task_struct *parent, const struct task_struct *child)
{
	struct moat_control *control = moat_get_control();
	__u64 labels, child_start;
	struct moat_fork *e;
	__u32 flags = 0;
	int child_pid;

	child_pid = moat_get(child, tgid);
	if (child_pid == moat_get(parent, tgid) || !control)
		return;
	child_start = moat_get(child, start_boottime);
	labels = moat_labels(moat_get(parent, tgid), moat_get(parent, group_leader, start_boottime));
	/* Whether or not the parent is in scope and the record finds room. */
	if (labels && moat_add_labels(child_pid, child_start, labels))
		flags = MOAT_F_LABEL_LOST;
	if (!moat_in_scope(control, parent))
		return;
	e = MOAT_RESERVE(moat_ring_urgent, MOAT_KIND_FORK, struct moat_fork);
	if (!e)
		return;
	moat_fill(&e->hdr, MOAT_KIND_FORK, sizeof(*e), parent);
	e->hdr.flags = flags;
	e->hdr.labels = labels;
	e->child_start_ns = child_start;
	e->child_pid = child_pid;
	e->pad = 0;
	moat_submit(control, e);
}

MOAT_TRACE("tp_btf/sched_process_fork", moat_process_fork, struct task_struct *parent, struct task_struct *child)
{
	moat_forked(moat_task(parent), moat_task(child));
	return 0;
}

/*
 * Where the kernel preempts itself a tracepoint's program may be skipped (lib/hook.bpf.h), and the child would be without its labels.
 * kprobe programs run with preemption off. The next function after the tracepoint; kernel threads come by here too, without a parent
 * that holds anything.
 */
MOAT_HOOK("kprobe/wake_up_new_task", moat_process_fork_kprobe)
int BPF_KPROBE(moat_process_fork_kprobe, struct task_struct *child)
{
	moat_ran(moat_process_fork_kprobe);
	moat_forked(moat_current(), moat_task(child));
	return 0;
}
