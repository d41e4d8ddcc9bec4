/* SPDX-License-Identifier: GPL-2.0-only */
/* Opens of accelerator devices, seen when the call returns: only then is the descriptor there, and through it the device. */
#include "../lib/emit.bpf.h"
#include "../lib/scope.bpf.h"
#include "device.bpf.h"

/*
 * open, openat, openat2, creat and open_by_handle_at. Not seen: opens by io_uring and by 32-bit programs, and descriptors
 * received from others (their ioctls are seen).
 */
SEC("tp_btf/sys_exit")
int moat_gpu_open(struct moat_sys_exit *ctx)
{
	struct moat_control *control;
	struct moat_gpu_open *e;
	struct task_struct *task;
	struct file *file;
	struct moat_major_val *major;
	__u32 rdev, class_id;

	if (ctx->ret < 0)
		return 0;
	task = moat_caller();
	file = task ? moat_fd_file(task, ctx->ret) : NULL;
	if (!file)
		return 0;
	major = moat_major_of(file, &rdev);
	if (!major)
		return 0;
	class_id = moat_class_of(major, rdev);
	if (class_id == MOAT_GPU_NONE)
		return 0;
	control = moat_get_control();
	if (!control || !moat_in_scope(control, task))
		return 0;
	e = MOAT_RESERVE(moat_ring_bulk, MOAT_KIND_GPU_OPEN, struct moat_gpu_open);
	if (!e)
		return 0;
	moat_fill(&e->hdr, MOAT_KIND_GPU_OPEN, sizeof(*e), task);
	e->hdr.labels = moat_labels(e->hdr.pid, e->hdr.start_ns);
	e->rdev = rdev;
	e->class_id = class_id;
	e->open_flags = file->f_flags;
	e->fd = ctx->ret;
	moat_submit(control, e);
	return 0;
}
