/* SPDX-License-Identifier: GPL-2.0-only */
/* Assets: opens, maps, tampering, and bytes summed per (process, asset). */
#ifndef MOAT_ABI_FILE_H
#define MOAT_ABI_FILE_H

#include "event.h"

/* Of names in records; what lies behind the NUL is not defined. */
#define MOAT_NAME_LEN 128

/* Key of the asset map: a file or directory by identity, not by string. */
struct moat_inode_key {
	__u64 inode;
	__u32 dev; /* super block's s_dev: major << 20 | minor */
	__u32 pad;
};

#define MOAT_INODE_DIR 0x1u
#define MOAT_INODE_LEARNT 0x2u /* found by the kernel's walk up the parents, not by user space */
#define MOAT_INODE_OPEN_READS 0x4u /* opening for reading counts as reading: reads of this file system are not seen */
#define MOAT_INODE_NAMES 0x8u /* a directory: some of its names are in the map of names; asset is one of theirs */

struct moat_inode_val {
	__u32 asset;
	__u32 flags;
	__u32 generation; /* i_generation when generation_known; an inode number used again does not match */
	__u32 generation_known;
};

/* The same, kept with the inode by the kernel (inode storage): no look-up by number. */
struct moat_inode_note {
	__u32 asset;
	__u32 flags;
	__u32 dev;
	__u32 epoch; /* it holds while this is moat_control.inode_epoch */
};

/* Key of the map of names, whose value is an asset: what gets this name in this directory is the asset's. */
struct moat_name_key {
	__u64 inode; /* of the directory */
	__u32 dev;
	__u32 pad;
	char name[MOAT_NAME_LEN]; /* padded with NULs; of a longer one the first MOAT_NAME_LEN - 1 bytes */
};

/* Value of the block device map; key: the device number, as moat_inode_key.dev. A file system with assets lies on it. */
struct moat_block_val {
	__u64 labels; /* all of them */
	__u32 asset;  /* the first */
	__u32 pad;
};

struct moat_file_open {
	struct moat_hdr hdr;
	__u64 inode;
	__u64 bytes; /* i_size at open */
	__u32 dev;
	__u32 asset;
	__u32 open_flags; /* O_* of the file as opened */
	__u32 fd;
	char name[MOAT_NAME_LEN]; /* last component, NUL-terminated */
};

struct moat_file_map {
	struct moat_hdr hdr;
	__u64 inode;
	__u64 length; /* of the mapping, bytes, as asked */
	__u64 offset;
	__u64 address;
	__u32 dev;
	__u32 asset;
	__u32 prot;      /* PROT_* */
	__u32 map_flags; /* MAP_* */
	char name[MOAT_NAME_LEN];
};

enum moat_tamper_op {
	MOAT_TAMPER_WRITE = 1,    /* first write of a process to an asset; the sums follow in moat_file_io */
	MOAT_TAMPER_TRUNCATE = 2,
	MOAT_TAMPER_RENAME = 3,
	MOAT_TAMPER_UNLINK = 4,
	MOAT_TAMPER_LINK = 5,
	MOAT_TAMPER_MAP_WRITE = 6, /* shared writable mapping */
	MOAT_TAMPER_REPLACE = 7,   /* another file renamed over it */
};

struct moat_file_tamper {
	struct moat_hdr hdr;
	__u64 inode;
	__u64 bytes; /* of the write or the new size; 0 where it does not apply */
	__u32 dev;
	__u32 asset;
	__u32 op;
	__u32 fd;
	char name[MOAT_NAME_LEN];
};

/* Sums since the process first touched the asset. In the map under moat_io_key; on the ring once, when the process exits. */
struct moat_io_key {
	__u64 start_ns;
	__u32 pid;
	__u32 asset;
};

struct moat_io_val {
	__u64 bytes_read;
	__u64 reads;
	__u64 bytes_written;
	__u64 writes;
	__u64 last_ns;
	__u64 cgroup_id;
};

struct moat_file_io {
	struct moat_hdr hdr;
	struct moat_io_val sum;
	__u32 asset;
	__u32 last; /* 1: the process is gone, these are its final sums */
};

#endif
