/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Names of assets' files: by the security checks of the calls that change them, which know the inodes. They come before the file system
 * has its say: what is told carries MOAT_F_NO_RESULT, and what is entered for a call that fails stays entered (rather too much than not
 * enough).
 */
#ifndef MOAT_FILE_NAMES_BPF_H
#define MOAT_FILE_NAMES_BPF_H

#include "io.bpf.h"

/* What a name leads to. */
struct moat_named {
	const struct dentry *dentry;
	const struct inode *inode; /* NULL: nothing yet */
	__u32 dev;
	__u32 asset;
};

/* The asset that a name's file or directory belongs to, also when it has not been seen before. Symlinks and devices are nobody's. */
static __always_inline void moat_look(struct moat_control *control, struct moat_named *it, const void *where)
{
	const struct dentry *dentry = moat_cast(struct dentry, where);
	const struct inode *inode;
	struct moat_inode_val *val;
	__u32 type, flags = 0;

	it->dentry = dentry;
	it->asset = MOAT_NO_ASSET;
	it->dev = 0;
	inode = moat_get(dentry, d_inode);
	it->inode = inode;
	if (!inode)
		return;
	inode = moat_cast(struct inode, inode);
	it->inode = inode;
	it->dev = moat_get(inode, i_sb, s_dev);
	type = moat_get(inode, i_mode) & S_IFMT;
	if (type != S_IFREG && type != S_IFDIR)
		return;
	val = moat_known_inode(control, inode, it->dev);
	if (val && (type == S_IFREG || val->flags & MOAT_INODE_DIR)) {
		it->asset = val->asset;
		return;
	}
	if (val) /* only the directory of one that was named alone: that one's path changes */
		moat_stir(control, val->asset);
	it->asset = moat_asset_above(control, dentry, it->dev, 0, &flags);
	if (it->asset != MOAT_NO_ASSET)
		moat_enter(control, inode, it->dev, it->asset, flags);
}

static __always_inline void moat_tell_name(struct moat_control *control, const struct moat_named *it, __u32 op)
{
	if (it->asset == MOAT_NO_ASSET)
		return;
	moat_stir(control, it->asset);
	if (moat_in_scope(control))
		moat_emit_tamper(control, moat_current(), it->inode, it->dentry, it->asset, op, MOAT_NO_FD, 0, MOAT_F_NO_RESULT);
}

/* A name comes to be, for something that is there already (it) or not yet (NULL). In an asset's directory it is the asset's. */
static __always_inline void moat_name_taken(struct moat_control *control, const void *where, const struct moat_named *it)
{
	const struct dentry *place = moat_cast(struct dentry, where), *parent = moat_get(place, d_parent);
	__u32 asset, flags = 0, dev = moat_get(parent, d_inode, i_sb, s_dev), type;
	const struct inode *inode = it ? it->inode : NULL;

	asset = moat_asset_above(control, place, dev, 0, &flags);
	if (asset == MOAT_NO_ASSET)
		asset = moat_asset_by_name(control, place, dev, &flags);
	if (asset == MOAT_NO_ASSET)
		return;
	moat_stir(control, asset);
	if (!inode || it->asset != MOAT_NO_ASSET)
		return;
	type = moat_get(inode, i_mode) & S_IFMT;
	if (type == S_IFREG || type == S_IFDIR)
		moat_enter(control, inode, dev, asset, flags);
}

#endif
