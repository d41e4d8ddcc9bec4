/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Cgroups come and go: user space is told at once, on a ring of its own, to give each its profile before what runs in it does much. The
 * row of one that is gone goes with it, whether or not an agent runs. The hooks are the whole host's and run seldom.
 */
#include "../lib/hook.bpf.h"
#include "who.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} moat_pol_news SEC(".maps");

static __always_inline void moat_pol_tell_cgroup(const void *arg, __u32 what)
{
	const struct cgroup *cgroup = moat_cast(struct cgroup, arg);
	struct moat_pol_news *news;

	asm volatile("" : : "r"(bpf_core_type_id_local(struct moat_pol_news))); /* into the BTF (lib/emit.bpf.h) */
	news = bpf_ringbuf_reserve(&moat_pol_news, sizeof(*news), 0);
	if (!news) {
		__sync_fetch_and_add(&moat_control.policy_news_lost, 1); /* user space then walks the tree */
		return;
	}
	news->cgroup_id = moat_get(cgroup, kn, id);
	news->what = what;
	news->level = moat_get(cgroup, level);
	bpf_ringbuf_submit(news, BPF_RB_FORCE_WAKEUP);
}

MOAT_TRACE("tp_btf/cgroup_mkdir", moat_pol_cgroup_made, void *cgroup, const char *path)
{
	if (moat_pol_generation())
		moat_pol_tell_cgroup(cgroup, MOAT_POL_CGROUP_MADE);
	return 0;
}

MOAT_TRACE("tp_btf/cgroup_rmdir", moat_pol_cgroup_gone, void *arg, const char *path)
{
	const struct cgroup *cgroup = moat_cast(struct cgroup, arg);
	struct moat_pol_cgroup_key key = {.generation = moat_pol_generation()};

	if (!key.generation)
		return 0;
	key.cgroup_id = moat_get(cgroup, kn, id);
	bpf_map_delete_elem(&moat_pol_cgroups, &key);
	moat_pol_tell_cgroup(arg, MOAT_POL_CGROUP_GONE);
	return 0;
}
