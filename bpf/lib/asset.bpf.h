/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which asset a file belongs to: by (device, inode), never by name, so that symlinks, hard links, bind mounts, other mount
 * namespaces and renames all lead to the same answer. All by plain loads; a file that is no asset costs one test of a byte.
 */
#ifndef MOAT_LIB_ASSET_BPF_H
#define MOAT_LIB_ASSET_BPF_H

#include "../kernel/read.bpf.h"
#include "../abi/file.h"
#include "path.bpf.h"
#include "stats.bpf.h"

/* Files and directories of assets, by identity: written by user space from paths, and by moat_learn() from parents. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct moat_inode_key);
	__type(value, struct moat_inode_val);
} moat_inodes SEC(".maps") __weak;

/* Names of files that are assets by themselves, and of links to them: written by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct moat_name_key);
	__type(value, __u32);
} moat_names SEC(".maps") __weak;

/* Block devices under the file systems of assets: reading one gives the bytes without opening a file. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct moat_block_val);
} moat_blocks SEC(".maps") __weak;

#define S_IFMT 0170000
#define S_IFREG 0100000
#define S_IFBLK 0060000
#define S_IFDIR 0040000
#define FMODE_CREATED 0x100000 /* include/linux/fs.h: this open made the file, so O_TRUNC had nothing to cut */
#define MOAT_WALK_DEPTH 32 /* directories between a file and the asset directory it lies below */
#define MOAT_WALK_INLINE 6

static __always_inline int moat_filter_has(const struct moat_control *control, __u64 inode)
{
	return control->filter[moat_filter_slot(inode)];
}

/* The entry of an inode, or NULL. An inode number that is in use again for another file has another generation. */
static __always_inline struct moat_inode_val *moat_known_inode(const struct moat_control *control, const struct inode *inode,
							       __u32 dev)
{
	struct moat_inode_key key = {.inode = moat_get(inode, i_ino), .dev = dev};
	struct moat_inode_val *val;
	__u32 generation;

	if (!moat_filter_has(control, key.inode))
		return NULL;
	val = bpf_map_lookup_elem(&moat_inodes, &key);
	if (!val)
		return NULL;
	generation = moat_get(inode, i_generation);
	if (!val->generation_known) { /* first sight: one store, so that no other CPU sees half of it */
		*(volatile __u64 *)&val->generation = 1ull << 32 | generation;
		return val;
	}
	return val->generation == generation ? val : NULL;
}

/* Do asset directories lie on this file system? Else no walk. */
static __always_inline int moat_walk_pays(const struct moat_control *control, __u32 dev)
{
	if (!control->have_dirs)
		return 0;
	for (int i = 0; i < 8; i++) {
		if (control->dir_devs[i] == dev + 1ull)
			return 1;
		if (!control->dir_devs[i])
			return 0;
	}
	return control->dir_devs_full != 0;
}

struct moat_parent_walk {
	struct moat_control *control;
	const struct dentry *dentry;
	__u32 dev;
	__u32 asset;
	__u32 flags; /* of the directory found */
};

/* One directory further up; 1 ends the walk. */
static __always_inline int moat_step_up(struct moat_parent_walk *walk)
{
	const struct dentry *dentry = walk->dentry, *parent = moat_get(dentry, d_parent);
	struct moat_inode_val *dir;

	if (parent == dentry)
		return 1;
	dir = moat_known_inode(walk->control, moat_get(parent, d_inode), walk->dev);
	if (dir && dir->flags & MOAT_INODE_DIR) {
		walk->asset = dir->asset;
		walk->flags = dir->flags;
		return 1;
	}
	walk->dentry = moat_cast(struct dentry, parent);
	return 0;
}

static long moat_parent_step(__u32 step, void *walk)
{
	return moat_step_up(walk);
}

/*
 * The asset directory above a place, MOAT_NO_ASSET if none, and its flags. The walk ends at the root of the file system: what is
 * mounted inside an asset directory is entered as a directory of its own by user space.
 *
 * hot: the first steps in line, where every open of a file that is no asset pays for them (bpf_loop: 60 ns more); the rest by bpf_loop,
 * which is proven once (all in line: 20 ms more of loading).
 */
static __always_inline __u32 moat_asset_above(struct moat_control *control, const struct dentry *place, __u32 dev, int hot,
					      __u32 *flags)
{
	struct moat_parent_walk walk;

	if (!moat_walk_pays(control, dev))
		return MOAT_NO_ASSET;
	walk.control = control;
	walk.dentry = moat_cast(struct dentry, place);
	walk.dev = dev;
	walk.asset = MOAT_NO_ASSET;
	walk.flags = 0;
	for (int i = 0; hot && i < MOAT_WALK_INLINE; i++)
		if (moat_step_up(&walk))
			goto end;
	moat_loop(MOAT_WALK_DEPTH - (hot ? MOAT_WALK_INLINE : 0), moat_parent_step, &walk);
end:
	*flags = walk.flags;
	return walk.asset;
}

/*
 * The asset to which whatever gets this name belongs, MOAT_NO_ASSET if none, and the flags of its directory: of a file that was named
 * alone, the next one of that name is the asset too.
 */
