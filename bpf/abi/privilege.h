/* SPDX-License-Identifier: GPL-2.0-only */
/* What changes the world that a process lives in, or the kernel below it: namespaces, mounts, modules, another kernel. */
#ifndef MOAT_ABI_PRIVILEGE_H
#define MOAT_ABI_PRIVILEGE_H

#include "event.h"

enum moat_privilege_op {
	MOAT_PRIVILEGE_SETNS = 1,
	MOAT_PRIVILEGE_UNSHARE = 2, /* with at least one of CLONE_NEW* */
	MOAT_PRIVILEGE_MOUNT = 3,
	MOAT_PRIVILEGE_PIVOT_ROOT = 4,
	MOAT_PRIVILEGE_OPEN_TREE = 5, /* with OPEN_TREE_CLONE: a bind mount */
	MOAT_PRIVILEGE_MOVE_MOUNT = 6,
	MOAT_PRIVILEGE_CHROOT = 7,
	MOAT_PRIVILEGE_INIT_MODULE = 8,
	MOAT_PRIVILEGE_FINIT_MODULE = 9,
	MOAT_PRIVILEGE_KEXEC_LOAD = 10,
	MOAT_PRIVILEGE_KEXEC_FILE_LOAD = 11,
	MOAT_PRIVILEGE_FSOPEN =
		12, /* how mount(8) begins to mount a file system since util-linux 2.39; what and where is not told */
	MOAT_PRIVILEGE_COUNT = 13,
};

#define MOAT_PRIVILEGE_TARGET_LEN 128
#define MOAT_PRIVILEGE_SOURCE_LEN 64
#define MOAT_PRIVILEGE_TYPE_LEN 16

/*
 * MOAT_KIND_PRIVILEGE. Strings are the caller's, read when the call returns: another thread may have changed them since. Cut ones have
 * MOAT_F_TRUNCATED.
 */
struct moat_privilege {
	struct moat_hdr hdr;
	__s64 result;
	__u64 flags; /* as passed: CLONE_NEW*, MS_*, ...; init_module: bytes of the image */
	__u64 inode; /* of the file behind the descriptor that was passed (setns: the namespace's number, if it is one's); 0: none */
	__u32 operation;
	/* Of the caller, afterwards: who has left its own, and who is in the host's. */
	__u32 mount_ns;
	__u32 pid_ns; /* of its children */
	__u32 net_ns;
	__u32 user_ns;
	__u32 pad;
	char target[MOAT_PRIVILEGE_TARGET_LEN]; /* the place; of a module or kernel the last name of its file */
	char source[MOAT_PRIVILEGE_SOURCE_LEN]; /* mount: the device; pivot_root: where the old root goes; move_mount: from */
	char type[MOAT_PRIVILEGE_TYPE_LEN]; /* of the file system */
};

#endif
