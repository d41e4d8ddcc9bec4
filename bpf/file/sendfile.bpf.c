/* SPDX-License-Identifier: GPL-2.0-only */
/* sendfile(out, in): the second descriptor is read, the first written. */
#include "io.bpf.h"

SEC("tracepoint/syscalls/sys_exit_sendfile64")
int moat_file_sendfile(struct moat_syscall_exit *ctx)
{
	struct moat_control *control = moat_get_control();
	struct task_struct *task = moat_current();

	if (!control || !control->have_assets || ctx->ret <= 0)
		return 0;
	moat_file_read_fd(control, task, moat_syscall_arg(task, 1), ctx->ret);
	moat_file_write_fd(control, task, moat_syscall_arg(task, 0), ctx->ret);
	return 0;
}
