/* SPDX-License-Identifier: GPL-2.0-only */
/* Who was here before: one record per process in scope, written to the iterator's reader, with the start time to the nanosecond. */
#include "../lib/emit.bpf.h"
#include "image.bpf.h"
#include <bpf/bpf_tracing.h>

#define MOAT_CGROUP_DEPTH \
	32 /* levels between a process and the scope's cgroup; the kernel's own limit is a setting, seldom above 10 */

/* A record is larger than a program's stack. One reader at a time (probe.h), which may be moved between CPUs but not within one. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct moat_exec);
} moat_scan_record SEC(".maps");

static __always_inline int moat_task_in_scope(const struct moat_control *control, const struct task_struct *task)
{
	const struct cgroup_subsys_state *css;
	const struct cgroup *cgroup;

	if (control->agent_pid == (__u32)moat_get(task, tgid))
		return 0;
	if (control->scope_all)
		return 1;
	/* By hand: the helper asks about the current task only, the functions for any task came with 6.5. */
	cgroup = moat_get(task, cgroups, dfl_cgrp);
	for (int i = 0; i < MOAT_CGROUP_DEPTH; i++) {
		if (moat_get(cgroup, kn, id) == control->scope_cgroup)
			return 1;
		css = moat_get(cgroup, self.parent);
		if (!css)
			return 0;
		cgroup = moat_get(css, cgroup);
	}
	return 0;
}

MOAT_HOOK("iter/task", moat_process_scan)
int moat_process_scan(struct bpf_iter__task *ctx)
{
	struct moat_control *control = moat_get_control();
	struct task_struct *task = ctx->task;
	struct moat_exec *e;
	struct file *file;
	__u32 zero = 0;

	moat_ran(moat_process_scan);
	if (!task || moat_get(task, pid) != moat_get(task, tgid) ||
	    !moat_get(task, mm)) /* a thread, a kernel thread or a zombie */
		return 0;
	task = moat_task(task);
	if (!moat_task_in_scope(control, task))
		return 0;
	e = bpf_map_lookup_elem(&moat_scan_record, &zero);
	if (!e)
		return 0;
	moat_fill_of(&e->hdr, MOAT_KIND_SCAN, sizeof(*e), task, task, bpf_ktime_get_ns());
	e->hdr.flags = 0;
	e->hdr.labels = moat_labels(e->hdr.pid, e->hdr.start_ns);
	file = moat_get(task, mm, exe_file);
	e->exec_flags = 0;
	moat_fill_image(e, task, file);
	if (!file)
		e->hdr.flags |= MOAT_F_UNREADABLE;
	bpf_seq_write(ctx->meta->seq, e, sizeof(*e));
	return 0;
}
