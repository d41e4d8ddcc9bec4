/* SPDX-License-Identifier: GPL-2.0-only */
/* A decision: counted by rule, and told as a record. */
#ifndef MOAT_ENFORCE_TELL_BPF_H
#define MOAT_ENFORCE_TELL_BPF_H

#include "../abi/verdict.h"
#include "../lib/emit.bpf.h"
#include "decide.bpf.h"

static __always_inline void moat_pol_count(__u32 rule, __u32 action)
{
	__u32 slot = (rule & ~MOAT_RULE_DENY) % MOAT_RULES;
	struct moat_pol_count *count = bpf_map_lookup_elem(&moat_pol_counts, &slot);

	if (!count)
		return;
	__sync_fetch_and_add(action == MOAT_VERDICT_ALLOW  ? &count->allowed
			     : action == MOAT_VERDICT_DENY ? &count->denied
							   : &count->would_deny,
			     1);
}

static __always_inline __u32 moat_pol_action(const struct moat_pol_answer *answer)
{
	return answer->rule & MOAT_RULE_DENY ? MOAT_VERDICT_DENY : answer->would ? MOAT_VERDICT_WOULD_DENY : MOAT_VERDICT_ALLOW;
}

static __always_inline __u32 moat_pol_deciding(const struct moat_pol_answer *answer)
{
	return answer->would ? answer->would : answer->rule;
}

/* The rest of the record but for its header; what is not said is zero. */
static __always_inline void moat_pol_say(struct moat_verdict *e, __u32 operation, __u32 rule, __u32 action, __u32 generation)
{
	e->cookie = 0;
	__builtin_memset(&e->ep, 0, sizeof(e->ep));
	e->inode = 0;
	e->dev = 0;
	e->asset = MOAT_NO_ASSET;
	e->rdev = 0;
	e->command = 0;
	e->rule = rule & ~MOAT_RULE_DENY;
	e->generation = generation;
	e->action = action;
	e->operation = operation;
	e->why = MOAT_WHY_RULE;
	e->category = 0;
	e->pad = 0;
	__builtin_memset(e->name, 0, sizeof(e->name));
}

/* Of the current task. NULL: the ring is full, which is counted, or no rule has anything to say. */
static __always_inline struct moat_verdict *moat_pol_tell(const struct moat_pol_answer *answer, const struct moat_pol_who *who,
							  __u32 operation)
{
	__u32 rule = moat_pol_deciding(answer), action = moat_pol_action(answer);
	struct moat_verdict *e;

	if (!rule)
		return NULL;
	moat_pol_count(rule, action);
	e = MOAT_RESERVE(moat_ring_urgent, MOAT_KIND_VERDICT, struct moat_verdict);
	if (!e)
		return NULL;
	moat_fill(&e->hdr, MOAT_KIND_VERDICT, sizeof(*e), moat_current());
	e->hdr.labels = who->labels;
	moat_pol_say(e, operation, rule, action, who->generation);
	return e;
}

/* Of the process that used the socket last, for what happens in nobody's context. */
static __always_inline struct moat_verdict *moat_pol_tell_of(const struct moat_pol_sock *socket,
							     const struct moat_pol_answer *answer, __u32 operation)
{
	__u32 rule = moat_pol_deciding(answer), action = moat_pol_action(answer);
	struct moat_verdict *e;

	if (!rule)
		return NULL;
	moat_pol_count(rule, action);
	e = MOAT_RESERVE(moat_ring_urgent, MOAT_KIND_VERDICT, struct moat_verdict);
	if (!e)
		return NULL;
	e->hdr.size = sizeof(*e);
	e->hdr.version = MOAT_ABI_VERSION;
	e->hdr.kind = MOAT_KIND_VERDICT;
	e->hdr.flags = socket->pid ? 0 : MOAT_F_NO_OWNER;
	e->hdr.uid = socket->uid;
	e->hdr.time_ns = bpf_ktime_get_ns();
	e->hdr.pid = socket->pid;
	e->hdr.tid = socket->pid;
	e->hdr.start_ns = socket->start_ns;
	e->hdr.cgroup_id = socket->cgroup_id;
	e->hdr.labels = socket->labels;
	__builtin_memset(e->hdr.comm, 0, sizeof(e->hdr.comm));
	moat_pol_say(e, operation, rule, action, socket->generation);
	return e;
}

#endif
