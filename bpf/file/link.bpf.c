/* SPDX-License-Identifier: GPL-2.0-only */
/* An asset's file gets a second name, or a file outside gets one inside. */
#include "names.bpf.h"

static __always_inline void moat_linking(const void *name, const void *second)
{
	struct moat_control *control = moat_get_control();
	struct moat_named linked;

	if (!control->have_assets)
		return;
	moat_look(control, &linked, name);
	moat_tell_name(control, &linked, MOAT_TAMPER_LINK);
	moat_name_taken(control, second, &linked);
}

MOAT_SECURITY(moat_file_link, inode_link, moat_linking(old_dentry, new_dentry), struct dentry *old_dentry, struct inode *dir,
	      struct dentry *new_dentry)
