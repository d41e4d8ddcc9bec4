/* SPDX-License-Identifier: GPL-2.0-only */
/* An asset was mapped: the process holds it from here on, whatever it touches; page faults are not followed. */
#include "io.bpf.h"
#include "../lib/syscall.bpf.h"

#define PROT_WRITE 0x2
#define MAP_TYPE 0x0f
#define MAP_SHARED 0x01
#define MAP_SHARED_VALIDATE 0x03
#define MAP_ANONYMOUS 0x20

#define VM_WRITE 0x2ul  /* include/linux/mm.h */
#define VM_SHARED 0x8ul

struct moat_mapping {
	__u64 address, length, offset;
	__u32 prot, flags, fd;
};

static __always_inline void moat_mapped(struct moat_control *control, struct task_struct *task, const struct file *file,
					const struct moat_mapping *map)
{
	__u64 start = moat_get(task, group_leader, start_boottime), labels;
	__u32 asset = moat_asset_of(control, file, 1), type = map->flags & MAP_TYPE, lost = 0;
	const struct inode *inode;
	struct moat_file_map *e;

	if (asset == MOAT_NO_ASSET || !moat_in_scope(control))
		return;
	labels = 1ull << (asset & 63);
	if (moat_add_labels(moat_get(task, tgid), start, labels))
		lost = MOAT_F_LABEL_LOST;
	e = MOAT_RESERVE(moat_ring_bulk, MOAT_KIND_FILE_MAP, struct moat_file_map);
	if (e) {
		inode = moat_get(file, f_inode);
		moat_fill(&e->hdr, MOAT_KIND_FILE_MAP, sizeof(*e), task);
		e->hdr.flags = lost;
		e->hdr.labels = moat_labels(e->hdr.pid, start) | labels;
		e->inode = moat_get(inode, i_ino);
		e->length = map->length;
		e->offset = map->offset;
		e->address = map->address;
		e->dev = moat_get(inode, i_sb, s_dev);
		e->asset = asset;
		e->prot = map->prot;
		e->map_flags = map->flags;
		e->hdr.flags |= moat_last_name(e->name, moat_get(file, f_path.dentry));
		moat_submit(control, e);
	}
	if (map->prot & PROT_WRITE && (type == MAP_SHARED || type == MAP_SHARED_VALIDATE))
		moat_tamper_file(control, task, file, asset, MOAT_TAMPER_MAP_WRITE, map->fd, map->length);
}

/*
 * What every mapping of a file goes through, from whatever call, with the result. fexit and not the security check: that one is told
 * neither length nor address. Six arguments, the most that fexit takes before 6.6 (do_mmap has more).
 */
MOAT_TRACE("fexit/vm_mmap_pgoff", moat_file_mmap_fexit, struct file *file, unsigned long addr, unsigned long len,
	   unsigned long prot, unsigned long flag, unsigned long pgoff, unsigned long ret)
{
	struct moat_control *control = moat_get_control();
	struct moat_mapping map = {.address = ret, .length = len, .prot = prot, .flags = flag, .fd = MOAT_NO_FD};

	if (!file || !control->have_assets || ret >= -4095ull)
		return 0;
	map.offset = pgoff << (control->page_shift & 63);
	moat_mapped(control, moat_current(), moat_cast(struct file, file), &map);
	return 0;
}

MOAT_HOOK("tp_btf/sys_exit", moat_file_mmap)
int moat_file_mmap(struct moat_sys_exit *ctx)
{
	struct moat_control *control = moat_get_control();
	struct task_struct *task = moat_caller();
	struct moat_mapping map = {.address = ctx->ret};
	struct file *file;

	moat_ran(moat_file_mmap);
	map.flags = moat_syscall_arg(ctx, 3);
	if (!task || map.address >= -4095ull || map.flags & MAP_ANONYMOUS)
		return 0;
	if (control->have_assets) {
		map.fd = moat_syscall_arg(ctx, 4);
		file = moat_fd_file(task, map.fd);
		if (file) {
			map.length = moat_syscall_arg(ctx, 1);
			map.prot = moat_syscall_arg(ctx, 2);
			map.offset = moat_syscall_arg(ctx, 5);
			moat_mapped(control, task, file, &map);
		}
	}
	moat_pass_on(ctx); /* to gpu.map */
	return 0;
}

/* A shared mapping that is made writable afterwards. */
static __always_inline void moat_protecting(const void *arg, unsigned long prot)
{
	const struct vm_area_struct *vma = moat_cast(struct vm_area_struct, arg);
	struct moat_control *control = moat_get_control();
	unsigned long vm_flags = moat_get(vma, vm_flags);
	struct task_struct *task;
	struct file *file;
	__u32 asset;

	if (!control->have_assets || !(prot & PROT_WRITE) || !(vm_flags & VM_SHARED) || vm_flags & VM_WRITE)
		return;
	file = moat_get(vma, vm_file);
	if (!file)
		return;
	file = moat_cast(struct file, file);
	asset = moat_asset_of(control, file, 1);
	task = moat_current();
	if (asset == MOAT_NO_ASSET || !moat_in_scope(control))
		return;
	moat_tamper_file(control, task, file, asset, MOAT_TAMPER_MAP_WRITE, MOAT_NO_FD,
			 moat_get(vma, vm_end) - moat_get(vma, vm_start));
}

MOAT_SECURITY(moat_file_mprotect, file_mprotect, moat_protecting(vma, prot), struct vm_area_struct *vma, unsigned long reqprot,
	      unsigned long prot)
