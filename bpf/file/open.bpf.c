/* SPDX-License-Identifier: GPL-2.0-only */
/* An asset file was opened: open, openat, openat2, creat, open_by_handle_at. */
#include "io.bpf.h"
#include "../lib/syscall.bpf.h"

#define FMODE_CREATED 0x100000 /* include/linux/fs.h: this open made the file, so O_TRUNC had nothing to cut */

static __always_inline void moat_opened(struct moat_sys_exit *ctx)
{
	struct moat_control *control = moat_get_control();
	struct task_struct *task = moat_caller();
	const struct inode *inode;
	struct moat_file_open *e;
	__u32 asset, asked;
	struct file *file;
	__s64 fd = ctx->ret;

	if (!control || !task || !control->have_assets || fd < 0)
		return;
	file = moat_fd_file(task, fd);
	if (!file)
		return;
	asset = moat_asset_of(control, file, 1);
	if (asset == MOAT_NO_ASSET || !moat_in_scope(control, task))
		return;

	asked = moat_open_flags(ctx);
	e = MOAT_RESERVE(moat_ring_bulk, MOAT_KIND_FILE_OPEN, struct moat_file_open);
	if (e) {
		inode = file->f_inode;
		moat_fill(&e->hdr, MOAT_KIND_FILE_OPEN, sizeof(*e), task);
		e->hdr.labels = moat_labels(e->hdr.pid, e->hdr.start_ns);
		e->inode = inode->i_ino;
		e->bytes = inode->i_size;
		e->dev = inode->i_sb->s_dev;
		e->asset = asset;
		e->open_flags = file->f_flags | (asked & (MOAT_O_CREAT | MOAT_O_EXCL | MOAT_O_TRUNC));
		e->fd = fd;
		if (moat_last_name(e->name, sizeof(e->name), file) < 0)
			e->hdr.flags |= MOAT_F_UNREADABLE;
		moat_submit(control, e);
	}
	if (asked & MOAT_O_TRUNC && !(asked & MOAT_O_PATH) && !(file->f_mode & FMODE_CREATED))
		moat_emit_tamper(control, task, file, asset, MOAT_TAMPER_TRUNCATE, fd, 0);
}

SEC("tp_btf/sys_exit")
int moat_file_open(struct moat_sys_exit *ctx)
{
	moat_opened(ctx);
	moat_pass_on(ctx); /* to gpu.open */
	return 0;
}
