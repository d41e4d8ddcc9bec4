/* SPDX-License-Identifier: GPL-2.0-only */
/* One process reaches into another: looks into its memory, changes it, or takes it over. */
#ifndef MOAT_ABI_ACCESS_H
#define MOAT_ABI_ACCESS_H

#include "event.h"

enum moat_access_op {
	MOAT_ACCESS_ATTACH = 1,    /* PTRACE_ATTACH, PTRACE_SEIZE */
	MOAT_ACCESS_POKE = 2,      /* PTRACE_POKETEXT, POKEDATA, POKEUSER */
	MOAT_ACCESS_REGISTERS = 3, /* PTRACE_SETREGS, SETFPREGS, SETREGSET */
	MOAT_ACCESS_VM_WRITE = 4,  /* process_vm_writev */
	MOAT_ACCESS_VM_READ = 5,   /* process_vm_readv */
	MOAT_ACCESS_MEM_WRITE = 6, /* /proc/PID/mem opened for writing */
	MOAT_ACCESS_MEM_READ = 7,  /* ... for reading alone */
	MOAT_ACCESS_COUNT = 8,
};

/* The key of the table of counts. A debugger makes thousands of calls a second: of the same two and the same operation few are events. */
struct moat_access_key {
	__u64 start_ns;
	__u64 target_start_ns;
	__u32 pid;
	__u32 target_pid;
	__u32 operation;
	__u32 failed; /* 1: counted apart */
};

/* MOAT_KIND_PROCESS_ACCESS. Sent when count is a power of two: the first, the second, the fourth, ... */
struct moat_access {
	struct moat_hdr hdr;
	__s64 result; /* of the call: 0, bytes, or a negative error */
	__u64 count; /* this one included */
	__u64 target_start_ns;
	__u64 target_labels;
	__u32 target_pid; /* thread group; never the caller's own */
	__u32 target_uid;
	__u32 operation;
	__u32 request; /* of ptrace; 0 otherwise */
	char target_comm[MOAT_COMM_LEN];
};

#endif
