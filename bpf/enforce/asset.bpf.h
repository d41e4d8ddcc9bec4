/* SPDX-License-Identifier: GPL-2.0-only */
/* What the policies say of a process and an asset's file. */
#ifndef MOAT_ENFORCE_ASSET_BPF_H
#define MOAT_ENFORCE_ASSET_BPF_H

#include <linux/errno.h>
#include "../lib/asset.bpf.h"
#include "../lib/scope.bpf.h"
#include "tell.bpf.h"

static __always_inline void moat_pol_name(char *out, const void *where)
{
	const struct dentry *dentry = moat_cast(struct dentry, where);

	if (bpf_probe_read_kernel_str(out, MOAT_VERDICT_NAME_LEN, moat_get(dentry, d_name.name)) < 0)
		*out = 0;
}

struct moat_pol_object {
	const struct inode *inode;
	const struct dentry *dentry; /* for its name */
	__u32 asset;
	__u32 operation; /* enum moat_pol_operation */
	__u32 told_as;   /* enum moat_verdict_operation */
	__u32 using; /* 1: of a descriptor that is open already, at each read and write: only denials are told */
};

/*
 * 0, or -EPERM. The current task. Told: each denial; of permissions only those of opens and maps, the rest being a matter of course; of what
 * policies in dry-run would deny, all but the use of what is open: each is counted, and the open has been told unless it was before the policy.
 */
static __always_inline int moat_pol_asset_asked(const struct moat_pol_object *it)
{
	struct moat_pol_who who;
	const struct inode *inode = it->inode;
	struct moat_pol_answer answer = {};
	struct moat_pol_asset *row;
	struct moat_verdict *e;
	__u32 generation = moat_pol_generation(), operation = it->operation & 3;

	if (!generation || it->asset == MOAT_NO_ASSET)
		return 0;
	moat_pol_who_acts(&who, generation);
	if (!who.profile)
		return 0;
	{
		struct moat_pol_asset_key key = {.generation = generation, .profile = who.profile, .asset = it->asset};

		row = bpf_map_lookup_elem(&moat_pol_assets, &key);
	}
	if (!row)
		return 0;
	answer.rule = row->rule[MOAT_POL_ENFORCED][operation];
	if (!(answer.rule & MOAT_RULE_DENY)) {
		__u32 would = row->rule[MOAT_POL_WOULD][operation];

		if (would & MOAT_RULE_DENY)
			answer.would = would;
		else if (!answer.rule)
			answer.rule = would;
	}
	if (it->using && !(answer.rule & MOAT_RULE_DENY)) {
		if (answer.would)
			moat_pol_count(answer.would, MOAT_VERDICT_WOULD_DENY);
		return 0;
	}
	if (moat_pol_action(&answer) == MOAT_VERDICT_ALLOW && it->told_as != MOAT_VERDICT_READ &&
	    it->told_as != MOAT_VERDICT_MAP && it->told_as != MOAT_VERDICT_EXEC)
		return 0;
	e = moat_pol_tell(&answer, &who, it->told_as);
	if (e) {
		e->inode = moat_get(inode, i_ino);
		e->dev = moat_get(inode, i_sb, s_dev);
		e->asset = it->asset;
		if (it->dentry)
			moat_pol_name(e->name, it->dentry);
		moat_submit(moat_get_control(), e);
	}
	return answer.rule & MOAT_RULE_DENY ? -EPERM : 0;
}

static __always_inline int moat_pol_asset_file(const struct file *file, __u32 asset, __u32 operation, __u32 told_as, __u32 using)
{
	const struct inode *inode = moat_get(file, f_inode);
	struct moat_pol_object it = {.inode = moat_cast(struct inode, inode),
				     .dentry = moat_get(file, f_path.dentry),
				     .asset = asset,
				     .operation = operation,
				     .told_as = told_as,
				     .using = using};

	return moat_pol_asset_asked(&it);
}

/* Worth looking at: a policy is in force, and there are assets. */
static __always_inline int moat_pol_guards(void)
{
	return moat_pol_generation() && moat_control.have_assets;
}

#endif
