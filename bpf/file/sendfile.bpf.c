/* SPDX-License-Identifier: GPL-2.0-only */
/* sendfile(out, in): the second descriptor is read, the first written. */
#include "io.bpf.h"

MOAT_HOOK("tp_btf/sys_exit", moat_file_sendfile)
int moat_file_sendfile(struct moat_sys_exit *ctx)
{
	struct moat_control *control = moat_get_control();
	struct task_struct *task = moat_caller();

	moat_ran(moat_file_sendfile);
	if (!task || !control->have_assets || ctx->ret <= 0)
		return 0;
	moat_file_read_fd(control, task, moat_syscall_arg(ctx, 1), ctx->ret);
	moat_file_write_fd(control, task, moat_syscall_arg(ctx, 0), ctx->ret);
	return 0;
}
