/* SPDX-License-Identifier: GPL-2.0-only */
/* Labels (taint) and the shared control block. */
#ifndef MOAT_ABI_LABEL_H
#define MOAT_ABI_LABEL_H

#include "event.h"

struct moat_proc_key {
	__u64 start_ns;
	__u32 pid;
	__u32 pad;
};

struct moat_proc_val {
	__u64 labels;  /* bit n: has read or mapped asset n, or inherited that; children inherit it */
	__u64 touched; /* bit n: has a row of its own in moat_io for asset n, also when it only wrote; not inherited */
};

/* Index of moat_control.rows: tables that have had a row since user space last saw them empty. An empty one need not be walked. */
enum moat_rows {
	MOAT_ROWS_PROCS = 0,
	MOAT_ROWS_IO = 1,
	MOAT_ROWS_GPU = 2,
	MOAT_ROWS_FLOWS = 3,
	MOAT_ROWS_NET_TOTALS = 4,
	MOAT_ROWS_GPU_CLIENTS = 5,
	MOAT_ROWS_GPU_DEBUGGERS = 6,
	MOAT_ROWS_GPU_FILES = 7,
	MOAT_ROWS_COUNT = 12,
};

#define MOAT_FILTER_SLOTS 32768
#define MOAT_HOLDER_SLOTS 4096

/*
 * One page-mapped variable, written by user space, read by every program. The two filters save look-ups: a file that is no asset, and a
 * process that holds none, cost one load.
 */
struct moat_control {
	/* Set by the reader before it sleeps, or by a program that finds a ring filling; cleared by the program that wakes it. */
	__u32 reader_asleep;
	__u32 scope_all; /* 1: the whole host; 0: only the cgroup in the scope map and below */
	__u32 have_assets;
	__u32 have_dirs; /* at least one asset directory: walk up the parents */
	__u32 watch_epoch; /* raised when the watched commands change */
	__u32 agent_pid; /* the agent's own thread group is not reported; 0: report all */
	/* s_dev + 1 of the file systems that hold asset directories; 0 ends the list; all used and more: dir_devs_full */
	__u64 dir_devs[8];
	__u32 dir_devs_full;
	__u8 rows[MOAT_ROWS_COUNT]; /* 0 or 1; bytes, because not every kernel has an atomic "or" */
	__u32 page_shift; /* of this kernel: 12, 14 or 16 */
	__u32 have_names; /* the map of names is not empty */
	__u32 inode_epoch; /* raised after an entry of the map of inodes was changed or removed by user space */
	__u32 policy_generation; /* of the image in force (policy.h); 0: none */
	__u32 policy_last; /* the last generation there was: sockets remember answers by it, so that none comes twice */
	__u32 policy_news_lost; /* cgroups that came or went and were not told */
	__u32 policy_names; /* 1: the image in force speaks of names, or the one before it did */
	__u32 policy_budgets; /* the same of budgets */
	__u32 guard_pid_ns; /* number of the agent's pid namespace, whose processes may touch what is moat's (guard.h); 0: everybody may */
	__u32 gpu_version[2]; /* of nvidia, of nvidia-uvm: as agent/decode/tables has versions; 0: not known */
	__u32 pad;
	__u8 stirred[MOAT_MAX_ASSETS]; /* 0 or 1, set by programs: user space is to look at this asset's files again */
	__u64 scope_cgroup; /* id of the cgroup in the scope map, for the scan (which asks about other tasks than the current one) */
	/* 0: no inode of an asset hashes here, on any device. Bytes and not bits, because not every kernel has an atomic "or". */
	__u8 filter[MOAT_FILTER_SLOTS];
	/* How many rows of moat_procs hash here: counted up before a row is made, down after it is gone, so that 0 means none. */
	__u32 holders[MOAT_HOLDER_SLOTS];
};

/* Slot of an inode in moat_control.filter. Same code on both sides, as below. */
static inline __u32 moat_filter_slot(__u64 inode)
{
	return (__u32)(inode * 0x9e3779b97f4a7c15ull >> 49); /* the top 15 bits: MOAT_FILTER_SLOTS == 1 << 15 */
}

/* Slot of a process in moat_control.holders. By its start alone, which two processes seldom share. */
static inline __u32 moat_holder_slot(__u64 start_ns)
{
	return (__u32)(start_ns * 0x9e3779b97f4a7c15ull >> 52); /* MOAT_HOLDER_SLOTS == 1 << 12 */
}

#endif
