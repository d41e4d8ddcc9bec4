/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An asset's file gets another name, or a file gets a name that makes it an asset's; and what had that name loses it. Several programs,
 * for the verifier would follow every way through one part with every way through the next.
 *
 * An exchange is two renames. The security modules are asked about both, the function around them is called once, with the flag.
 */
#include "names.bpf.h"

#define RENAME_EXCHANGE 2u /* include/uapi/linux/fs.h */

static __always_inline void moat_rename_from(const void *from, const void *to)
{
	struct moat_control *control = moat_get_control();
	struct moat_named moved;

	if (!control->have_assets)
		return;
	moat_look(control, &moved, from);
	moat_tell_name(control, &moved, MOAT_TAMPER_RENAME);
	moat_name_taken(control, to, &moved);
}

static __always_inline void moat_rename_over(const void *to)
{
	struct moat_control *control = moat_get_control();
	struct moat_named replaced;

	if (!control->have_assets)
		return;
	moat_look(control, &replaced, to);
	moat_tell_name(control, &replaced, MOAT_TAMPER_REPLACE);
}

static __always_inline void moat_replacing(const void *from, const void *to, int exchange)
{
	if (exchange)
		moat_rename_over(from);
	moat_rename_over(to);
}

MOAT_SECURITY(moat_file_rename, inode_rename, moat_rename_from(old_dentry, new_dentry), struct inode *old_dir,
	      struct dentry *old_dentry, struct inode *new_dir, struct dentry *new_dentry, unsigned int flags)

/* The other half of an exchange; not for a security module. */
MOAT_SECURITY_SEEN(moat_file_exchange, inode_rename, if (flags & RENAME_EXCHANGE) moat_rename_from(new_dentry, old_dentry),
		   struct inode *old_dir, struct dentry *old_dentry, struct inode *new_dir, struct dentry *new_dentry,
		   unsigned int flags)

MOAT_SECURITY(moat_file_replace, inode_rename, moat_replacing(old_dentry, new_dentry, !by_module && flags & RENAME_EXCHANGE),
	      struct inode *old_dir, struct dentry *old_dentry, struct inode *new_dir, struct dentry *new_dentry,
	      unsigned int flags)
