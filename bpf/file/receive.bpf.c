/* SPDX-License-Identifier: GPL-2.0-only */
/* A descriptor of an asset came from another process (SCM_RIGHTS, pidfd_getfd): the same as opening it. */
#include "opened.bpf.h"

/* The receiver is the current task, in its recvmsg() or pidfd_getfd(). */
static __always_inline void moat_receiving(const struct file *file)
{
	struct moat_control *control = moat_get_control();

	if (control->have_assets)
		moat_opened(control, file, moat_get(file, f_flags), MOAT_NO_FD);
}

MOAT_SECURITY(moat_file_receive, file_receive, moat_receiving(moat_arg(struct file, file)), struct file *file)
