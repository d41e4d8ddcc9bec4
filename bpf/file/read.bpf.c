/* SPDX-License-Identifier: GPL-2.0-only */
/* Bytes read from an asset: read, pread64, readv, preadv and preadv2. */
#include "io.bpf.h"

SEC("tp_btf/sys_exit")
int moat_file_read(struct moat_sys_exit *ctx)
{
	struct moat_control *control = moat_get_control();
	struct task_struct *task = moat_caller();

	if (!control || !task || !control->have_assets || ctx->ret <= 0)
		return 0;
	moat_file_read_fd(control, task, moat_syscall_arg(ctx, 0), ctx->ret);
	return 0;
}
