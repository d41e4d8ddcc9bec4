/* SPDX-License-Identifier: GPL-2.0-only */
/* A name of an asset's file, or a directory of an asset, is removed. */
#include "names.bpf.h"

static __always_inline void moat_unlinking(const void *name)
{
	struct moat_control *control = moat_get_control();
	struct moat_named removed;

	if (!control->have_assets)
		return;
	moat_look(control, &removed, name);
	moat_tell_name(control, &removed, MOAT_TAMPER_UNLINK);
}

MOAT_SECURITY(moat_file_unlink, inode_unlink, moat_unlinking(dentry), struct inode *dir, struct dentry *dentry)

MOAT_SECURITY(moat_file_rmdir, inode_rmdir, moat_unlinking(dentry), struct inode *dir, struct dentry *dentry)
