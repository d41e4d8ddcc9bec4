/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The memory of a process that holds an asset, for one that may not read it: process_vm_readv, /proc/PID/mem, ptrace, pidfd_getfd.
 */
#include "asset.bpf.h"

/* <linux/ptrace.h>. Who only reads in /proc about a process (its program, its maps: ps, runtimes, moatd) asks for PTRACE_MODE_READ; so does
 * /proc/PID/environ, and perf_event_open, by which a few KiB of a stack can be had. */
#define PTRACE_MODE_ATTACH 0x2

static __always_inline int moat_pol_looking_into(const void *arg, unsigned int mode)
{
	const struct task_struct *other = moat_cast(struct task_struct, arg);
	struct moat_pol_answer answer = {};
	struct moat_pol_profile *profile;
	struct moat_pol_asset *row;
	struct moat_pol_who who;
	struct moat_verdict *e;
	__u64 held, barred;
	__u32 generation;

	if (!(mode & PTRACE_MODE_ATTACH) || !moat_pol_guards())
		return 0;
	held = moat_labels(moat_get(other, tgid), moat_get(other, group_leader, start_boottime));
	if (!held)
		return 0;
	generation = moat_pol_generation();
	moat_pol_who_acts(&who, generation);
	profile = moat_pol_profile_of(&who);
	if (!profile)
		return 0;
	barred = held & profile->unread[MOAT_POL_ENFORCED];
	if (!barred)
		barred = held & profile->unread[MOAT_POL_WOULD];
	if (!barred)
		return 0;
	{
		struct moat_pol_asset_key key = {
			.generation = generation, .profile = who.profile, .asset = moat_pol_first(barred)};

		row = bpf_map_lookup_elem(&moat_pol_assets, &key);
		if (!row)
			return 0;
		answer.rule = row->rule[MOAT_POL_ENFORCED][MOAT_POL_READ];
		if (!(answer.rule & MOAT_RULE_DENY))
			answer.would = row->rule[MOAT_POL_WOULD][MOAT_POL_READ];
		e = moat_pol_tell(&answer, &who, MOAT_VERDICT_READ);
		if (e) {
			e->asset = key.asset;
			moat_submit(moat_get_control(), e);
		}
	}
	return answer.rule & MOAT_RULE_DENY ? -EPERM : 0;
}

MOAT_SECURITY_DENIES(moat_pol_memory, ptrace_access_check, moat_pol_looking_into(child, mode), struct task_struct *child,
		     unsigned int mode)
