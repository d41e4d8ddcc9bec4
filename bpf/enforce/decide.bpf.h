/* SPDX-License-Identifier: GPL-2.0-only */
/* What the policies say of a process and a peer: the same as agent/policy/evaluate.h, by look-ups. */
#ifndef MOAT_ENFORCE_DECIDE_BPF_H
#define MOAT_ENFORCE_DECIDE_BPF_H

#include "../lib/sock.bpf.h"
#include "peername.bpf.h"
#include "who.bpf.h"

#define IPPROTO_ICMP 1
#define IPPROTO_ICMPV6 58

struct moat_pol_answer {
	__u32 rule;  /* of the enforced policies; 0: none has anything to say */
	__u32 would; /* a rule of policies in dry-run that would deny; 0: none */
};

static __always_inline __u8 moat_pol_protocol_of(__u32 protocol)
{
	switch (protocol) {
	case IPPROTO_TCP:
	case IPPROTO_MPTCP:
		return MOAT_POL_TCP;
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
		return MOAT_POL_UDP;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return MOAT_POL_ICMP;
	}
	return MOAT_POL_OTHER;
}

/* The set of a list for an address; 0: none. */
static __always_inline __u32 moat_pol_set_of_address(const struct moat_pol_to *to, __u32 generation, __u32 list)
{
	struct moat_pol_peer_key peer = {
		.prefix_bits = MOAT_POL_PEER_FIXED + 128, .generation = generation, .list = list << 1 | to->v6};
	__u32 *set;

	__builtin_memcpy(peer.address, to->address, sizeof(peer.address));
	set = bpf_map_lookup_elem(&moat_pol_peers, &peer);
	return set ? *set : 0;
}

/* The same for a name. */
static __always_inline __u32 moat_pol_set_of_name(__u32 pattern, __u32 generation, __u32 list)
{
	struct moat_pol_named_key named = {.generation = generation, .list = list, .pattern = pattern};
	__u32 *set;

	if (!pattern)
		return 0;
	set = bpf_map_lookup_elem(&moat_pol_named, &named);
	return set ? *set : 0;
}

static __always_inline void moat_pol_port_of(struct moat_pol_port_key *port, const struct moat_pol_to *to, __u32 generation,
					     __u32 set)
{
	port->prefix_bits = MOAT_POL_PORT_FIXED + 32;
	port->generation = generation;
	port->set = set;
	port->pad = 0;
	port->protocol = to->protocol;
	port->port[0] = to->port >> 8;
	port->port[1] = to->port;
}

/* The first of two rules: a denial before a permission, then the smaller number (policy/numbering.h counts them as they are asked). */
static __always_inline __u32 moat_pol_former(__u32 a, __u32 b)
{
	if (!a || !b)
		return a | b;
	if ((a ^ b) & MOAT_RULE_DENY)
		return a & MOAT_RULE_DENY ? a : b;
	return a < b ? a : b;
}

static __noinline __u32 moat_pol_rule_of(const struct moat_pol_to *to, __u32 generation, __u32 set)
{
	struct moat_pol_port_key port;
	__u32 *rule;

	if (!set)
		return 0;
	moat_pol_port_of(&port, to, generation, set);
	rule = bpf_map_lookup_elem(&moat_pol_ports, &port);
	return rule ? *rule : 0;
}

/* The rule of a list for a peer, by its address or by any of its names; 0: none. */
MOAT_FUNCTION __u32 moat_pol_find(const struct moat_pol_to *to, __u32 generation, __u32 list)
{
	__u32 rule;

	if (!to || !list)
		return 0;
	rule = moat_pol_rule_of(to, generation, moat_pol_set_of_address(to, generation, list));
	if (!to->named)
		return rule;
#pragma unroll
	for (__u32 i = 0; i < MOAT_POL_LEARNT_NAMES; i++)
		rule = moat_pol_former(rule,
				       moat_pol_rule_of(to, generation, moat_pol_set_of_name(to->patterns[i], generation, list)));
	return rule;
}

