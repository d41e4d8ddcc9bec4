/* SPDX-License-Identifier: GPL-2.0-only */
/* A task by the number that a system call was passed. */
#ifndef MOAT_LIB_TASK_BPF_H
#define MOAT_LIB_TASK_BPF_H

#include "../kernel/read.bpf.h"

#define MOAT_PID_LEVELS 5 /* of the tree of numbers, 6 bits each: pid_max is at most 2^22 */
#define MOAT_PID_NODE 2   /* include/linux/xarray.h xa_is_node: the low bits of a pointer to a node */

/* The task whose number a struct pid is, or NULL. */
static __always_inline struct task_struct *moat_pid_task(const struct pid *pid)
{
	const struct pid *number = moat_cast(struct pid, pid);
	const void *link = moat_get(number, tasks[0].first);

	if (!link)
		return NULL;
	return moat_cast(struct task_struct, (const char *)link - bpf_core_field_offset(struct task_struct, pid_links));
}

/*
 * The task of this number in the caller's own pid namespace, which may be a container's; NULL: there is none. By hand: the functions for
 * it came with 6.2 (of the host's numbers) and 6.14. Nothing is held: valid only inside the program, and who ends meanwhile is not found.
 */
static __always_inline struct task_struct *moat_task_by_number(struct task_struct *self, __u32 nr)
{
	const struct pid *own = moat_get(self, thread_pid);
	struct pid_namespace *ns = NULL;
	const struct xa_node *node;
	__u64 at;

	own = moat_cast(struct pid, own);
	/* Of variable length: the last is of the task's own namespace. */
	bpf_probe_read_kernel(&ns, sizeof(ns),
			      (char *)own + bpf_core_field_offset(struct pid, numbers) +
				      (moat_get(own, level) & 31) * bpf_core_type_size(struct upid) +
				      bpf_core_field_offset(struct upid, ns));
	if (!ns)
		return NULL;
	ns = moat_cast(struct pid_namespace, ns);
	at = (__u64)moat_get(ns, idr.idr_rt.xa_head);
	for (int i = 0; i < MOAT_PID_LEVELS && (at & 3) == MOAT_PID_NODE; i++) {
		node = moat_cast(struct xa_node, (void *)(at - MOAT_PID_NODE));
		__u32 shift = moat_get(node, shift) & 31;

		if (!i && nr >> shift >> 6)
			return NULL; /* beyond the tree */
		at = (__u64)moat_load_ptr((const char *)node + bpf_core_field_offset(struct xa_node, slots) +
					  (nr >> shift & 63) * sizeof(void *));
	}
	return !at || at & 3 ? NULL : moat_pid_task((const struct pid *)at);
}

#endif
