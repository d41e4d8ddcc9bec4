/* SPDX-License-Identifier: GPL-2.0-only */
/* Bytes written to an asset. */
#include "io.bpf.h"
#include "../lib/syscall.bpf.h"

static __always_inline void moat_file_was_written(const void *arg, __s64 bytes)
{
	struct moat_control *control;
	struct task_struct *task;
	struct file *file;
	__u32 asset;

	if (bytes <= 0)
		return;
	control = moat_get_control();
	if (!control->have_assets)
		return;
	file = moat_cast(struct file, arg);
	asset = moat_asset_of(control, file, 0);
	if (asset == MOAT_NO_ASSET)
		return;
	task = moat_current();
	if (moat_in_scope(control))
		moat_count_write(control, task, file, asset, MOAT_NO_FD, bytes);
}

/* Into the page cache: ext4, tmpfs, f2fs, nfs and most others, by system call, io_uring, AIO or splice. */
MOAT_TRACE("fexit/generic_perform_write", moat_file_write_fexit, struct kiocb *iocb, void *iter, long ret)
{
	moat_file_was_written(moat_get(moat_cast(struct kiocb, iocb), ki_filp), ret);
	return 0;
}

/* Until 5.18 it was handed the file, and the position. */
MOAT_TRACE("fexit/generic_perform_write", moat_file_write_fexit_5_10, struct file *file, void *iter, __s64 pos, long ret)
{
	moat_file_was_written(file, ret);
	return 0;
}

/* write, pwrite64, writev, pwritev and pwritev2. */
MOAT_HOOK("tp_btf/sys_exit", moat_file_write)
int moat_file_write(struct moat_sys_exit *ctx)
{
	struct moat_control *control = moat_get_control();
	struct task_struct *task = moat_caller();

	moat_ran(moat_file_write);
	if (!task || !control->have_assets || ctx->ret <= 0)
		return 0;
	moat_file_write_fd(control, task, moat_syscall_arg(ctx, 0), ctx->ret);
	return 0;
}
