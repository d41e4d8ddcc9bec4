/* SPDX-License-Identifier: GPL-2.0-only */
/* An asset was mapped: the process holds it from here on, whatever it touches; page faults are not followed. */
#include "io.bpf.h"

#define PROT_WRITE 0x2
#define MAP_TYPE 0x0f
#define MAP_SHARED 0x01
#define MAP_SHARED_VALIDATE 0x03
#define MAP_ANONYMOUS 0x20

SEC("tp_btf/sys_exit")
int moat_file_mmap(struct moat_sys_exit *ctx)
{
	struct moat_control *control = moat_get_control();
	struct task_struct *task = moat_caller();
	__u64 address = ctx->ret, length, labels, start;
	__u32 asset, fd, prot, flags, lost = 0;
	const struct inode *inode;
	struct moat_file_map *e;
	struct file *file;

	if (!control || !task || !control->have_assets || address >= -4095ull)
		return 0;
	flags = moat_syscall_arg(ctx, 3);
	if (flags & MAP_ANONYMOUS)
		return 0;
	fd = moat_syscall_arg(ctx, 4);
	file = moat_fd_file(task, fd);
	if (!file)
		return 0;
	asset = moat_asset_of(control, file, 1);
	if (asset == MOAT_NO_ASSET || !moat_in_scope(control, task))
		return 0;

	start = task->group_leader->start_boottime;
	labels = 1ull << (asset & 63);
	if (moat_add_labels(task->tgid, start, labels))
		lost = MOAT_F_LABEL_LOST;
	length = moat_syscall_arg(ctx, 1);
	prot = moat_syscall_arg(ctx, 2);
	e = MOAT_RESERVE(moat_ring_bulk, MOAT_KIND_FILE_MAP, struct moat_file_map);
	if (e) {
		inode = file->f_inode;
		moat_fill(&e->hdr, MOAT_KIND_FILE_MAP, sizeof(*e), task);
		e->hdr.flags = lost;
		e->hdr.labels = moat_labels(e->hdr.pid, start) | labels;
		e->inode = inode->i_ino;
		e->length = length;
		e->offset = moat_syscall_arg(ctx, 5);
		e->address = address;
		e->dev = inode->i_sb->s_dev;
		e->asset = asset;
		e->prot = prot;
		e->map_flags = flags;
		if (moat_last_name(e->name, sizeof(e->name), file) < 0)
			e->hdr.flags |= MOAT_F_UNREADABLE;
		moat_submit(control, e);
	}
	flags &= MAP_TYPE;
	if (prot & PROT_WRITE && (flags == MAP_SHARED || flags == MAP_SHARED_VALIDATE))
		moat_emit_tamper(control, task, file, asset, MOAT_TAMPER_MAP_WRITE, fd, length);
	return 0;
}
