/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Names from dentries. bpf_d_path is not used: it takes locks, is refused to most program types, and cannot cross what it may
 * not see. A walk by plain loads costs 3 ns a step and 35 ns a name.
 */
#ifndef MOAT_LIB_PATH_BPF_H
#define MOAT_LIB_PATH_BPF_H

#include "../kernel/read.bpf.h"
#include "../abi/file.h"
#include "../abi/process.h"

#define MOAT_NAME_MAX 256 /* NAME_MAX and its NUL: one name always fits */
#define MOAT_PATH_STEPS 48 /* names and crossed mounts */

struct moat_path_walk {
	const struct dentry *dentry;
	const struct vfsmount *vfs;
	struct moat_exec *record;
	int whole; /* the root was reached */
};

/* One name or one mount further out; 1 ends the walk. */
static long moat_path_step(__u32 step, void *ctx)
{
	struct moat_path_walk *walk = ctx;
	const struct dentry *dentry = walk->dentry, *parent;
	const struct vfsmount *vfs = walk->vfs;
	const struct mount *mount, *upper;
	__u32 len = walk->record->path_len; /* in the record, not on the stack: see below */
	long n;

	if (dentry == moat_get(vfs, mnt_root)) {
		mount = moat_mount_of(vfs);
		upper = moat_get(mount, mnt_parent);
		if (upper == mount) {
			walk->whole = 1;
			return 1;
		}
		walk->dentry = moat_cast(struct dentry, moat_get(mount, mnt_mountpoint));
		walk->vfs = moat_cast(struct vfsmount, &upper->mnt);
		return 0;
	}
	parent = moat_get(dentry, d_parent);
	if (len >= MOAT_PATH_LEN)
		return 1;
	n = bpf_probe_read_kernel_str(walk->record->path + len, MOAT_NAME_MAX, moat_get(dentry, d_name.name));
	if (n <= 0 || len + n > MOAT_PATH_LEN)
		return 1;
	walk->record->path_len = len + n;
	if (parent == dentry) { /* a file without a directory: memfd, pipe */
		walk->whole = 1;
		return 1;
	}
	walk->dentry = moat_cast(struct dentry, parent);
	return 0;
}

/*
 * The path of a file inside its mount namespace, into a record. Whole names only; returns 0, or -1 when one did not fit or could not
 * be read, or the tree was deeper than MOAT_PATH_STEPS. A name is read before it is known to fit: it may run on into argv, which
 * the caller clears afterwards, and what lies behind path_len too.
 *
 * bpf_loop and not a loop, and the length in memory that the verifier does not follow: it then proves one step instead of 48 times
 * every length so far, 2 ms of loading instead of 200.
 */
static __always_inline int moat_path_names(struct moat_exec *record, const struct file *file)
{
	struct moat_path_walk walk = {.record = record};

	walk.dentry = moat_cast(struct dentry, moat_get(file, f_path.dentry));
	walk.vfs = moat_cast(struct vfsmount, moat_get(file, f_path.mnt));
	record->path_len = 0;
	moat_loop(MOAT_PATH_STEPS, moat_path_step, &walk);
	return walk.whole ? 0 : -1;
}

/*
 * moat_last_name(out, dentry): the last name of a file into a buffer of MOAT_NAME_LEN, aligned to 8, with a NUL, behind which all stays as it
 * was. Returns flags of the record: 0, MOAT_F_TRUNCATED or MOAT_F_UNREADABLE.
 */
#ifndef MOAT_LEGACY

#define MOAT_EACH_BYTE(n) ((n) * 0x0101010101010101ull)

/*
 * Eight bytes at a time: most names have two or three such words, at half the instructions of bpf_probe_read_kernel_str(). What is kept
 * ends at the first NUL, whatever the name's length is said to be: both may change meanwhile.
 */
static __always_inline __u32 moat_last_name(char *out, const struct dentry *dentry)
{
	const char *from = (const char *)moat_get(dentry, d_name.name);
	__u64 *to = (__u64 *)out, word = moat_load_word(from), nul;

	if (!(word & 0xff)) {
		*out = 0;
		return MOAT_F_UNREADABLE;
	}
#pragma unroll
	for (__u32 i = 0; i < MOAT_NAME_LEN / 8; i++) {
		/* The lowest bit that is set is the first NUL's. */
		nul = (word - MOAT_EACH_BYTE(0x01)) & ~word & MOAT_EACH_BYTE(0x80);
		if (nul) {
			*to = word & (((nul & -nul) >> 7) - 1);
			return 0;
		}
		*to = word;
		from += 8;
		to++;
		/* Else clang walks both by one index, of which the verifier knows too little. */
		barrier_var(from);
		barrier_var(to);
		if (i + 1 < MOAT_NAME_LEN / 8)
			word = moat_load_word(from);
	}
	out[MOAT_NAME_LEN - 1] = 0;
	return MOAT_F_TRUNCATED;
}

#else

static __always_inline __u32 moat_last_name(char *out, const struct dentry *dentry)
{
	if (bpf_probe_read_kernel_str(out, MOAT_NAME_LEN, moat_get(dentry, d_name.name)) < 0) {
		*out = 0;
		return MOAT_F_UNREADABLE;
	}
	return moat_get(dentry, d_name.len) < MOAT_NAME_LEN ? 0 : MOAT_F_TRUNCATED;
}

#endif

#endif