static __noinline int moat_pol_mask_of(const struct moat_pol_to *to, __u32 generation, __u32 set, struct moat_pol_mask *sum)
{
	struct moat_pol_port_key port;
	struct moat_pol_mask *mask;

	if (!set)
		return 0;
	moat_pol_port_of(&port, to, generation, set);
	mask = bpf_map_lookup_elem(&moat_pol_masks, &port);
	if (mask) {
		sum->denied |= mask->denied;
		sum->allowed |= mask->allowed;
	}
	return 0;
}

/* The labels whose holders may not go there. */
MOAT_FUNCTION __u64 moat_pol_denied(const struct moat_pol_egress *egress, __u32 generation, const struct moat_pol_to *to)
{
	struct moat_pol_mask sum = {};

	if (!egress || !to)
		return ~0ull;
	if (!egress->holders)
		return egress->others;
	moat_pol_mask_of(to, generation, moat_pol_set_of_address(to, generation, egress->holders), &sum);
	if (to->named) {
#pragma unroll
		for (__u32 i = 0; i < MOAT_POL_LEARNT_NAMES; i++)
			moat_pol_mask_of(to, generation, moat_pol_set_of_name(to->patterns[i], generation, egress->holders),
					 &sum);
	}
	return sum.denied | (egress->others & ~sum.allowed);
}

/* The number of the lowest bit that is set. No branch: the verifier would follow each. */
static __always_inline __u32 moat_pol_first(__u64 bits)
{
	__u64 below = (bits & -bits) - 1; /* as many ones as the number */

	below -= below >> 1 & 0x5555555555555555ull;
	below = (below & 0x3333333333333333ull) + (below >> 2 & 0x3333333333333333ull);
	below = (below + (below >> 4)) & 0x0f0f0f0f0f0f0f0full;
	return below * 0x0101010101010101ull >> 56;
}

static __always_inline __u32 moat_pol_part(const struct moat_pol_profile *profile, const struct moat_pol_who *who, __u32 part,
					   const struct moat_pol_to *to)
{
	const struct moat_pol_egress *egress = &profile->egress[part];
	__u64 held = who->labels & egress->holding;
	struct moat_pol_holding *holding;
	__u32 rule;

	if (egress->unknown)
		return egress->unknown;
	if (held)
		held &= moat_pol_denied(egress, who->generation, to);
	if (held) {
		struct moat_pol_holding_key key = {
			.generation = who->generation, .profile = who->profile, .part = part, .label = moat_pol_first(held)};

		holding = bpf_map_lookup_elem(&moat_pol_holdings, &key);
		rule = holding ? moat_pol_find(to, who->generation, holding->list) : 0;
		if (!(rule & MOAT_RULE_DENY))
			rule = holding ? holding->fallback : 0;
		return rule | MOAT_RULE_DENY; /* denied, whatever is known of the rule */
	}
	if (to->protocol == MOAT_POL_REPLY)
		return 0;
	rule = moat_pol_find(to, who->generation, egress->list);
	return rule ? rule : egress->fallback;
}

/* Enforced policies first; only what they let pass is asked of those in dry-run. */
MOAT_FUNCTION int moat_pol_decide(const struct moat_pol_who *who, const struct moat_pol_to *to, struct moat_pol_answer *answer)
{
	struct moat_pol_profile *profile;
	__u32 would;

	if (!who || !to || !answer)
		return 0;
	answer->rule = 0;
	answer->would = 0;
	profile = moat_pol_profile_of(who);
	if (!profile)
		return 0;
	answer->rule = moat_pol_part(profile, who, MOAT_POL_ENFORCED, to);
	if (answer->rule & MOAT_RULE_DENY || !(profile->flags & MOAT_POL_DRY))
		return 0;
	would = moat_pol_part(profile, who, MOAT_POL_WOULD, to);
	if (would & MOAT_RULE_DENY)
		answer->would = would;
	else if (!answer->rule)
		answer->rule = would; /* what a policy in dry-run allows, for the telling */
	return 0;
}

#endif
