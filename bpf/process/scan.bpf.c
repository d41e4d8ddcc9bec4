/* SPDX-License-Identifier: GPL-2.0-only */
/* Who was here before: one record per process in scope, written to the iterator's reader, with the start time to the nanosecond. */
#include "../lib/emit.bpf.h"
#include "image.bpf.h"
#include <bpf/bpf_tracing.h>

/* Kernel 6.5 and 6.1. */
extern struct cgroup *bpf_cgroup_from_id(__u64 id) __ksym;
extern void bpf_cgroup_release(struct cgroup *cgroup) __ksym;
extern long bpf_task_under_cgroup(struct task_struct *task, struct cgroup *ancestor) __ksym;

/* A record is larger than a program's stack. One reader at a time (probe.h), which may be moved between CPUs but not within one. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct moat_exec);
} moat_scan_record SEC(".maps");

static __always_inline int moat_task_in_scope(const struct moat_control *control, struct task_struct *task)
{
	struct cgroup *cgroup;
	int in;

	if (control->agent_pid == (__u32)task->tgid)
		return 0;
	if (control->scope_all)
		return 1;
	cgroup = bpf_cgroup_from_id(control->scope_cgroup);
	if (!cgroup)
		return 0;
	in = bpf_task_under_cgroup(task, cgroup);
	bpf_cgroup_release(cgroup);
	return in;
}

SEC("iter/task")
int moat_process_scan(struct bpf_iter__task *ctx)
{
	struct moat_control *control = moat_get_control();
	struct task_struct *task = ctx->task;
	struct moat_exec *e;
	struct file *file;
	__u32 zero = 0;

	if (!task || !control || task->pid != task->tgid || !task->mm) /* a thread, a kernel thread or a zombie */
		return 0;
	if (!moat_task_in_scope(control, task))
		return 0;
	task = moat_task(task);
	e = bpf_map_lookup_elem(&moat_scan_record, &zero);
	if (!e)
		return 0;
	moat_fill(&e->hdr, MOAT_KIND_SCAN, sizeof(*e), task);
	e->hdr.labels = moat_labels(e->hdr.pid, e->hdr.start_ns);
	file = task->mm->exe_file;
	moat_fill_image(e, task, file);
	if (!file)
		e->hdr.flags |= MOAT_F_UNREADABLE;
	bpf_seq_write(ctx->meta->seq, e, sizeof(*e));
	return 0;
}
