/* SPDX-License-Identifier: GPL-2.0-only */
/* Whose events are reported: the scope cgroup and below, or the whole host. */
#ifndef MOAT_LIB_SCOPE_BPF_H
#define MOAT_LIB_SCOPE_BPF_H

#include "../kernel/read.bpf.h"
#include "maps.bpf.h"

/* The current task: self is moat_task_now(). */
static __always_inline int moat_scope_has(const struct moat_control *control, const struct task_struct *self)
{
	if (control->agent_pid == (__u32)moat_get(self, tgid))
		return 0;
	if (control->scope_all)
		return 1;
	return bpf_current_task_under_cgroup(&moat_scope, 0) == 1;
}

static __always_inline int moat_in_scope(const struct moat_control *control)
{
	return moat_scope_has(control, moat_task_now());
}

#endif
