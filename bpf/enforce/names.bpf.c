/* SPDX-License-Identifier: GPL-2.0-only */
/* Names and attributes of assets' files and directories: to change them is to write the asset. */
#include "asset.bpf.h"

static __noinline int moat_pol_renaming_asset(const void *where, __u32 told_as)
{
	const struct dentry *dentry = moat_cast(struct dentry, where);
	struct moat_control *control = moat_get_control();
	struct moat_pol_object it = {.dentry = dentry, .operation = MOAT_POL_WRITE, .told_as = told_as};
	const struct inode *inode;
	struct moat_inode_val *val;
	__u32 type, dev, flags = 0;

	inode = moat_get(dentry, d_inode);
	if (!inode)
		return 0;
	inode = moat_cast(struct inode, inode);
	it.inode = inode;
	type = moat_get(inode, i_mode) & S_IFMT;
	if (type != S_IFREG && type != S_IFDIR)
		return 0;
	dev = moat_get(inode, i_sb, s_dev);
	val = moat_known_inode(control, inode, dev);
	if (val && (type == S_IFREG || val->flags & MOAT_INODE_DIR))
		it.asset = val->asset;
	else
		it.asset = moat_asset_above(control, dentry, dev, 0, &flags);
	return moat_pol_asset_asked(&it);
}

static __always_inline int moat_pol_renaming(const void *where, __u32 told_as)
{
	return where && moat_pol_guards() ? moat_pol_renaming_asset(where, told_as) : 0;
}

/* What is moved, and what it replaces. */
static __always_inline int moat_pol_moving(const void *from, const void *to)
{
	int err = moat_pol_renaming(from, MOAT_VERDICT_RENAME);

	return err ? err : moat_pol_renaming(to, MOAT_VERDICT_RENAME);
}

MOAT_SECURITY_DENIES(moat_pol_rename, inode_rename, moat_pol_moving(old_dentry, new_dentry), struct inode *old_dir,
		     struct dentry *old_dentry, struct inode *new_dir, struct dentry *new_dentry)

MOAT_SECURITY_DENIES(moat_pol_unlink, inode_unlink, moat_pol_renaming(dentry, MOAT_VERDICT_UNLINK), struct inode *dir,
		     struct dentry *dentry)

MOAT_SECURITY_DENIES(moat_pol_rmdir, inode_rmdir, moat_pol_renaming(dentry, MOAT_VERDICT_UNLINK), struct inode *dir,
		     struct dentry *dentry)

MOAT_SECURITY_DENIES(moat_pol_link, inode_link, moat_pol_renaming(old_dentry, MOAT_VERDICT_LINK), struct dentry *old_dentry,
		     struct inode *dir, struct dentry *new_dentry)

/*
 * Size (every truncate comes here), mode, owner, times. Whether the mount's id mapping comes first differs by kernel, and between the
 * function and the hook of the modules: the loader asks (probe/features.h), since the wrong program would load all the same.
 */
MOAT_HOOK("lsm/inode_setattr", moat_pol_setattr_lsm)
int BPF_PROG(moat_pol_setattr_lsm, void *idmap, struct dentry *dentry, struct iattr *attr)
{
	moat_ran(moat_pol_setattr_lsm);
	return moat_pol_renaming(dentry, MOAT_VERDICT_SETATTR);
}

MOAT_HOOK("lsm/inode_setattr", moat_pol_setattr_old_lsm)
int BPF_PROG(moat_pol_setattr_old_lsm, struct dentry *dentry, struct iattr *attr)
{
	moat_ran(moat_pol_setattr_old_lsm);
	return moat_pol_renaming(dentry, MOAT_VERDICT_SETATTR);
}

MOAT_HOOK("fmod_ret/security_inode_setattr", moat_pol_setattr_fmod)
int BPF_PROG(moat_pol_setattr_fmod, void *idmap, struct dentry *dentry, struct iattr *attr)
{
	moat_ran(moat_pol_setattr_fmod);
	return moat_pol_renaming(dentry, MOAT_VERDICT_SETATTR);
}

MOAT_HOOK("fmod_ret/security_inode_setattr", moat_pol_setattr_old_fmod)
int BPF_PROG(moat_pol_setattr_old_fmod, struct dentry *dentry, struct iattr *attr)
{
	moat_ran(moat_pol_setattr_old_fmod);
	return moat_pol_renaming(dentry, MOAT_VERDICT_SETATTR);
}
