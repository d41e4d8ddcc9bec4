/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From a hook to a ring. moat_reserve() counts the attempt, and the loss when there is no room; moat_fill() writes the header;
 * moat_submit() sends. The reader is woken only when it has said that it sleeps: a wake-up per record costs the traced program
 * 1,500 to 4,000 ns.
 */
#ifndef MOAT_LIB_EMIT_BPF_H
#define MOAT_LIB_EMIT_BPF_H

#include "../kernel/read.bpf.h"
#include "label.bpf.h"
#include "maps.bpf.h"
#include "stats.bpf.h"

/*
 * All but flags and labels. task: as its numbers and name are loaded best. far: the same by the way on which its pointers are followed
 * best. now: bpf_ktime_get_ns().
 */
static __always_inline void moat_fill_of(struct moat_hdr *hdr, __u32 kind, __u32 size, const struct task_struct *task,
					 const struct task_struct *far, __u64 now)
{
	const struct task_struct *leader = moat_get(far, group_leader);

	hdr->size = size;
	hdr->version = MOAT_ABI_VERSION;
	hdr->kind = kind;
	hdr->uid = moat_get(far, cred, uid.val);
	hdr->time_ns = now;
	hdr->pid = moat_get(task, tgid);
	hdr->tid = moat_get(task, pid);
	hdr->start_ns = moat_get(leader, start_boottime);
	hdr->cgroup_id = moat_get(far, cgroups, dfl_cgrp, kn, id);
	moat_copy_comm(hdr->comm, task);
}

/* Of the current task, for the caller that has the time already (31 ns). A trusted pointer's loads are one instruction, not nine. */
static __always_inline void moat_fill_at(struct moat_hdr *hdr, __u32 kind, __u32 size, const struct task_struct *task, __u64 now)
{
	moat_fill_of(hdr, kind, size, moat_task_now(), task, now);
	hdr->flags = 0;
	hdr->labels = 0;
}

/*
 * Of the current task (self: moat_task_now()), 70 instructions less, for the programs that run most: the caller sets the flags. Each
 * pointer so followed costs the verifier a search of the kernel's types (kernel/read.bpf.h), before 7.0 about 1 ms.
 */
static __always_inline void moat_fill_hot(struct moat_hdr *hdr, __u32 kind, __u32 size, const struct task_struct *self)
{
	moat_fill_of(hdr, kind, size, self, self, bpf_ktime_get_ns());
	hdr->labels = moat_labels(hdr->pid, hdr->start_ns);
}

/* Of the current task. */
static __always_inline void moat_fill(struct moat_hdr *hdr, __u32 kind, __u32 size, const struct task_struct *task)
{
	moat_fill_at(hdr, kind, size, task, bpf_ktime_get_ns());
}

#define MOAT_FILL_CHECK 64 /* records of a kind and CPU between two looks at how full the ring is */

/*
 * While events flow the reader naps for milliseconds between its rounds and is not woken. A ring that fills up meanwhile wakes it:
 * the next record to be sent does.
 */
static __always_inline void moat_check_fill(void *ring)
{
	struct moat_control *control = moat_get_control();

	if (bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) * 4 > bpf_ringbuf_query(ring, BPF_RB_RING_SIZE))
		control->reader_asleep = 1;
}

/* Room for one record of a kind, counted; NULL: the ring is full, counted as lost. */
static __always_inline void *moat_reserve(void *ring, __u32 kind, __u32 size)
{
	struct moat_stat *stat = moat_stat(kind);
	void *record;

	if (!stat)
		return NULL;
	/* Atomic although per CPU: a program in soft-irq may count the same kind between our load and our store. */
	__sync_fetch_and_add(&stat->attempted, 1);
	if (!(stat->attempted & (MOAT_FILL_CHECK - 1)))
		moat_check_fill(ring);
	record = bpf_ringbuf_reserve(ring, size, 0);
	if (!record)
		__sync_fetch_and_add(&stat->lost_ring_full, 1);
	return record;
}

/*
 * The flag is asked again after the record is visible: a reader that set it in between found the record still busy and went to
 * sleep. An empty discarded record then wakes it (either ring will do, the reader drains both).
 */
static __always_inline void moat_submit(struct moat_control *control, void *record)
{
	if (*(volatile __u32 *)&control->reader_asleep) {
		control->reader_asleep = 0;
		bpf_ringbuf_submit(record, BPF_RB_FORCE_WAKEUP);
		return;
	}
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	if (*(volatile __u32 *)&control->reader_asleep) {
		record = bpf_ringbuf_reserve(&moat_ring_urgent, 8, 0);
		if (record) {
			control->reader_asleep = 0;
			bpf_ringbuf_discard(record, BPF_RB_FORCE_WAKEUP);
		}
	}
}

/*
 * clang puts a struct into BTF only if a map, a function or a relocation names it; asking for its type id is the least of these
 * (one instruction). tests/abi holds the BTF of every record against the C++ side.
 */
#define MOAT_RESERVE(ring, kind, type)                                  \
	({                                                              \
		asm volatile("" : : "r"(bpf_core_type_id_local(type))); \
		(type *)moat_reserve(&(ring), (kind), sizeof(type));    \
	})

#endif
