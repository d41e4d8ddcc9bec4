/* SPDX-License-Identifier: GPL-2.0-only */
/* copy_file_range(in, off, out, off, ..) and splice, whose arguments stand in the same places. */
#include "io.bpf.h"

MOAT_HOOK("tp_btf/sys_exit", moat_file_copy)
int moat_file_copy(struct moat_sys_exit *ctx)
{
	struct moat_control *control = moat_get_control();
	struct task_struct *task = moat_caller();

	moat_ran(moat_file_copy);
	if (!task || !control->have_assets || ctx->ret <= 0)
		return 0;
	moat_file_read_fd(control, task, moat_syscall_arg(ctx, 0), ctx->ret);
	moat_file_write_fd(control, task, moat_syscall_arg(ctx, 2), ctx->ret);
	return 0;
}