static __always_inline __u32 moat_asset_by_name(struct moat_control *control, const struct dentry *place, __u32 dev, __u32 *flags)
{
	const struct dentry *parent;
	const struct inode *directory;
	struct moat_name_key key;
	struct moat_inode_val *val;
	__u32 *asset;

	if (!control->have_names)
		return MOAT_NO_ASSET;
	place = moat_cast(struct dentry, place);
	parent = moat_get(place, d_parent);
	directory = moat_get(parent, d_inode);
	val = moat_known_inode(control, directory, dev);
	if (!val || !(val->flags & MOAT_INODE_NAMES))
		return MOAT_NO_ASSET;
	key.inode = moat_get(directory, i_ino);
	key.dev = dev;
	key.pad = 0;
	__builtin_memset((__u64 *)key.name, 0, sizeof(key.name)); /* as words: by name it would be 128 single bytes */
	moat_last_name(key.name, place);
	*flags = val->flags;
	asset = bpf_map_lookup_elem(&moat_names, &key);
	return asset ? *asset : MOAT_NO_ASSET;
}

/* User space is to look at the files of an asset again: some are new, gone, or have another name. */
static __always_inline void moat_stir(struct moat_control *control, __u32 asset)
{
	*(volatile __u8 *)&control->stirred[asset % MOAT_MAX_ASSETS] = 1;
}

/* A file or directory belongs to an asset from now on, as long as its inode lives. flags: of the directory that made it so. */
static __always_inline __u32 moat_enter(struct moat_control *control, const struct inode *inode, __u32 dev, __u32 asset,
					__u32 flags)
{
	struct moat_inode_key key = {.inode = moat_get(inode, i_ino), .dev = dev};
	struct moat_inode_val fresh = {.asset = asset, .flags = MOAT_INODE_LEARNT, .generation_known = 1};

	fresh.flags |= flags & MOAT_INODE_OPEN_READS;
	if ((moat_get(inode, i_mode) & S_IFMT) == S_IFDIR)
		fresh.flags |= MOAT_INODE_DIR;
	fresh.generation = moat_get(inode, i_generation);
	/* The entry first: what sees the byte finds it. */
	if (bpf_map_update_elem(&moat_inodes, &key, &fresh, BPF_ANY))
		moat_count_table_full(MOAT_TABLE_INODES);
	control->filter[moat_filter_slot(key.inode)] = 1;
	moat_stir(control, asset);
	return fresh.flags;
}

/*
 * A file that is not known, but lies below an asset directory or has just been made under the name of one that was named alone, belongs
 * to the asset: it is entered, so that reads and writes, which do not walk, find it.
 */
static __always_inline __u32 moat_learn(struct moat_control *control, const struct file *file, const struct inode *inode,
					__u32 dev, __u32 *flags)
{
	const struct dentry *place = moat_get(file, f_path.dentry);
	__u32 asset = moat_asset_above(control, place, dev, 1, flags);

	if (asset == MOAT_NO_ASSET && control->have_names && moat_get(file, f_mode) & FMODE_CREATED)
		asset = moat_asset_by_name(control, place, dev, flags);
	if (asset != MOAT_NO_ASSET)
		*flags = moat_enter(control, inode, dev, asset, *flags);
	return asset;
}

/* Worth asking for its asset, with a walk? What is said of a file here holds until the agent writes the control block or a file is learnt. */
static __always_inline int moat_may_be_asset(const struct moat_control *control, const struct file *file)
{
	const struct inode *inode = moat_get(file, f_inode);
	__u32 type = moat_get(inode, i_mode) & S_IFMT;

	if (type != S_IFREG)
		return type == S_IFBLK;
	return moat_filter_has(control, moat_get(inode, i_ino)) || control->have_dirs || moat_get(file, f_mode) & FMODE_CREATED;
}

/*
 * The asset of a file, MOAT_NO_ASSET if none, and the flags of its entry. walk: also look for an asset directory above it, and at block
 * devices (open, mmap and receive).
 */
static __always_inline __u32 moat_find_asset(struct moat_control *control, const struct file *file, int walk, __u32 *flags)
{
	const struct inode *inode = moat_get(file, f_inode);
	__u32 dev, type = moat_get(inode, i_mode) & S_IFMT;
	struct moat_inode_val *val;
	struct moat_block_val *block;

	if (type != S_IFREG) {
		if (type != S_IFBLK || !walk)
			return MOAT_NO_ASSET;
		dev = moat_get(inode, i_rdev);
		block = bpf_map_lookup_elem(&moat_blocks, &dev);
		if (!block)
			return MOAT_NO_ASSET;
		*flags = MOAT_INODE_OPEN_READS;
		return block->asset;
	}
	dev = moat_get(inode, i_sb, s_dev);
	val = moat_known_inode(control, inode, dev);
	if (val) {
		*flags = val->flags;
		return val->asset;
	}
	return !walk ? MOAT_NO_ASSET : moat_learn(control, file, inode, dev, flags);
}

static __always_inline __u32 moat_asset_of(struct moat_control *control, const struct file *file, int walk)
{
	__u32 flags;

	return moat_find_asset(control, file, walk, &flags);
}

static __always_inline __u32 moat_asset_of_inode(struct moat_control *control, const struct inode *inode)
{
	struct moat_inode_val *val;

	if ((moat_get(inode, i_mode) & S_IFMT) != S_IFREG)
		return MOAT_NO_ASSET;
	val = moat_known_inode(control, inode, moat_get(inode, i_sb, s_dev));
	return val ? val->asset : MOAT_NO_ASSET;
}

#endif
