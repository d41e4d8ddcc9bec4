/* SPDX-License-Identifier: GPL-2.0-only */
/* What the policies say of a process and a peer: the same as agent/policy/evaluate.h, by look-ups. */
#ifndef MOAT_ENFORCE_DECIDE_BPF_H
#define MOAT_ENFORCE_DECIDE_BPF_H

#include "../lib/sock.bpf.h"
#include "who.bpf.h"

#define IPPROTO_ICMP 1
#define IPPROTO_ICMPV6 58

struct moat_pol_to {
	__u8 address[16] __attribute__((aligned(8))); /* compared by words */
	__u16 port; /* host byte order */
	__u8 protocol; /* enum moat_pol_protocol */
	__u8 v6;
};

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

/* The set of a list for an address; 0: none. port: the key to look into it with. */
static __always_inline __u32 moat_pol_set(const struct moat_pol_to *to, __u32 generation, __u32 list,
					  struct moat_pol_port_key *port)
{
	struct moat_pol_peer_key peer = {
		.prefix_bits = MOAT_POL_PEER_FIXED + 128, .generation = generation, .list = list << 1 | to->v6};
	__u32 *set;

	__builtin_memcpy(peer.address, to->address, sizeof(peer.address));
	set = bpf_map_lookup_elem(&moat_pol_peers, &peer);
	if (!set)
		return 0;
	port->prefix_bits = MOAT_POL_PORT_FIXED + 32;
	port->generation = generation;
	port->set = *set;
	port->pad = 0;
	port->protocol = to->protocol;
	port->port[0] = to->port >> 8;
	port->port[1] = to->port;
	return *set;
}

/* The rule of a list for a peer; 0: none. */
MOAT_FUNCTION __u32 moat_pol_find(const struct moat_pol_to *to, __u32 generation, __u32 list)
{
	struct moat_pol_port_key port;
	__u32 *rule;

	if (!to || !list || !moat_pol_set(to, generation, list, &port))
		return 0;
	rule = bpf_map_lookup_elem(&moat_pol_ports, &port);
	return rule ? *rule : 0;
}

/* The labels whose holders may not go there. */
static __always_inline __u64 moat_pol_denied(const struct moat_pol_egress *egress, __u32 generation, const struct moat_pol_to *to)
{
	struct moat_pol_port_key port;
	__u64 *mask = NULL;

	if (egress->holders && moat_pol_set(to, generation, egress->holders, &port))
		mask = bpf_map_lookup_elem(&moat_pol_masks, &port);
	return mask ? *mask : egress->others;
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
