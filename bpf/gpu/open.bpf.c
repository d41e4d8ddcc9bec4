/* SPDX-License-Identifier: GPL-2.0-only */
/* Opens of accelerator devices. */
#include "../lib/emit.bpf.h"
#include "../lib/scope.bpf.h"
#include "../lib/syscall.bpf.h"
#include "../lib/opening.bpf.h"
#include "urgent.bpf.h"

/* Descriptors received from others are no opens; their ioctls are seen. */
static __always_inline void moat_gpu_opened(struct task_struct *task, const struct file *file, __u32 fd, __u32 hdr_flags)
{
	struct moat_control *control;
	struct moat_gpu_open *e;
	struct moat_major_val *major;
	__u32 rdev, class_id, categories;

	major = moat_major_of(file, &rdev);
	if (!major)
		return;
	class_id = moat_class_of(major, rdev);
	if (class_id == MOAT_GPU_NONE)
		return;
	control = moat_get_control();
	if (!moat_in_scope(control))
		return;
	categories = moat_gpu_opening_means(class_id, rdev);
	e = categories && moat_gpu_is_urgent(rdev) ? MOAT_RESERVE(moat_ring_urgent, MOAT_KIND_GPU_OPEN, struct moat_gpu_open)
						   : MOAT_RESERVE(moat_ring_bulk, MOAT_KIND_GPU_OPEN, struct moat_gpu_open);
	if (!e)
		return;
	moat_fill(&e->hdr, MOAT_KIND_GPU_OPEN, sizeof(*e), task);
	e->hdr.flags = hdr_flags;
	e->hdr.labels = moat_labels(e->hdr.pid, e->hdr.start_ns);
	e->rdev = rdev;
	e->class_id = class_id;
	e->open_flags = moat_get(file, f_flags);
	e->fd = fd;
	e->categories = categories;
	e->pad = 0;
	moat_submit(control, e);
}

/*
 * What opening any character device goes through, by whatever call, with the driver's answer. Not the security check of all opens
 * (bpf/file/open.bpf.c has that one): this costs the opens of other files nothing.
 */
MOAT_TRACE("fexit/chrdev_open", moat_gpu_open_fexit, struct inode *inode, struct file *file, long ret)
{
	if ((int)ret >= 0)
		moat_gpu_opened(moat_current(), moat_cast(struct file, file), MOAT_NO_FD, 0);
	return 0;
}

MOAT_HOOK("kprobe/chrdev_open", moat_gpu_open_kprobe)
int BPF_KPROBE(moat_gpu_open_kprobe, struct inode *inode, struct file *file)
{
	moat_ran(moat_gpu_open_kprobe);
	moat_gpu_opened(moat_current(), moat_cast(struct file, file), MOAT_NO_FD, MOAT_F_NO_RESULT);
	return 0;
}

/* open, openat, openat2, creat and open_by_handle_at, when the call returns: only then is the descriptor there, and through it the device. */
MOAT_HOOK("tp_btf/sys_exit", moat_gpu_open)
int moat_gpu_open(struct moat_sys_exit *ctx)
{
	struct task_struct *task;
	struct file *file;

	moat_ran(moat_gpu_open);
	if (ctx->ret < 0)
		return 0;
	task = moat_caller();
	file = task ? moat_fd_file(task, ctx->ret) : NULL;
	if (file)
		moat_gpu_opened(task, file, ctx->ret, 0);
	return 0;
}
