/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Direct I/O, past the page cache: iomap's, which ext4, xfs, btrfs, f2fs and others use. Told when it is complete; a read that nobody
 * waits for (AIO, io_uring) completes in an interrupt or a worker, so who asked for it is noted when it begins.
 */
#include "io.bpf.h"

#define IOMAP_DIO_WRITE (1u << 30) /* fs/iomap/direct-io.c */

/* Key: the kiocb. Taken out by the completion, which always comes. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct moat_dio_owner);
} moat_dio SEC(".maps");

static __always_inline void moat_dio_begins(const void *arg)
{
	const struct kiocb *iocb = moat_cast(struct kiocb, arg);
	struct moat_control *control = moat_get_control();
	struct moat_dio_owner owner = {};
	struct task_struct *task;
	struct file *file;
	__u64 key = (__u64)arg;

	if (!control->have_assets || !moat_get(iocb, ki_complete))
		return;
	file = moat_cast(struct file, moat_get(iocb, ki_filp));
	if (moat_asset_of(control, file, 0) == MOAT_NO_ASSET)
		return;
	task = moat_current();
	if (!moat_in_scope(control))
		return;
	owner.start_ns = moat_get(task, group_leader, start_boottime);
	owner.pid = moat_get(task, tgid);
	owner.cgroup_id = moat_get(task, cgroups, dfl_cgrp, kn, id);
	if (bpf_map_update_elem(&moat_dio, &key, &owner, BPF_ANY))
		moat_count_table_full(MOAT_TABLE_IO);
}

/* More arguments than fentry takes before 6.6: there the kprobe has it. */
MOAT_TRACE("fentry/iomap_dio_rw", moat_file_dio_begin_fentry, struct kiocb *iocb)
{
	moat_dio_begins(iocb);
	return 0;
}

MOAT_HOOK("kprobe/iomap_dio_rw", moat_file_dio_begin_kprobe)
int BPF_KPROBE(moat_file_dio_begin_kprobe, struct kiocb *iocb)
{
	moat_ran(moat_file_dio_begin_kprobe);
	moat_dio_begins(iocb);
	return 0;
}

/*
 * A read of no more than a block goes a way of its own since 7.2, from here to the disk. One that nobody waits for is counted when it is
 * on its way: its end is told to nobody who knows the file.
 */
#define EIOCBQUEUED 529 /* include/linux/errno.h */

MOAT_TRACE("fexit/__iomap_dio_read_simple", moat_file_dio_simple, struct kiocb *arg, void *iter, struct iomap_iter *what,
	   long ret)
{
	const struct kiocb *iocb = moat_cast(struct kiocb, arg);
	struct moat_control *control = moat_get_control();
	struct task_struct *task;
	__s64 bytes = ret;
	__u32 asset;

	if (ret == -EIOCBQUEUED)
		bytes = moat_get(moat_cast(struct iomap_iter, what), len);
	if (bytes <= 0 || !control->have_assets)
		return 0;
	asset = moat_asset_of(control, moat_cast(struct file, moat_get(iocb, ki_filp)), 0);
	if (asset == MOAT_NO_ASSET)
		return 0;
	task = moat_current();
	if (moat_in_scope(control))
		moat_count_read(task, asset, bytes);
	return 0;
}

MOAT_TRACE("fexit/iomap_dio_complete", moat_file_dio_end, struct iomap_dio *arg, long ret)
{
	const struct iomap_dio *dio = moat_cast(struct iomap_dio, arg);
	struct moat_control *control = moat_get_control();
	struct moat_dio_owner *stored, owner;
	struct task_struct *task;
	struct kiocb *iocb;
	struct file *file;
	__u32 asset, write;
	__u64 key;

	if (!control->have_assets)
		return 0;
	iocb = moat_get(dio, iocb);
	key = (__u64)iocb;
	iocb = moat_cast(struct kiocb, iocb);
	file = moat_cast(struct file, moat_get(iocb, ki_filp));
	asset = moat_asset_of(control, file, 0);
	if (asset == MOAT_NO_ASSET)
		return 0;
	write = moat_get(dio, flags) & IOMAP_DIO_WRITE;
	if (!moat_get(iocb, ki_complete)) {
		task = moat_current();
		if (ret <= 0 || !moat_in_scope(control))
			return 0;
		if (write)
			moat_count_write(control, task, file, asset, MOAT_NO_FD, ret);
		else
			moat_count_read(task, asset, ret);
		return 0;
	}
	stored = bpf_map_lookup_elem(&moat_dio, &key);
	if (!stored)
		return 0;
	owner = *stored;
	bpf_map_delete_elem(&moat_dio, &key);
	if (ret > 0)
		moat_count_for(control, &owner, file, asset, write, ret);
	return 0;
}
