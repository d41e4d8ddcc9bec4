/* SPDX-License-Identifier: GPL-2.0-only */
/* A symlink in an asset's directory: what it leads to becomes the asset's, which only user space can find out. */
#include "names.bpf.h"

static __always_inline void moat_symlinking(const void *place)
{
	struct moat_control *control = moat_get_control();

	if (control->have_assets)
		moat_name_taken(control, place, NULL);
}

MOAT_SECURITY(moat_file_symlink, inode_symlink, moat_symlinking(dentry), struct inode *dir, struct dentry *dentry,
	      const char *target)
