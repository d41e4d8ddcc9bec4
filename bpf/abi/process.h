/* SPDX-License-Identifier: GPL-2.0-only */
/* Process life: fork, exec, exit, and the scan of who was here before. */
#ifndef MOAT_ABI_PROCESS_H
#define MOAT_ABI_PROCESS_H

#include "event.h"

#define MOAT_FILENAME_LEN 256 /* as passed to execve */
#define MOAT_PATH_LEN 768     /* walked from the dentry: NUL-separated names, innermost first */
#define MOAT_PATH_DEPTH 40
#define MOAT_ARGV_LEN 1024    /* NUL-separated, as laid out in the new stack; longer: MOAT_EXEC_ARGV_TRUNCATED */

/* Of the parent; the child is in the body. Threads are not reported. */
struct moat_fork {
	struct moat_hdr hdr;
	__u64 child_start_ns;
	__u32 child_pid;
	__u32 pad;
};

#define MOAT_EXEC_MEMFD 0x1u          /* the file lives in a memfd */
#define MOAT_EXEC_DELETED 0x2u        /* the file has no name left (i_nlink == 0) */
#define MOAT_EXEC_ARGV_TRUNCATED 0x4u
#define MOAT_EXEC_PATH_TRUNCATED 0x8u
#define MOAT_EXEC_ARGV_UNREADABLE 0x10u
#define MOAT_EXEC_SETUID 0x20u        /* effective uid differs from the real one */
/* Descriptor 0, 1, 2 of the new image is a socket: MOAT_EXEC_STDIN_SOCKET << fd. */
#define MOAT_EXEC_STDIN_SOCKET 0x40u
#define MOAT_EXEC_STDOUT_SOCKET 0x80u
#define MOAT_EXEC_STDERR_SOCKET 0x100u
#define MOAT_EXEC_STDIO_SOCKET 0x1c0u
#define MOAT_EXEC_STDIO_INET \
	0x200u /* one of them is of another family than AF_UNIX, which leads to this host alone: journald's, sshd's */
#define MOAT_EXEC_TTY 0x400u        /* its session has a controlling terminal */
/* Of the environment: variables that make the dynamic linker load what the program does not name. With a value that is not empty. */
#define MOAT_EXEC_PRELOAD 0x800u /* LD_PRELOAD */
#define MOAT_EXEC_AUDIT 0x1000u /* LD_AUDIT */
#define MOAT_EXEC_LIBRARY_PATH 0x2000u /* LD_LIBRARY_PATH: usual where GPUs are */
#define MOAT_EXEC_ENV_TRUNCATED 0x4000u /* longer than MOAT_ENV_STRINGS: what lies behind was not looked at */
#define MOAT_EXEC_ENV_UNREADABLE 0x8000u
#define MOAT_ENV_STRINGS 256 /* a variable of 1,024 bytes or more counts for each such piece */

/* Both exec (MOAT_KIND_EXEC) and the scan (MOAT_KIND_SCAN; filename and argv empty, the environment not looked at). */
struct moat_exec {
	struct moat_hdr hdr;
	__u64 parent_start_ns;
	__u64 inode;
	__u64 cap_permitted;
	__u64 cap_effective;
	__u32 dev; /* as the kernel keeps it: major << 20 | minor */
	__u32 ppid;
	__u32 euid;
	__u32 gid;
	__u32 exec_flags;
	__u32 nlink;
	__u32 argv_total; /* bytes of argv before truncation */
	__u16 argv_len;
	__u16 path_len;
	char filename[MOAT_FILENAME_LEN];
	char path[MOAT_PATH_LEN];
	char argv[MOAT_ARGV_LEN];
};

struct moat_exit {
	struct moat_hdr hdr;
	__u32 code; /* exit status 0..255 when signal is 0 */
	__u32 signal; /* the signal that ended it, or 0 */
	__u32 core; /* 1: core dumped */
	__u32 pad;
};

#endif
