/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Labels: which assets a process holds. A hash keyed by (pid, start time) and not task storage, on every kernel:
 * - it survives an exec from a thread that is not the leader, which frees the leader's task_struct and its storage with it
 *   (fs/exec.c de_thread), while the start time is handed over;
 * - cgroup programs may read it on every kernel (task storage there only from 6.18) and user space can list it;
 * - it costs 24 ns instead of 12, on events only, never on a bystander.
 * Written only when a label changes.
 */
#ifndef MOAT_LIB_LABEL_BPF_H
#define MOAT_LIB_LABEL_BPF_H

#include "../kernel/read.bpf.h"
#include "hook.bpf.h"
#include "maps.bpf.h"
#include "stats.bpf.h"

static __always_inline void moat_proc_key_of(struct moat_proc_key *key, const struct task_struct *task)
{
	key->start_ns = moat_get(task, group_leader, start_boottime);
	key->pid = moat_get(task, tgid);
	key->pad = 0;
}

/* Most processes hold nothing, and cost no look-up. */
static __always_inline int moat_may_hold(__u64 start_ns)
{
	return *(volatile __u32 *)&moat_control.holders[moat_holder_slot(start_ns)] != 0;
}

static __always_inline struct moat_proc_val *moat_proc(const struct moat_proc_key *key)
{
	return moat_may_hold(key->start_ns) ? bpf_map_lookup_elem(&moat_procs, key) : NULL;
}

static __always_inline __u64 moat_labels(__u32 pid, __u64 start_ns)
{
	struct moat_proc_key key;
	struct moat_proc_val *val;

	if (!moat_may_hold(start_ns))
		return 0;
	key.start_ns = start_ns; /* not before: it would be written for nothing */
	key.pid = pid;
	key.pad = 0;
	val = bpf_map_lookup_elem(&moat_procs, &key);
	return val ? val->labels : 0;
}

static __always_inline void moat_count_holder(__u64 start_ns, __u32 n)
{
	__sync_fetch_and_add(&moat_control.holders[moat_holder_slot(start_ns)], n);
}

/*
 * Adds labels, and marks the assets that the process has a row in moat_io for. Returns 0, or -1 when the table is full: then
 * the caller's record carries MOAT_F_LABEL_LOST.
 */
static __always_inline int moat_mark_proc(__u32 pid, __u64 start_ns, __u64 labels, __u64 touched)
{
	struct moat_proc_key key = {.start_ns = start_ns, .pid = pid};
	struct moat_proc_val *val = moat_proc(&key);
	struct moat_proc_val fresh = {.labels = labels, .touched = touched};

	if (!val) {
		moat_count_holder(start_ns, 1);
		if (bpf_map_update_elem(&moat_procs, &key, &fresh, BPF_NOEXIST) == 0) {
			moat_note_rows(MOAT_ROWS_PROCS);
			return 0;
		}
		moat_count_holder(start_ns, -1);
		val = bpf_map_lookup_elem(&moat_procs, &key); /* another thread was first */
		if (!val) {
			moat_count_table_full(MOAT_TABLE_PROCS);
			return -1;
		}
	}
	if ((val->labels & labels) != labels)
		moat_fetch_or(&val->labels, labels);
	if ((val->touched & touched) != touched)
		moat_fetch_or(&val->touched, touched);
	return 0;
}

static __always_inline int moat_add_labels(__u32 pid, __u64 start_ns, __u64 labels)
{
	return moat_mark_proc(pid, start_ns, labels, 0);
}

#endif
