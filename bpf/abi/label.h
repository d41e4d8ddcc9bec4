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
	MOAT_ROWS_COUNT = 12,
};

#define MOAT_FILTER_BITS 32768

/*
 * One page-mapped element, written by user space, read by every program. The bit filter says "no asset inode hashes here" in
 * one load, so that a file which is no asset costs no map look-up.
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
	__u8 stirred[MOAT_MAX_ASSETS]; /* 0 or 1, set by programs: user space is to look at this asset's files again */
	__u64 scope_cgroup; /* id of the cgroup in the scope map, for the scan (which asks about other tasks than the current one) */
	__u64 filter[MOAT_FILTER_BITS / 64];
};

/* Bit of an inode in moat_control.filter. Same code on both sides. */
static inline __u32 moat_filter_bit(__u64 inode, __u32 dev)
{
	__u64 h = (inode ^ ((__u64)dev << 40)) * 0x9e3779b97f4a7c15ull;
	return (__u32)(h >> 49); /* the top 15 bits: MOAT_FILTER_BITS == 1 << 15 */
}

#endif
