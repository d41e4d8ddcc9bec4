/* SPDX-License-Identifier: GPL-2.0-only */
/* Bytes per (process, asset), summed in the kernel: a read or write is never one event, only the first write is. */
#ifndef MOAT_FILE_IO_BPF_H
#define MOAT_FILE_IO_BPF_H

#include "../lib/emit.bpf.h"
#include "../lib/path.bpf.h"
#include "../lib/scope.bpf.h"
#include "../lib/asset.bpf.h"
#include "maps.bpf.h"

/* Who began an I/O that ends in another context. */
struct moat_dio_owner {
	__u64 start_ns;
	__u64 cgroup_id;
	__u32 pid;
	__u32 pad;
};

/* A row that is not there yet; NULL: the table is full (counted). */
static __always_inline struct moat_io_val *moat_io_make(const struct moat_io_key *key, __u64 cgroup_id)
{
	struct moat_io_val fresh = {.cgroup_id = cgroup_id}, *row;

	bpf_map_update_elem(&moat_io, key, &fresh, BPF_NOEXIST); /* another thread may have been first */
	moat_note_rows(MOAT_ROWS_IO);
	row = bpf_map_lookup_elem(&moat_io, key);
	if (!row)
		moat_count_table_full(MOAT_TABLE_IO);
	return row;
}

/* The row of a process and an asset, made at first touch; NULL: the table is full. The cgroup is asked for only then. */
static __always_inline struct moat_io_val *moat_io_row(struct task_struct *task, __u32 asset)
{
	struct moat_io_key key = {.start_ns = moat_self_start(), .pid = moat_self_pid(), .asset = asset};
	struct moat_io_val *row = bpf_map_lookup_elem(&moat_io, &key);

	return row ? row : moat_io_make(&key, moat_get(task, cgroups, dfl_cgrp, kn, id));
}

static __always_inline void moat_emit_tamper(struct moat_control *control, struct task_struct *task, const struct inode *inode,
					     const struct dentry *dentry, __u32 asset, __u32 op, __u32 fd, __u64 bytes,
					     __u32 hdr_flags)
{
	struct moat_file_tamper *e = MOAT_RESERVE(moat_ring_urgent, MOAT_KIND_FILE_TAMPER, struct moat_file_tamper);

	if (!e)
		return;
	moat_fill(&e->hdr, MOAT_KIND_FILE_TAMPER, sizeof(*e), task);
	e->hdr.labels = moat_labels(e->hdr.pid, e->hdr.start_ns);
	e->inode = moat_get(inode, i_ino);
	e->bytes = bytes;
	e->dev = moat_get(inode, i_sb, s_dev);
	e->asset = asset;
	e->op = op;
	e->fd = fd;
	e->hdr.flags |= hdr_flags | moat_last_name(e->name, dentry);
	moat_submit(control, e);
}

static __always_inline void moat_tamper_file(struct moat_control *control, struct task_struct *task, const struct file *file,
					     __u32 asset, __u32 op, __u32 fd, __u64 bytes)
{
	moat_emit_tamper(control, task, moat_get(file, f_inode), moat_get(file, f_path.dentry), asset, op, fd, bytes, 0);
}

/* A read of an asset: sums, and the label with the first. Without a row nothing says first, and the label is set again: no harm. */
static __always_inline void moat_count_read(struct task_struct *task, __u32 asset, __u64 bytes)
{
	struct moat_io_val *row = moat_io_row(task, asset);
	__u64 bit = 1ull << (asset & 63), before = 0;

	if (row) {
		before = moat_fetch_add(&row->reads, 1);
		__sync_fetch_and_add(&row->bytes_read, bytes);
		row->last_ns = bpf_ktime_get_ns();
	}
	if (!before || MOAT_OR_MAY_LOSE)
		moat_mark_proc(moat_self_pid(), moat_self_start(), bit, bit);
}

