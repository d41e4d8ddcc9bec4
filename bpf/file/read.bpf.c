/* SPDX-License-Identifier: GPL-2.0-only */
/* Bytes read from an asset. */
#include "io.bpf.h"
#include "../lib/syscall.bpf.h"

/* A read that gave bytes, of a file that may be an asset. */
static __always_inline void moat_file_was_read(const void *arg, __s64 bytes)
{
	struct moat_control *control;
	struct task_struct *task;
	struct file *file;
	__u32 asset;

	if (bytes <= 0)
		return;
	control = moat_get_control();
	if (!control->have_assets)
		return;
	file = moat_cast(struct file, arg);
	asset = moat_asset_of(control, file, 0);
	if (asset == MOAT_NO_ASSET)
		return;
	task = moat_current();
	if (moat_in_scope(control))
		moat_count_read(task, asset, bytes);
}

/*
 * Where a file system hands out what it has in the page cache: read() and all its kin, by system call, io_uring or AIO. Most file
 * systems use these functions (ext4, xfs, btrfs, f2fs, nfs, erofs, ...); of an asset on another an open counts as reading
 * (moat_inode_val.flags, MOAT_INODE_OPEN_READS).
 *
 * done: what the caller had already before (a direct read that went on in the cache); it stands in ret.
 */
MOAT_TRACE("fexit/filemap_read", moat_file_read_fexit, struct kiocb *iocb, void *iter, long done, long ret)
{
	moat_file_was_read(moat_get(moat_cast(struct kiocb, iocb), ki_filp), ret - done);
	return 0;
}

/* The same before 5.12. */
MOAT_TRACE("fexit/generic_file_buffered_read", moat_file_read_fexit_5_10, struct kiocb *iocb, void *iter, long done, long ret)
{
	moat_file_was_read(moat_get(moat_cast(struct kiocb, iocb), ki_filp), ret - done);
	return 0;
}

MOAT_TRACE("fexit/shmem_file_read_iter", moat_file_read_shmem, struct kiocb *iocb, void *iter, long ret)
{
	moat_file_was_read(moat_get(moat_cast(struct kiocb, iocb), ki_filp), ret);
	return 0;
}

/* splice and sendfile since 6.5; before, they read like everybody else. */
MOAT_TRACE("fexit/filemap_splice_read", moat_file_spliced, struct file *in, void *ppos, void *pipe, unsigned long len,
	   unsigned int flags, long ret)
{
	moat_file_was_read(in, ret);
	return 0;
}

MOAT_TRACE("fexit/shmem_file_splice_read", moat_file_spliced_shmem, struct file *in, void *ppos, void *pipe, unsigned long len,
	   unsigned int flags, long ret)
{
	moat_file_was_read(in, ret);
	return 0;
}

/* read, pread64, readv, preadv and preadv2. */
MOAT_HOOK("tp_btf/sys_exit", moat_file_read)
int moat_file_read(struct moat_sys_exit *ctx)
{
	struct moat_control *control = moat_get_control();
	struct task_struct *task = moat_caller();

	moat_ran(moat_file_read);
	if (!task || !control->have_assets || ctx->ret <= 0)
		return 0;
	moat_file_read_fd(control, task, moat_syscall_arg(ctx, 0), ctx->ret);
	return 0;
}
