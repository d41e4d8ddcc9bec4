/* SPDX-License-Identifier: GPL-2.0-only */
/* Which profile a process has. */
#ifndef MOAT_ENFORCE_WHO_BPF_H
#define MOAT_ENFORCE_WHO_BPF_H

#include "../lib/label.bpf.h"
#include "maps.bpf.h"

struct moat_pol_who {
	__u64 labels;
	__u64 subject;    /* whose budgets it uses */
	__u32 generation; /* 0: no policy is in force */
	__u32 profile;    /* 0: no policy is about it */
};

static __always_inline __u32 moat_pol_generation(void)
{
	return *(volatile __u32 *)&moat_control.policy_generation;
}

static __always_inline struct moat_pol_profile *moat_pol_profile_of(const struct moat_pol_who *who)
{
	struct moat_pol_profile_key key = {.generation = who->generation, .profile = who->profile};

	return who->profile ? bpf_map_lookup_elem(&moat_pol_profiles, &key) : NULL;
}

/* Whether some rule of its policies tells a peer by its name. */
static __always_inline int moat_pol_speaks_of_names(const struct moat_pol_who *who)
{
	struct moat_pol_profile *profile;

	if (!*(volatile __u32 *)&moat_control.policy_names)
		return 0;
	profile = moat_pol_profile_of(who);
	return profile && profile->flags & MOAT_POL_NAMES;
}

struct moat_pol_walk {
	const struct cgroup *cgroup;
	__u64 subject;
	__u32 generation;
	__u32 profile;
	__u32 level; /* the deepest that is still to be asked, plus one */
	__u32 pad;
};

static __noinline int moat_pol_step(__u32 i, struct moat_pol_walk *walk)
{
	struct moat_pol_cgroup_key key = {.generation = walk->generation};
	struct moat_pol_cgroup *row;

	if (!walk->level)
		return 1;
	walk->level--;
	key.cgroup_id = moat_ancestor_id(moat_cast(struct cgroup, walk->cgroup), walk->level & 31);
	row = bpf_map_lookup_elem(&moat_pol_cgroups, &key);
	if (!row)
		return 0;
	walk->profile = row->below;
	walk->subject = row->subject;
	return 1;
}

/*
 * Of its own row, or of the nearest cgroup above that has one. From level MOAT_POL_LEVELS upwards, so that nobody escapes by nesting deep:
 * user space lets no row be deeper.
 */
static __always_inline __u32 moat_pol_of_cgroup(const struct cgroup *cgroup, __u32 generation, __u64 *subject)
{
	struct moat_pol_walk walk = {.cgroup = cgroup, .generation = generation};
	struct moat_pol_cgroup_key key = {.generation = generation};
	struct moat_pol_cgroup *row;

	if (!cgroup)
		return 0;
	cgroup = moat_cast(struct cgroup, cgroup);
	key.cgroup_id = moat_get(cgroup, kn, id);
	row = bpf_map_lookup_elem(&moat_pol_cgroups, &key);
	if (row) {
		*subject = row->subject;
		return row->profile;
	}
	walk.level = moat_get(cgroup, level);
	if (walk.level > MOAT_POL_LEVELS)
		walk.level = MOAT_POL_LEVELS;
	moat_loop(MOAT_POL_LEVELS, moat_pol_step, &walk);
	*subject = walk.subject;
	return walk.profile;
}

/* Of the executable, where the cgroup's profile asks for it. */
static __always_inline __u32 moat_pol_of_exe(const struct task_struct *task, __u32 generation, __u32 profile)
{
	struct moat_pol_by_exe_key by = {.generation = generation, .profile = profile};
	struct moat_pol_exe_key key = {.generation = generation};
	const struct mm_struct *mm = moat_get(task, mm);
	const struct file *file;
	__u32 *exe, *found;

	if (!mm)
		return profile; /* a thread of the kernel */
	mm = moat_cast(struct mm_struct, mm);
	file = moat_get(mm, exe_file);
	if (!file)
		return profile;
	file = moat_cast(struct file, file);
	key.inode = moat_get(file, f_inode, i_ino);
	key.dev = moat_get(file, f_inode, i_sb, s_dev);
	exe = bpf_map_lookup_elem(&moat_pol_exes, &key);
	if (!exe)
		return profile;
	by.exe = *exe;
	found = bpf_map_lookup_elem(&moat_pol_by_exe, &by);
	return found ? *found : profile;
}

/*
 * Profile and subject of the current task, or, when it is not 0, of a cgroup (moat_sock_cgroup). The profile stays 0 where no row is about
 * either. who->generation is given.
 */
MOAT_FUNCTION int moat_pol_lookup(__u64 cgroup, struct moat_pol_who *who)
{
	struct task_struct *task = moat_current();
	struct moat_pol_profile *profile;
	__u64 subject = 0;

	if (!who)
		return 0;
	who->profile = moat_pol_of_cgroup(cgroup ? (const struct cgroup *)cgroup : moat_get(task, cgroups, dfl_cgrp),
					  who->generation, &subject);
	who->subject = subject;
	profile = cgroup ? NULL : moat_pol_profile_of(who);
	if (profile && profile->flags & MOAT_POL_BY_EXE)
		who->profile = moat_pol_of_exe(task, who->generation, who->profile);
	return 0;
}

/* The current task. */
static __always_inline void moat_pol_who_acts(struct moat_pol_who *who, __u32 generation)
{
	who->generation = generation;
	who->labels = moat_labels(moat_self_pid(), moat_self_start());
	moat_pol_lookup(0, who);
}

#endif
