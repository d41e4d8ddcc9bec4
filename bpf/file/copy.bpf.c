/* SPDX-License-Identifier: GPL-2.0-only */
/* copy_file_range(in, off, out, off, ..) and splice, whose arguments stand in the same places. */
#include "io.bpf.h"

SEC("tracepoint/syscalls/sys_exit_copy_file_range")
int moat_file_copy(struct moat_syscall_exit *ctx)
{
	struct moat_control *control = moat_get_control();
	struct task_struct *task = moat_current();

	if (!control || !control->have_assets || ctx->ret <= 0)
		return 0;
	moat_file_read_fd(control, task, moat_syscall_arg(task, 0), ctx->ret);
	moat_file_write_fd(control, task, moat_syscall_arg(task, 2), ctx->ret);
	return 0;
}
