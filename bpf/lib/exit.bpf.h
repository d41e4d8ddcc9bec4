/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which run of sched_process_exit is that of the last thread. Since 6.16 the tracepoint says so itself (group_dead).
 *
 * Before, the count of live threads tells: it is taken down before the tracepoint (kernel/exit.c do_exit), so that two threads that
 * end at once may both find it 0. The first of them to enter the process here is taken; no thread comes back to read or write.
 */
#ifndef MOAT_LIB_EXIT_BPF_H
#define MOAT_LIB_EXIT_BPF_H

#include "label.bpf.h"

/* Processes whose end was told. LRU: an entry matters for the microseconds between two threads' ends. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct moat_proc_key);
	__type(value, __u8);
} moat_ended SEC(".maps") __weak;

/* task: the one of the tracepoint, which is the current one. */
static __always_inline int moat_is_last_thread(const struct task_struct *task)
{
	struct moat_proc_key key;
	__u8 one = 1;

	if (moat_get(task, signal, live.counter) != 0)
		return 0;
	moat_proc_key_of(&key, task);
	return bpf_map_update_elem(&moat_ended, &key, &one, BPF_NOEXIST) == 0;
}

#endif
