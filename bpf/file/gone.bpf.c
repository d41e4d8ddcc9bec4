/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The last name and the last open file of an inode are gone: it is nobody's any more, and its number may be another's soon. Also called
 * for each inode that the kernel forgets to make room: those have their names and stay entered.
 */
#include "../lib/asset.bpf.h"
#include "../lib/hook.bpf.h"

static __always_inline void moat_inode_ends(const void *which)
{
	const struct inode *inode = moat_cast(struct inode, which);
	struct moat_control *control = moat_get_control();
	struct moat_inode_key key = {};

	if (!control->have_assets || moat_get(inode, i_nlink))
		return;
	key.inode = moat_get(inode, i_ino);
	key.dev = moat_get(inode, i_sb, s_dev);
	if (moat_known_inode(control, inode, key.dev))
		bpf_map_delete_elem(&moat_inodes, &key);
}

MOAT_HOOK("lsm/inode_free_security", moat_file_gone_lsm)
int BPF_PROG(moat_file_gone_lsm, struct inode *inode)
{
	moat_ran(moat_file_gone_lsm);
	moat_inode_ends(inode);
	return 0;
}

MOAT_SECURITY_SEEN(moat_file_gone, inode_free, moat_inode_ends(inode), struct inode *inode)
