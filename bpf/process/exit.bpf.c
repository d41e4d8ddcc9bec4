/* SPDX-License-Identifier: GPL-2.0-only */
/* The end of a process: code or signal. Its labels end in free.bpf.c. */
#include "../lib/emit.bpf.h"
#include "../lib/scope.bpf.h"
#include "../abi/process.h"
#include <bpf/bpf_tracing.h>

#define SIGNAL_GROUP_EXIT 0x4 /* include/linux/sched/signal.h: group_exit_code is the code */

/* group_dead: since 6.16 the kernel says that this was the last thread. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(moat_process_exit, struct task_struct *task, bool group_dead)
{
	struct moat_control *control = moat_get_control();
	struct moat_exit *e;
	__u32 code;

	task = moat_task(task);
	if (!group_dead || !control)
		return 0;
	if (!moat_in_scope(control, task))
		return 0;
	e = MOAT_RESERVE(moat_ring_urgent, MOAT_KIND_EXIT, struct moat_exit);
	if (!e)
		return 0;
	moat_fill(&e->hdr, MOAT_KIND_EXIT, sizeof(*e), task);
	e->hdr.labels = moat_labels(e->hdr.pid, e->hdr.start_ns);
	code = task->signal->flags & SIGNAL_GROUP_EXIT ? task->signal->group_exit_code : task->exit_code;
	e->code = code >> 8 & 0xff;
	e->signal = code & 0x7f;
	e->core = code >> 7 & 1;
	e->pad = 0;
	moat_submit(control, e);
	return 0;
}
