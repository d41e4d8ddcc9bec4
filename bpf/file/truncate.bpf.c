/* SPDX-License-Identifier: GPL-2.0-only */
/* An asset was cut. */
#include "io.bpf.h"
#include "../lib/syscall.bpf.h"

#define ATTR_OPEN (1u << 15) /* include/linux/fs.h: cut by an open with O_TRUNC, which open.bpf.c tells */

static __always_inline void moat_cut(const void *where, __s64 length, __u32 how, long ret)
{
	const struct dentry *dentry = moat_cast(struct dentry, where);
	struct moat_control *control = moat_get_control();
	struct task_struct *task;
	struct inode *inode;
	__u32 asset;

	if (ret || how & ATTR_OPEN || !control->have_assets)
		return;
	inode = moat_get(dentry, d_inode);
	inode = moat_cast(struct inode, inode);
	asset = moat_asset_of_inode(control, inode);
	task = moat_current();
	if (asset == MOAT_NO_ASSET || !moat_in_scope(control))
		return;
	moat_emit_tamper(control, task, inode, dentry, asset, MOAT_TAMPER_TRUNCATE, MOAT_NO_FD, length, 0);
}

/* truncate and ftruncate, with the result. fexit and not the security checks: those are not told the length. */
MOAT_TRACE("fexit/do_truncate", moat_file_cut_fexit, void *idmap, struct dentry *dentry, __s64 length, unsigned int how,
	   struct file *file, long ret)
{
	moat_cut(dentry, length, how, (int)ret);
	return 0;
}

/* Before 5.12, which put the mount's id mapping first. */
MOAT_TRACE("fexit/do_truncate", moat_file_cut_fexit_5_10, struct dentry *dentry, __s64 length, unsigned int how,
	   struct file *file, long ret)
{
	moat_cut(dentry, length, how, (int)ret);
	return 0;
}

/* ftruncate(fd, length). By path: see row file.truncate_path. */
MOAT_HOOK("tp_btf/sys_exit", moat_file_truncate)
int moat_file_truncate(struct moat_sys_exit *ctx)
{
	struct moat_control *control = moat_get_control();
	struct task_struct *task = moat_caller();
	struct file *file;
	__u32 asset, fd;

	moat_ran(moat_file_truncate);
	if (!task || !control->have_assets || ctx->ret)
		return 0;
	fd = moat_syscall_arg(ctx, 0);
	file = moat_fd_file(task, fd);
	if (!file)
		return 0;
	asset = moat_asset_of(control, file, 0);
	if (asset == MOAT_NO_ASSET || !moat_in_scope(control))
		return 0;
	moat_tamper_file(control, task, file, asset, MOAT_TAMPER_TRUNCATE, fd, moat_syscall_arg(ctx, 1));
	return 0;
}
