/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Names from dentries. bpf_d_path is not used: it takes locks, is refused to most program types, and cannot cross what it may
 * not see. A walk by plain loads costs 3 ns a step and 35 ns a name.
 */
#ifndef MOAT_LIB_PATH_BPF_H
#define MOAT_LIB_PATH_BPF_H

#include "../kernel/read.bpf.h"

#define MOAT_NAME_MAX 256 /* NAME_MAX and its NUL: one name always fits */
#define MOAT_PATH_STEPS 48 /* names and crossed mounts */

/*
 * The path of a file inside its mount namespace, as NUL-separated names, innermost first (the root has none). Whole names only:
 * returns the bytes used, at most max; *cut: a name did not fit, could not be read, or the tree was deeper than max_steps.
 * The walk needs room for one name behind max: the caller clears it, and what lies behind the returned length, afterwards.
 */
static __always_inline __u32 moat_path_names(char *out, __u32 max, const struct file *file, int *cut)
{
	const struct dentry *dentry = file->f_path.dentry, *parent;
	const struct vfsmount *vfs = file->f_path.mnt;
	const struct mount *mount, *upper;
	__u32 len = 0;
	long n;

	for (int i = 0; i < MOAT_PATH_STEPS; i++) {
		if (dentry == vfs->mnt_root) {
			mount = moat_mount_of(vfs);
			upper = mount->mnt_parent;
			if (upper == mount)
				return len;
			dentry = mount->mnt_mountpoint;
			vfs = &upper->mnt;
			continue;
		}
		parent = dentry->d_parent;
		if (len >= max)
			break;
		n = bpf_probe_read_kernel_str(out + len, MOAT_NAME_MAX, dentry->d_name.name);
		if (n <= 0 || len + n > max)
			break;
		len += n;
		if (parent == dentry) /* a file without a directory: memfd, pipe */
			return len;
		dentry = parent;
	}
	*cut = 1;
	return len;
}

/* The last name of a file into a buffer of MOAT_NAME_LEN, padded with NULs. */
static __always_inline long moat_last_name(char *out, __u32 size, const struct file *file)
{
	__builtin_memset(out, 0, size);
	return bpf_probe_read_kernel_str(out, size, file->f_path.dentry->d_name.name);
}

#endif
