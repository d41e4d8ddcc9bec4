/* SPDX-License-Identifier: GPL-2.0-only */
/* The final sums of a process that is going. */
#include "../lib/exit.bpf.h"
#include "io.bpf.h"
#include <bpf/bpf_tracing.h>

struct moat_flush {
	struct moat_control *control;
	__u64 touched;
	__u64 labels;
};

/* bpf_loop: proven once instead of 64 times. At sched_process_exit the task is the current one. */
static long moat_flush_row(__u32 asset, void *ctx)
{
	struct moat_flush *flush = ctx;
	struct task_struct *task = moat_current();
	struct moat_io_key key = {
		.start_ns = moat_get(task, group_leader, start_boottime), .pid = moat_get(task, tgid), .asset = asset};
	struct moat_file_io *e;
	struct moat_io_val *row;

	if (!(flush->touched >> (asset & 63)))
		return 1;
	if (!(flush->touched >> (asset & 63) & 1))
		return 0;
	row = bpf_map_lookup_elem(&moat_io, &key);
	if (!row)
		return 0;
	e = MOAT_RESERVE(moat_ring_bulk, MOAT_KIND_FILE_IO, struct moat_file_io);
	if (!e)
		return 0; /* the row stays: user space finds it without its process, reports and removes it */
	moat_fill(&e->hdr, MOAT_KIND_FILE_IO, sizeof(*e), task);
	e->hdr.labels = flush->labels;
	e->sum = *row;
	e->asset = asset;
	e->last = 1;
	bpf_map_delete_elem(&moat_io, &key);
	moat_submit(flush->control, e);
	return 0;
}

/*
 * Which rows there are stands in moat_procs, which outlives this hook (bpf/process/free.bpf.c), so the order of the domains'
 * programs on this tracepoint does not matter. No scope check: a row exists only because its process was in scope. Run for the last
 * thread, so no other adds to the rows any more.
 */
static __always_inline void moat_flush_rows(const struct task_struct *task)
{
	struct moat_control *control = moat_get_control();
	struct moat_flush flush = {.control = control};
	struct moat_proc_val *val;
	struct moat_proc_key key;

	moat_proc_key_of(&key, task);
	val = moat_proc(&key);
	if (!val)
		return;
	flush.touched = val->touched;
	flush.labels = val->labels;
	if (flush.touched)
		moat_loop(MOAT_MAX_ASSETS, moat_flush_row, &flush);
}

MOAT_TRACE("tp_btf/sched_process_exit", moat_file_exit, struct task_struct *task, bool group_dead)
{
	if (group_dead)
		moat_flush_rows(moat_task(task));
	return 0;
}

MOAT_TRACE("tp_btf/sched_process_exit", moat_file_exit_live, struct task_struct *task)
{
	struct task_struct *ended = moat_task(task);

	if (moat_is_last_thread(ended))
		moat_flush_rows(ended);
	return 0;
}
