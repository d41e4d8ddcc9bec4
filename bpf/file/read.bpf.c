/* SPDX-License-Identifier: GPL-2.0-only */
/* Bytes read from an asset. Attached to the exit of read, pread64, readv, preadv and preadv2. */
#include "io.bpf.h"

SEC("tracepoint/syscalls/sys_exit_read")
int moat_file_read(struct moat_syscall_exit *ctx)
{
	struct moat_control *control = moat_get_control();
	struct task_struct *task = moat_current();

	if (!control || !control->have_assets || ctx->ret <= 0)
		return 0;
	moat_file_read_fd(control, task, moat_syscall_arg(task, 0), ctx->ret);
	return 0;
}
