/* SPDX-License-Identifier: GPL-2.0-only */
/* By which names a peer goes, as patterns of the policies (abi/name.h). */
#ifndef MOAT_ENFORCE_PEERNAME_BPF_H
#define MOAT_ENFORCE_PEERNAME_BPF_H

#include "../kernel/read.bpf.h"
#include "maps.bpf.h"

struct moat_pol_to {
	__u8 address[16] __attribute__((aligned(8))); /* compared by words */
	__u16 port; /* host byte order */
	__u8 protocol; /* enum moat_pol_protocol */
	__u8 v6;
	__u8 named; /* some of patterns is set */
	__u8 why;   /* none is, and this is why: MOAT_WHY_* */
	__u8 pad[2];
	__u32 patterns[MOAT_POL_LEARNT_NAMES]; /* 0: none */
	__u32 pad2;
};

/* By words, one after the other: left to itself the compiler loads all before it stores any. */
static __always_inline void moat_pol_copy_name(struct moat_pol_text *to, const struct moat_pol_text *from)
{
	volatile __u64 *x = (volatile __u64 *)to;
	const __u64 *y = (const __u64 *)from;

#pragma unroll
	for (int i = 0; i < MOAT_POL_NAME_LEN / 8; i++)
		x[i] = y[i];
}

/* A letter of a name, in lower case; 0: no name has it, or it is a dot. */
static __always_inline __u8 moat_pol_letter(__u8 byte)
{
	if (byte >= 'A' && byte <= 'Z')
		return byte + ('a' - 'A');
	return (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '-' || byte == '_' ? byte : 0;
}

/* The narrowest pattern for a name; 0: no policy speaks of it. */
MOAT_FUNCTION __u32 moat_pol_pattern(const struct moat_pol_text *name, __u32 generation)
{
	struct moat_pol_name_key key;
	__u32 *pattern;

	if (!name)
		return 0;
	key.prefix_bits = MOAT_POL_NAME_FIXED + MOAT_POL_NAME_LEN * 8;
	key.generation = generation;
	moat_pol_copy_name(&key.text, name);
	pattern = bpf_map_lookup_elem(&moat_pol_names, &key);
	return pattern ? *pattern : 0;
}

struct moat_pol_asks_name {
	struct moat_pol_learnt_key at;
	__u64 when_ns;
	__u32 generation;
	__u32 i; /* which of its names */
};

/* Of one of the names that an address was learnt from. */
MOAT_FUNCTION __u32 moat_pol_learnt_pattern(const struct moat_pol_asks_name *ask)
{
	struct moat_pol_learnt *learnt;
	struct moat_pol_name_key key;
	__u64 expires_ns;
	__u32 *pattern, i;

	if (!ask)
		return 0;
	learnt = bpf_map_lookup_elem(&moat_pol_learnt, &ask->at);
	i = ask->i;
	if (!learnt || i >= MOAT_POL_LEARNT_NAMES)
		return 0;
	key.prefix_bits = MOAT_POL_NAME_FIXED + MOAT_POL_NAME_LEN * 8;
	key.generation = ask->generation;
	bpf_spin_lock(&learnt->lock);
	expires_ns = learnt->names[i].expires_ns;
	moat_pol_copy_name(&key.text, &learnt->names[i].text);
	bpf_spin_unlock(&learnt->lock);
	if (expires_ns <= ask->when_ns)
		return 0;
	pattern = bpf_map_lookup_elem(&moat_pol_names, &key);
	return pattern ? *pattern : 0;
}

/* when_ns: names that had expired by then do not count. */
static __always_inline void moat_pol_learnt_names(struct moat_pol_to *to, __u64 cgroup_id, __u64 when_ns, __u32 generation)
{
	struct moat_pol_asks_name ask = {
		.at = {.cgroup_id = cgroup_id, .v6 = to->v6}, .when_ns = when_ns, .generation = generation};

	__builtin_memcpy(ask.at.address, to->address, sizeof(ask.at.address));
	if (!bpf_map_lookup_elem(&moat_pol_learnt, &ask.at))
		return;
#pragma unroll
	for (__u32 i = 0; i < MOAT_POL_LEARNT_NAMES; i++) {
		ask.i = i;
		to->patterns[i] = moat_pol_learnt_pattern(&ask);
		to->named |= to->patterns[i] != 0;
	}
}

#endif
