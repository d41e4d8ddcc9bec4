/* SPDX-License-Identifier: GPL-2.0-only */
/* The final sums of a process that is going. */
#include "io.bpf.h"
#include <bpf/bpf_tracing.h>

static __always_inline void moat_flush_row(struct moat_control *control, struct task_struct *task, __u64 labels, __u32 asset)
{
	struct moat_io_key key = {.start_ns = task->group_leader->start_boottime, .pid = task->tgid, .asset = asset};
	struct moat_io_val *row = bpf_map_lookup_elem(&moat_io, &key);
	struct moat_file_io *e;

	if (!row)
		return;
	e = MOAT_RESERVE(moat_ring_bulk, MOAT_KIND_FILE_IO, struct moat_file_io);
	if (!e)
		return; /* the row stays: user space finds it without its process, reports and removes it */
	moat_fill(&e->hdr, MOAT_KIND_FILE_IO, sizeof(*e), task);
	e->hdr.labels = labels;
	e->sum = *row;
	e->asset = asset;
	e->last = 1;
	bpf_map_delete_elem(&moat_io, &key);
	moat_submit(control, e, MOAT_KIND_FILE_IO);
}

/*
 * Which rows there are stands in moat_procs, which outlives this hook (bpf/process/free.bpf.c), so the order of the domains'
 * programs on this tracepoint does not matter. No scope check: a row exists only because its process was in scope. group_dead
 * (6.16): the last thread, so no other adds to the rows any more.
 */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(moat_file_exit, struct task_struct *task, bool group_dead)
{
	struct moat_control *control = moat_get_control();
	struct moat_proc_val *val;
	struct moat_proc_key key;
	__u64 touched, labels;

	if (!group_dead || !control)
		return 0;
	task = moat_task(task);
	moat_proc_key_of(&key, task);
	val = bpf_map_lookup_elem(&moat_procs, &key);
	if (!val)
		return 0;
	touched = val->touched;
	labels = val->labels;
	for (int asset = 0; asset < MOAT_MAX_ASSETS && touched >> asset; asset++)
		if (touched >> asset & 1)
			moat_flush_row(control, task, labels, asset);
	return 0;
}
