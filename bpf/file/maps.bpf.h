/* SPDX-License-Identifier: GPL-2.0-only */
/* Maps of the file domain. Sizes are set by the loader. */
#ifndef MOAT_FILE_MAPS_BPF_H
#define MOAT_FILE_MAPS_BPF_H

#include "../lib/maps.bpf.h"
#include "../abi/file.h"

#ifndef MOAT_LEGACY
/* What moat_inodes says of an inode, noted with it at its first open. For lsm programs, which alone may ask for it. */
struct {
	__uint(type, BPF_MAP_TYPE_INODE_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct moat_inode_note);
} moat_inode_notes SEC(".maps");
#endif

/*
 * Sums per (process, asset). A row is removed by exit.bpf.c once its final sums have found room in the ring; a row whose
 * process is gone (the ring was full, or moat_procs was) is reported and removed by user space.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct moat_io_key);
	__type(value, struct moat_io_val);
} moat_io SEC(".maps");

#endif
