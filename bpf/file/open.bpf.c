/* SPDX-License-Identifier: GPL-2.0-only */
/* An asset file was opened. */
#include "opened.bpf.h"
#include "../lib/syscall.bpf.h"

/*
 * In the middle of the open, by whatever call it came (io_uring, 32-bit, a handle, an exec, the kernel on behalf of the caller): before
 * the descriptor is there, and before the file system has had its say. f_flags still are those of the call; do_dentry_open takes
 * O_CREAT, O_EXCL and O_TRUNC away afterwards. An open with O_PATH does not come here: it gives no way to the bytes.
 */
static __always_inline void moat_opening(const struct file *file)
{
	struct moat_control *control = moat_get_control();

	if (control && control->have_assets)
		moat_opened(control, file, moat_get(file, f_flags), MOAT_NO_FD);
}

MOAT_SECURITY(moat_file_open, file_open, moat_opening(moat_arg(struct file, file)), struct file *file)

/* open, openat, openat2, creat, open_by_handle_at: when the call returns. */
MOAT_HOOK("tp_btf/sys_exit", moat_file_open)
int moat_file_open(struct moat_sys_exit *ctx)
{
	struct moat_control *control = moat_get_control();
	struct task_struct *task = moat_caller();
	struct file *file;

	moat_ran(moat_file_open);
	if (control && task && control->have_assets && ctx->ret >= 0) {
		file = moat_fd_file(task, ctx->ret);
		if (file)
			moat_opened(control, file, moat_open_flags(ctx), ctx->ret);
	}
	moat_pass_on(ctx); /* to gpu.open */
	return 0;
}
