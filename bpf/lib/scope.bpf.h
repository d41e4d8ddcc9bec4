/* SPDX-License-Identifier: GPL-2.0-only */
/* Whose events are reported: the scope cgroup and below, or the whole host. */
#ifndef MOAT_LIB_SCOPE_BPF_H
#define MOAT_LIB_SCOPE_BPF_H

#include "../kernel/read.bpf.h"
#include "maps.bpf.h"

/* The current task. */
static __always_inline int moat_in_scope(const struct moat_control *control)
{
	if (control->agent_pid == moat_self_pid())
		return 0;
	if (control->scope_all)
		return 1;
	return bpf_current_task_under_cgroup(&moat_scope, 0) == 1;
}

#endif
