/* SPDX-License-Identifier: GPL-2.0-only */
/* A process has, or is about to have, a descriptor of an asset: opened or received. */
#ifndef MOAT_FILE_OPENED_BPF_H
#define MOAT_FILE_OPENED_BPF_H

#include "io.bpf.h"

/* By the current task. asked: the flags of the call. fd: MOAT_NO_FD where it is not known yet. */
static __always_inline void moat_opened(struct moat_control *control, const struct file *file, __u32 asked, __u32 fd)
{
	struct task_struct *task;
	__u32 asset, flags = 0, lost = 0;
	struct moat_block_val *block;
	const struct inode *inode;
	struct moat_file_open *e;
	__u64 labels;

	asset = moat_find_asset(control, file, 1, &flags);
	if (asset == MOAT_NO_ASSET || !moat_in_scope(control))
		return;
	task = moat_current(); /* not before: most files are no asset */
	inode = moat_get(file, f_inode);
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
		moat_fill(&e->hdr, MOAT_KIND_FILE_OPEN, sizeof(*e), task);
		e->hdr.flags |= lost;
		e->hdr.labels = moat_labels(e->hdr.pid, e->hdr.start_ns);
		e->inode = moat_get(inode, i_ino);
		e->bytes = moat_get(inode, i_size);
		e->dev = moat_get(inode, i_sb, s_dev);
		e->asset = asset;
		e->open_flags = moat_get(file, f_flags) | (asked & (MOAT_O_CREAT | MOAT_O_EXCL | MOAT_O_TRUNC));
		e->fd = fd;
		e->hdr.flags |= moat_last_name(e->name, moat_get(file, f_path.dentry));
		moat_submit(control, e);
	}
	if (asked & MOAT_O_TRUNC && !(asked & MOAT_O_PATH) && !(moat_get(file, f_mode) & FMODE_CREATED))
		moat_tamper_file(control, task, file, asset, MOAT_TAMPER_TRUNCATE, fd, 0);
}

#endif
