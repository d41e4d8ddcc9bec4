/* SPDX-License-Identifier: GPL-2.0-only */
/* Maps of the file domain. Sizes are set by the loader. */
#ifndef MOAT_FILE_MAPS_BPF_H
#define MOAT_FILE_MAPS_BPF_H

#include "../lib/maps.bpf.h"
#include "../abi/file.h"

/* Files and directories of assets, by identity: written by user space from paths, and by moat_learn() from parents. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct moat_inode_key);
	__type(value, struct moat_inode_val);
} moat_inodes SEC(".maps");

#ifndef MOAT_LEGACY
/* What moat_inodes says of an inode, noted with it at its first open. For lsm programs, which alone may ask for it. */
struct {
	__uint(type, BPF_MAP_TYPE_INODE_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct moat_inode_note);
} moat_inode_notes SEC(".maps");
#endif

/* Names of files that are assets by themselves, and of links to them: written by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct moat_name_key);
	__type(value, __u32);
} moat_names SEC(".maps");

/* Block devices under the file systems of assets: reading one gives the bytes without opening a file. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct moat_block_val);
} moat_blocks SEC(".maps");

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