/* A write: sums, and the event with the first. No label: what was written is not what was learnt. */
static __always_inline void moat_count_write(struct moat_control *control, struct task_struct *task, const struct file *file,
					     __u32 asset, __u32 fd, __u64 bytes)
{
	struct moat_io_val *row = moat_io_row(task, asset);
	__u64 bit = 1ull << (asset & 63), before = 0;

	if (row) {
		before = moat_fetch_add(&row->writes, 1);
		__sync_fetch_and_add(&row->bytes_written, bytes);
		row->last_ns = bpf_ktime_get_ns();
	}
	if (before)
		return;
	moat_mark_proc(moat_self_pid(), moat_self_start(), 0, bit);
	moat_tamper_file(control, task, file, asset, MOAT_TAMPER_WRITE, fd, bytes);
}

/*
 * The same for another process than the current one, whose I/O has just ended. Its first write is told without what only the process
 * itself can be asked for.
 */
static __always_inline void moat_count_for(struct moat_control *control, const struct moat_dio_owner *owner,
					   const struct file *file, __u32 asset, __u32 write, __u64 bytes)
{
	struct moat_io_key key = {.start_ns = owner->start_ns, .pid = owner->pid, .asset = asset};
	struct moat_io_val *row = bpf_map_lookup_elem(&moat_io, &key);
	__u64 bit = 1ull << (asset & 63), before = 0;
	struct moat_file_tamper *e;
	struct inode *inode;

	if (!row)
		row = moat_io_make(&key, owner->cgroup_id);
	if (row && write) {
		before = moat_fetch_add(&row->writes, 1);
		__sync_fetch_and_add(&row->bytes_written, bytes);
	} else if (row) {
		before = moat_fetch_add(&row->reads, 1);
		__sync_fetch_and_add(&row->bytes_read, bytes);
	}
	if (row)
		row->last_ns = bpf_ktime_get_ns();
	if (before && !MOAT_OR_MAY_LOSE)
		return;
	moat_mark_proc(owner->pid, owner->start_ns, write ? 0 : bit, bit);
	if (!write || before)
		return;
	e = MOAT_RESERVE(moat_ring_urgent, MOAT_KIND_FILE_TAMPER, struct moat_file_tamper);
	if (!e)
		return;
	__builtin_memset(&e->hdr, 0, sizeof(e->hdr));
	e->hdr.size = sizeof(*e);
	e->hdr.version = MOAT_ABI_VERSION;
	e->hdr.kind = MOAT_KIND_FILE_TAMPER;
	e->hdr.flags = MOAT_F_UNREADABLE;
	e->hdr.time_ns = bpf_ktime_get_ns();
	e->hdr.pid = owner->pid;
	e->hdr.tid = owner->pid;
	e->hdr.start_ns = owner->start_ns;
	e->hdr.cgroup_id = owner->cgroup_id;
	e->hdr.labels = moat_labels(owner->pid, owner->start_ns);
	inode = moat_get(file, f_inode);
	e->inode = moat_get(inode, i_ino);
	e->bytes = bytes;
	e->dev = moat_get(inode, i_sb, s_dev);
	e->asset = asset;
	e->op = MOAT_TAMPER_WRITE;
	e->fd = MOAT_NO_FD;
	e->hdr.flags |= moat_last_name(e->name, moat_get(file, f_path.dentry));
	moat_submit(control, e);
}

/* One side of a copy, read or write: the file behind fd, if it is an asset and its user in scope. */
static __always_inline void moat_file_read_fd(struct moat_control *control, struct task_struct *task, __u32 fd, __s64 bytes)
{
	struct file *file = moat_fd_file(task, fd);
	__u32 asset;

	if (!file)
		return;
	asset = moat_asset_of(control, file, 0);
	if (asset == MOAT_NO_ASSET || !moat_in_scope(control))
		return;
	moat_count_read(task, asset, bytes);
}

static __always_inline void moat_file_write_fd(struct moat_control *control, struct task_struct *task, __u32 fd, __s64 bytes)
{
	struct file *file = moat_fd_file(task, fd);
	__u32 asset;

	if (!file)
		return;
	asset = moat_asset_of(control, file, 0);
	if (asset == MOAT_NO_ASSET || !moat_in_scope(control))
		return;
	moat_count_write(control, task, file, asset, fd, bytes);
}

#endif
