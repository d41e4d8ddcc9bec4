/* SPDX-License-Identifier: GPL-2.0-only */
/* Extents shared instead of copied (FICLONE, FICLONERANGE, and copy_file_range() where the file system prefers that): as good as read. */
#include "io.bpf.h"

#define REMAP_FILE_DEDUP 1u /* include/linux/fs.h: equal bytes are found, none are had */

/* What every file system that can do it calls before it does (btrfs, xfs, ocfs2, overlay's lower ones); *len is set by then. */
MOAT_TRACE("fexit/generic_remap_file_range_prep", moat_file_clone, struct file *in, __s64 pos_in, struct file *out, __s64 pos_out,
	   __s64 *length, unsigned int flags, long ret)
{
	struct moat_control *control = moat_get_control();
	const struct file *from = moat_cast(struct file, in), *to = moat_cast(struct file, out);
	struct task_struct *task;
	__s64 bytes = 0;
	__u32 asset;

	if ((int)ret < 0 || flags & REMAP_FILE_DEDUP || !control->have_assets)
		return 0;
	bpf_probe_read_kernel(&bytes, sizeof(bytes), length);
	task = moat_current();
	if (bytes <= 0)
		return 0;
	asset = moat_asset_of(control, from, 0);
	if (asset != MOAT_NO_ASSET && moat_in_scope(control))
		moat_count_read(task, asset, bytes);
	asset = moat_asset_of(control, to, 0);
	if (asset != MOAT_NO_ASSET && moat_in_scope(control))
		moat_count_write(control, task, to, asset, MOAT_NO_FD, bytes);
	return 0;
}
