/* SPDX-License-Identifier: GPL-2.0-only */
/* ftruncate(fd, length) of an asset. By path: user space sees it through fanotify. */
#include "io.bpf.h"

SEC("tp_btf/sys_exit")
int moat_file_truncate(struct moat_sys_exit *ctx)
{
	struct moat_control *control = moat_get_control();
	struct task_struct *task = moat_caller();
	struct file *file;
	__u32 asset, fd;

	if (!control || !task || !control->have_assets || ctx->ret)
		return 0;
	fd = moat_syscall_arg(ctx, 0);
	file = moat_fd_file(task, fd);
	if (!file)
		return 0;
	asset = moat_asset_of(control, file, 0);
	if (asset == MOAT_NO_ASSET || !moat_in_scope(control, task))
		return 0;
	moat_emit_tamper(control, task, file, asset, MOAT_TAMPER_TRUNCATE, fd, moat_syscall_arg(ctx, 1));
	return 0;
}
