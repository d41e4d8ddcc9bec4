/* SPDX-License-Identifier: GPL-2.0-only */
/* A new program image: what was asked for, what runs, with which arguments and rights. */
#include "../lib/emit.bpf.h"
#include "../lib/scope.bpf.h"
#include "environment.bpf.h"
#include "image.bpf.h"
#include <bpf/bpf_tracing.h>

/*
 * Runs in the new image: credentials, mm and argv are those after the exec, and an exec by a thread that was not the leader
 * has already taken over the leader's pid and start time. bprm->file is the interpreter of a script, bprm->filename the script.
 */
MOAT_TRACE("tp_btf/sched_process_exec", moat_process_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	struct moat_control *control = moat_get_control();
	unsigned long start, total;
	struct moat_exec *e;
	__u32 len;

	task = moat_task(task);
	if (!moat_in_scope(control))
		return 0;
	e = MOAT_RESERVE(moat_ring_urgent, MOAT_KIND_EXEC, struct moat_exec);
	if (!e)
		return 0;
	moat_fill(&e->hdr, MOAT_KIND_EXEC, sizeof(*e), task);
	e->hdr.labels = moat_labels(e->hdr.pid, e->hdr.start_ns);
	e->exec_flags = 0;
	moat_fill_environment(e, moat_get(task, mm));
	moat_fill_image(e, task, moat_get(bprm, file));
	if (bpf_probe_read_kernel_str(e->filename, MOAT_FILENAME_LEN, moat_get(bprm, filename)) >= MOAT_FILENAME_LEN)
		e->hdr.flags |= MOAT_F_TRUNCATED; /* or exactly as long: not told apart */

	start = moat_get(task, mm, arg_start);
	total = moat_get(task, mm, arg_end) - start;
	len = total > MOAT_ARGV_LEN ? MOAT_ARGV_LEN : total;
	e->argv_total = total;
	e->argv_len = len;
	if (total > MOAT_ARGV_LEN)
		e->exec_flags |= MOAT_EXEC_ARGV_TRUNCATED;
	/* The new stack was just written, so its pages are here; one read clears what it could not fill. */
	if (len <= MOAT_ARGV_LEN && bpf_probe_read_user(e->argv, len, (void *)start)) {
		e->exec_flags |= MOAT_EXEC_ARGV_UNREADABLE;
		e->hdr.flags |= MOAT_F_UNREADABLE;
		e->argv_len = 0;
	}
	moat_submit(control, e);
	return 0;
}
