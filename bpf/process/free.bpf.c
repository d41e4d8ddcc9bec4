/* SPDX-License-Identifier: GPL-2.0-only */
/* The end of a process's labels: the one place where they are removed. */
#include "../lib/label.bpf.h"
#include <bpf/bpf_tracing.h>

/*
 * Not at sched_process_exit: that comes before the exiting task closes its sockets, whose close records still show the labels,
 * and the file domain's last sums are read there by another program, in no guaranteed order. The task_struct is freed after both,
 * when nobody can act in this process's name any more. The leader is freed last; a thread, or the old leader after an exec by
 * another thread (which then bears that thread's pid), is not the process. In soft-irq: nothing here may ask for current.
 */
MOAT_TRACE("tp_btf/sched_process_free", moat_process_free, struct task_struct *task)
{
	struct moat_proc_key key = {};

	if (moat_get(task, pid) != moat_get(task, tgid))
		return 0;
	key.start_ns = moat_get(task, start_boottime);
	key.pid = moat_get(task, tgid);
	if (moat_proc(&key) && bpf_map_delete_elem(&moat_procs, &key) == 0)
		moat_count_holder(key.start_ns, -1);
	return 0;
}
