/* SPDX-License-Identifier: GPL-2.0-only */
/* Whose events are reported: the scope cgroup and below, or the whole host. */
#ifndef MOAT_LIB_SCOPE_BPF_H
#define MOAT_LIB_SCOPE_BPF_H

#include "../kernel/read.bpf.h"
#include "maps.bpf.h"

static __always_inline int moat_in_scope(const struct moat_control *control, const struct task_struct *task)
{
	if (control->agent_pid == (__u32)moat_get(task, tgid))
		return 0;
	if (control->scope_all)
		return 1;
	return bpf_current_task_under_cgroup(&moat_scope, 0) == 1;
}

#endif
