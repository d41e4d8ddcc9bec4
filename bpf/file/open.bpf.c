/* SPDX-License-Identifier: GPL-2.0-only */
/* An asset file was opened. */
#include "opened.bpf.h"
#include "../lib/syscall.bpf.h"

/*
 * In the middle of the open, by whatever call it came (io_uring, 32-bit, a handle, an exec, the kernel on behalf of the caller): before
 * the descriptor is there, and before the file system has had its say. f_flags still are those of the call; do_dentry_open takes
 * O_CREAT, O_EXCL and O_TRUNC away afterwards. An open with O_PATH does not come here: it gives no way to the bytes.
 */
static __noinline int moat_opening_any(const struct file *file)
{
	struct moat_control *control = moat_get_control();

	if (control->have_assets)
		moat_opened(control, file, moat_get(file, f_flags), MOAT_NO_FD);
	return 0;
}

#ifndef MOAT_LEGACY

/* No note yet, or one that has ceased to hold. A note is never changed, so that nobody reads half of one: it is made anew. */
static __noinline int moat_opening_unnoted(const struct file *file)
{
	struct moat_control *control = moat_get_control();
	struct inode *inode = moat_get(file, f_inode);
	const struct task_struct *self = moat_task_now();
	struct moat_inode_note it = {.epoch = control->inode_epoch}; /* before what it stands for is looked up */

	if (!control->have_assets)
		return 0;
	it.asset = moat_find_asset(control, file, 1, &it.flags);
	if (it.asset == MOAT_NO_ASSET)
		return 0;
	it.dev = moat_get(inode, i_sb, s_dev);
	/* Only what the table has: a file that found no room there is looked for again at its next open, since reads ask the table. */
	if ((moat_get(inode, i_mode) & S_IFMT) == S_IFREG && moat_known_inode(control, inode, it.dev)) {
		bpf_inode_storage_delete(&moat_inode_notes, inode);
		bpf_inode_storage_get(&moat_inode_notes, inode, &it, BPF_LOCAL_STORAGE_GET_F_CREATE); /* no room: as before */
	}
	if (moat_scope_has(control, self))
		moat_opened_asset(control, file, &it, self, moat_get(file, f_flags), MOAT_NO_FD);
	return 0;
}

static __noinline int moat_opening_noted(const struct file *file)
{
	struct moat_control *control = moat_get_control();
	const struct task_struct *self = moat_task_now();
	struct moat_inode_note *note = bpf_inode_storage_get(&moat_inode_notes, moat_get(file, f_inode), 0, 0);

	if (!note || note->epoch != control->inode_epoch)
		return moat_opening_unnoted(file);
	if (moat_scope_has(control, self))
		moat_opened_asset(control, file, note, self, moat_get(file, f_flags), MOAT_NO_FD);
	return 0;
}

#else
#define moat_opening_noted moat_opening_any
#endif

/*
 * Asked at each open of anything, and most files are no asset: functions of their own for the rest, so that they pay for no register that
 * those need.
 */
static __always_inline void moat_opening(const struct file *file, int by_module)
{
	if (!moat_may_be_asset(moat_get_control(), file))
		return;
	if (by_module)
		moat_opening_noted(file);
	else
		moat_opening_any(file);
}

MOAT_SECURITY(moat_file_open, file_open, moat_opening(moat_arg(struct file, file), by_module), struct file *file)

/* open, openat, openat2, creat, open_by_handle_at: when the call returns. */
MOAT_HOOK("tp_btf/sys_exit", moat_file_open)
int moat_file_open(struct moat_sys_exit *ctx)
{
	struct moat_control *control = moat_get_control();
	struct task_struct *task = moat_caller();
	struct file *file;

	moat_ran(moat_file_open);
	if (task && control->have_assets && ctx->ret >= 0) {
		file = moat_fd_file(task, ctx->ret);
		if (file)
			moat_opened(control, file, moat_open_flags(ctx), ctx->ret);
	}
	moat_pass_on(ctx); /* to gpu.open */
	return 0;
}
