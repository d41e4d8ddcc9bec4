/* SPDX-License-Identifier: GPL-2.0-only */
/* The end of a process: code or signal. Its labels end in free.bpf.c. */
#include "../lib/emit.bpf.h"
#include "../lib/exit.bpf.h"
#include "../lib/scope.bpf.h"
#include "../abi/process.h"
#include <bpf/bpf_tracing.h>

#define SIGNAL_GROUP_EXIT 0x4 /* include/linux/sched/signal.h: group_exit_code is the code */

static __always_inline void moat_process_ended(const struct task_struct *task)
{
	struct moat_control *control = moat_get_control();
	struct moat_exit *e;
	__u32 code;

	if (!moat_in_scope(control))
		return;
	e = MOAT_RESERVE(moat_ring_urgent, MOAT_KIND_EXIT, struct moat_exit);
	if (!e)
		return;
	moat_fill(&e->hdr, MOAT_KIND_EXIT, sizeof(*e), task);
	e->hdr.labels = moat_labels(e->hdr.pid, e->hdr.start_ns);
	code = moat_get(task, signal, flags) & SIGNAL_GROUP_EXIT ? moat_get(task, signal, group_exit_code)
								 : moat_get(task, exit_code);
	e->code = code >> 8 & 0xff;
	e->signal = code & 0x7f;
	e->core = code >> 7 & 1;
	e->pad = 0;
	moat_submit(control, e);
}

MOAT_TRACE("tp_btf/sched_process_exit", moat_process_exit, struct task_struct *task, bool group_dead)
{
	if (group_dead)
		moat_process_ended(moat_task(task));
	return 0;
}

MOAT_TRACE("tp_btf/sched_process_exit", moat_process_exit_live, struct task_struct *task)
{
	struct task_struct *ended = moat_task(task);

	if (moat_is_last_thread(ended))
		moat_process_ended(ended);
	return 0;
}
