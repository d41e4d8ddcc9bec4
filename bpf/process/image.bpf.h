/* SPDX-License-Identifier: GPL-2.0-only */
/* What an exec record says of a process and its executable: shared by the exec hook and the scan. */
#ifndef MOAT_PROCESS_IMAGE_BPF_H
#define MOAT_PROCESS_IMAGE_BPF_H

#include "../lib/path.bpf.h"
#include "../abi/process.h"

#define TMPFS_MAGIC 0x01021994
#define HUGETLBFS_MAGIC 0x958458f6

#define MOAT_S_IFMT 0170000
#define MOAT_S_IFSOCK 0140000
#define MOAT_AF_UNIX 1

/* One more flag of a record, straight to memory, where the verifier forgets it: else it follows each set of them to the end by itself. */
static __always_inline void moat_exec_is(struct moat_exec *e, __u32 flag)
{
	*(volatile __u32 *)&e->exec_flags |= flag;
}

/* Where the standard streams lead, and whether somebody sits before them. */
static __always_inline void moat_fill_streams(struct moat_exec *e, struct task_struct *task)
{
	const struct socket *socket;
	const struct file *file;

	for (__u32 fd = 0; fd < 3; fd++) {
		file = moat_fd_file(task, fd);
		if (!file || (moat_get(file, f_inode, i_mode) & MOAT_S_IFMT) != MOAT_S_IFSOCK)
			continue;
		socket = moat_cast(struct socket, moat_get(file, private_data));
		if (!socket || !moat_get(socket, sk)) /* its file opened by O_PATH */
			continue;
		moat_exec_is(e, MOAT_EXEC_STDIN_SOCKET << fd);
		if (moat_get(socket, sk, __sk_common.skc_family) != MOAT_AF_UNIX)
			moat_exec_is(e, MOAT_EXEC_STDIO_INET);
	}
	if (moat_get(task, signal, tty))
		moat_exec_is(e, MOAT_EXEC_TTY);
}

/*
 * Everything but the header, filename and argv. Writes e->path and, past its end, into e->argv (moat_path_names), so argv comes
 * after it. e->exec_flags is added to. filename, path and argv are cleared first: no byte of an older record reaches user space. 256 stores, 60 ns of
 * an exec's 150,000.
 */
static __always_inline void moat_fill_image(struct moat_exec *e, struct task_struct *task, const struct file *file)
{
	const struct task_struct *parent = moat_get(task, real_parent);
	const struct inode *inode = moat_get(file, f_inode);
	const struct dentry *dentry = moat_get(file, f_path.dentry);
	const struct cred *cred = moat_get(task, cred);
	unsigned long magic;
	__u32 flags = 0;

	__builtin_memset(e->filename, 0, MOAT_FILENAME_LEN);
	__builtin_memset(e->path, 0, MOAT_PATH_LEN);
	e->parent_start_ns = moat_get(parent, group_leader, start_boottime);
	e->ppid = moat_get(parent, tgid);
	e->inode = moat_get(inode, i_ino);
	e->dev = moat_get(inode, i_sb, s_dev);
	e->nlink = moat_get(inode, i_nlink);
	e->cap_permitted = moat_caps(cred, cap_permitted);
	e->cap_effective = moat_caps(cred, cap_effective);
	e->euid = moat_get(cred, euid.val);
	e->gid = moat_get(cred, gid.val);
	if (moat_get(cred, euid.val) != moat_get(cred, uid.val))
		flags |= MOAT_EXEC_SETUID;
	if (!e->nlink)
		flags |= MOAT_EXEC_DELETED;

	if (moat_path_names(e, file))
		flags |= MOAT_EXEC_PATH_TRUNCATED;
	magic = moat_get(inode, i_sb, s_magic);
	/* A memfd is a root of its own named "memfd:...", which no file in a directory can be. */
	if ((magic == TMPFS_MAGIC || magic == HUGETLBFS_MAGIC) && moat_get(dentry, d_parent) == dentry &&
	    *(__u32 *)e->path == 0x666d656d /* "memf", little-endian */ && e->path[4] == 'd' && e->path[5] == ':')
		flags |= MOAT_EXEC_MEMFD;
	moat_exec_is(e, flags);
	moat_fill_streams(e, task);
	e->argv_total = 0;
	e->argv_len = 0;
	__builtin_memset(e->argv, 0, MOAT_ARGV_LEN);
}

#endif
