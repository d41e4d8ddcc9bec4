/* SPDX-License-Identifier: GPL-2.0-only */
/* A process has, or is about to have, a descriptor of an asset: opened or received. */
#ifndef MOAT_FILE_OPENED_BPF_H
#define MOAT_FILE_OPENED_BPF_H

#include "io.bpf.h"

/*
 * By the current task, of a file of an asset in scope. it: of its inode. self: moat_task_now(). asked: those of the call. fd: MOAT_NO_FD where it is not
 * known yet.
 */
static __always_inline void moat_opened_asset(struct moat_control *control, const struct file *file,
					      const struct moat_inode_note *it, const struct task_struct *self, __u32 asked,
					      __u32 fd)
{
	const struct inode *inode = moat_get(file, f_inode);
	__u32 asset = it->asset, flags = it->flags, lost = 0;
	struct moat_block_val *block;
	struct moat_file_open *e;
	__u64 labels;

	barrier_var(flags); /* asked first, for it is the rarest */
	if (flags & MOAT_INODE_OPEN_READS && !(asked & MOAT_O_PATH) && (asked & MOAT_O_ACCMODE) != MOAT_O_WRONLY) {
		labels = 1ull << (asset & 63);
		__u32 rdev = moat_get(inode, i_rdev);

		block = rdev ? bpf_map_lookup_elem(&moat_blocks, &rdev) : NULL;
		if (block)
			labels = block->labels;
		if (moat_add_labels(moat_self_pid(), moat_self_start(), labels))
			lost = MOAT_F_LABEL_LOST;
	}
	e = MOAT_RESERVE(moat_ring_bulk, MOAT_KIND_FILE_OPEN, struct moat_file_open);
	if (e) {
		moat_fill_hot(&e->hdr, MOAT_KIND_FILE_OPEN, sizeof(*e), self);
		e->inode = moat_get(inode, i_ino);
		e->bytes = moat_get(inode, i_size);
		e->dev = it->dev;
		e->asset = asset;
		/* Where there is no descriptor yet, those of the call still are those of the file. */
		e->open_flags = fd == MOAT_NO_FD
					? asked
					: moat_get(file, f_flags) | (asked & (MOAT_O_CREAT | MOAT_O_EXCL | MOAT_O_TRUNC));
		e->fd = fd;
		e->hdr.flags = lost | moat_last_name(e->name, moat_get(file, f_path.dentry));
		moat_submit(control, e);
	}
	if (asked & MOAT_O_TRUNC && !(asked & MOAT_O_PATH) && !(moat_get(file, f_mode) & FMODE_CREATED))
		moat_tamper_file(control, moat_current(), file, asset, MOAT_TAMPER_TRUNCATE, fd, 0);
}

static __always_inline void moat_opened(struct moat_control *control, const struct file *file, __u32 asked, __u32 fd)
{
	const struct task_struct *self = moat_task_now();
	struct moat_inode_note it = {};

	it.asset = moat_find_asset(control, file, 1, &it.flags);
	if (it.asset == MOAT_NO_ASSET || !moat_scope_has(control, self))
		return;
	it.dev = moat_get(file, f_inode, i_sb, s_dev);
	moat_opened_asset(control, file, &it, self, asked, fd);
}

#endif
