/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * moat's own maps, programs, links and pins, against whoever is in a container, with whatever capabilities: nobody there gets a map or a
 * program (by its number or its pin), detaches a link or gives it another program, removes or moves a pin, or unmounts the bpffs. The host's
 * own processes may: the next agent, moatd --unload and the administrator are among them. What those change is noticed
 * (agent/app/policies.cc).
 */
#include "../abi/guard.h"
#include "tell.bpf.h"

#define BPF_FS_MAGIC 0xcafe4a11u

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct moat_guard_key);
	__type(value, __u32);
} moat_pol_guarded SEC(".maps");

/* The namespace that its children are in: nobody in a container has a way to that of the host. */
static __always_inline int moat_guard_stranger(void)
{
	__u32 own = *(volatile __u32 *)&moat_control.guard_pid_ns;

	return own && moat_get(moat_current(), nsproxy, pid_ns_for_children, ns.inum) != own;
}

/* 0, or the error for who may not; that one is told. */
static __noinline int moat_guard_refuses(__u64 number, __u32 kind, __u32 dev)
{
	struct moat_guard_key key = {.number = number, .kind = kind, .dev = dev};
	struct moat_verdict *e;

	if (!bpf_map_lookup_elem(&moat_pol_guarded, &key))
		return 0;
	e = MOAT_RESERVE(moat_ring_urgent, MOAT_KIND_VERDICT, struct moat_verdict);
	if (e) {
		moat_fill(&e->hdr, MOAT_KIND_VERDICT, sizeof(*e), moat_current());
		e->hdr.labels = moat_labels(moat_self_pid(), moat_self_start());
		moat_pol_say(e, MOAT_VERDICT_GUARD, 0, MOAT_VERDICT_DENY, moat_pol_generation());
		__builtin_memcpy(e->name,
				 kind == MOAT_GUARD_MAP    ? "map\0"
				 : kind == MOAT_GUARD_PROG ? "prog"
				 : kind == MOAT_GUARD_LINK ? "link"
							   : "pins",
				 5);
		moat_submit(moat_get_control(), e);
	}
	return -EPERM;
}

/* Not for reading either: a program may write to a map whose descriptor is for reading alone (the verifier does not ask). */
static __always_inline int moat_guard_map(const void *where)
{
	const struct bpf_map *map = moat_cast(struct bpf_map, where);

	return moat_guard_stranger() ? moat_guard_refuses(moat_get(map, id), MOAT_GUARD_MAP, 0) : 0;
}

MOAT_SECURITY_DENIES(moat_guard_map_fd, bpf_map, moat_guard_map(map), struct bpf_map *map, unsigned int mode)

/* With its descriptor a function of a program can be replaced by another (BPF_PROG_TYPE_EXT), or the program be run on made-up packets. */
static __always_inline int moat_guard_prog(const void *where)
{
	const struct bpf_prog *prog = moat_cast(struct bpf_prog, where);

	return moat_guard_stranger() ? moat_guard_refuses(moat_get(prog, aux, id), MOAT_GUARD_PROG, 0) : 0;
}

MOAT_SECURITY_DENIES(moat_guard_prog_fd, bpf_prog, moat_guard_prog(prog), struct bpf_prog *prog)

/* A pinned link is opened without a check that programs could see, so what is done with the descriptor is looked at. */
static __always_inline int moat_guard_call(int command, const void *attributes)
{
	struct task_struct *task = moat_current();
	struct file **slot, *file = NULL;
	struct bpf_link *link;
	__u32 number = 0; /* comes first in the attributes of all three */

	if (command != BPF_LINK_DETACH && command != BPF_LINK_UPDATE && command != BPF_LINK_GET_FD_BY_ID)
		return 0;
	if (!moat_guard_stranger() || bpf_probe_read_kernel(&number, sizeof(number), attributes))
		return 0;
	if (command != BPF_LINK_GET_FD_BY_ID) {
		if (number >= BPF_CORE_READ(task, files, fdt, max_fds))
			return 0;
		slot = BPF_CORE_READ(task, files, fdt, fd);
		if (bpf_probe_read_kernel(&file, sizeof(file), slot + number) || !file)
			return 0;
		link = BPF_CORE_READ(file, private_data); /* if it is none, the call fails anyway */
		number = BPF_CORE_READ(link, id);
	}
	return moat_guard_refuses(number, MOAT_GUARD_LINK, 0);
}

MOAT_SECURITY_DENIES(moat_guard_bpf, bpf, moat_guard_call(cmd, attr), int cmd, union bpf_attr *attr, unsigned int size)

static __always_inline int moat_guard_dir(const struct inode *inode)
{
	const struct super_block *sb = moat_get(inode, i_sb);

	sb = moat_cast(struct super_block, sb);
	if (moat_get(sb, s_magic) != BPF_FS_MAGIC || !moat_guard_stranger())
		return 0;
	return moat_guard_refuses(moat_get(inode, i_ino), MOAT_GUARD_DIR, moat_get(sb, s_dev));
}

/* A name in a directory of pins, or such a directory's own. */
static __always_inline int moat_guard_name(const void *in, const void *entry)
{
	const struct dentry *dentry = moat_cast(struct dentry, entry);
	const struct inode *inode = moat_get(dentry, d_inode);
	int err = moat_guard_dir(moat_cast(struct inode, in));

	return err || !inode ? err : moat_guard_dir(moat_cast(struct inode, inode));
}

MOAT_SECURITY_DENIES(moat_guard_unlink, inode_unlink, moat_guard_name(dir, dentry), struct inode *dir, struct dentry *dentry)

MOAT_SECURITY_DENIES(moat_guard_rmdir, inode_rmdir, moat_guard_name(dir, dentry), struct inode *dir, struct dentry *dentry)

/* Over another's name, or in exchange for it. */
static __always_inline int moat_guard_move(const void *from, const void *entry, const void *to, const void *other)
{
	int err = moat_guard_name(from, entry);

	return err ? err : moat_guard_name(to, other);
}

MOAT_SECURITY_DENIES(moat_guard_rename, inode_rename, moat_guard_move(old_dir, old_dentry, new_dir, new_dentry),
		     struct inode *old_dir, struct dentry *old_dentry, struct inode *new_dir, struct dentry *new_dentry)

static __always_inline int moat_guard_mount(const void *where)
{
	const struct vfsmount *mount = moat_cast(struct vfsmount, where);
	const struct super_block *sb = moat_get(mount, mnt_sb);

	sb = moat_cast(struct super_block, sb);
	if (moat_get(sb, s_magic) != BPF_FS_MAGIC || !moat_guard_stranger())
		return 0;
	return moat_guard_refuses(0, MOAT_GUARD_FS, moat_get(sb, s_dev));
}

MOAT_SECURITY_DENIES(moat_guard_umount, sb_umount, moat_guard_mount(mnt), struct vfsmount *mnt, int flags)
