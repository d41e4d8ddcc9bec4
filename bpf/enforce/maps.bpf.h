/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The policy image in the kernel (abi/policy.h). Written by user space alone, but for moat_pol_socks and moat_pol_tls, moat_pol_counts, and
 * what is learnt (moat_pol_learnt) and sent (moat_pol_sent).
 */
#ifndef MOAT_ENFORCE_MAPS_BPF_H
#define MOAT_ENFORCE_MAPS_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "../abi/name.h"

#define MOAT_POL_TABLE(name, kind, entries, key_type, value_type) \
	struct {                                                  \
		__uint(type, kind);                               \
		__uint(map_flags, BPF_F_NO_PREALLOC);             \
		__uint(max_entries, entries);                     \
		__type(key, key_type);                            \
		__type(value, value_type);                        \
	} name SEC(".maps")

MOAT_POL_TABLE(moat_pol_cgroups, BPF_MAP_TYPE_HASH, 131072, struct moat_pol_cgroup_key, struct moat_pol_cgroup);
MOAT_POL_TABLE(moat_pol_profiles, BPF_MAP_TYPE_HASH, 32768, struct moat_pol_profile_key, struct moat_pol_profile);
MOAT_POL_TABLE(moat_pol_exes, BPF_MAP_TYPE_HASH, 4096, struct moat_pol_exe_key, __u32);
MOAT_POL_TABLE(moat_pol_by_exe, BPF_MAP_TYPE_HASH, 65536, struct moat_pol_by_exe_key, __u32);
MOAT_POL_TABLE(moat_pol_holdings, BPF_MAP_TYPE_HASH, 65536, struct moat_pol_holding_key, struct moat_pol_holding);
MOAT_POL_TABLE(moat_pol_peers, BPF_MAP_TYPE_LPM_TRIE, 262144, struct moat_pol_peer_key, __u32);
MOAT_POL_TABLE(moat_pol_ports, BPF_MAP_TYPE_LPM_TRIE, 524288, struct moat_pol_port_key, __u32);
MOAT_POL_TABLE(moat_pol_masks, BPF_MAP_TYPE_LPM_TRIE, 131072, struct moat_pol_port_key, struct moat_pol_mask);
MOAT_POL_TABLE(moat_pol_assets, BPF_MAP_TYPE_HASH, 262144, struct moat_pol_asset_key, struct moat_pol_asset);

MOAT_POL_TABLE(moat_pol_names, BPF_MAP_TYPE_LPM_TRIE, 32768, struct moat_pol_name_key, __u32);
MOAT_POL_TABLE(moat_pol_named, BPF_MAP_TYPE_HASH, 262144, struct moat_pol_named_key, __u32);
MOAT_POL_TABLE(moat_pol_resolvers, BPF_MAP_TYPE_HASH, 64, struct moat_pol_resolver_key, __u32);
MOAT_POL_TABLE(moat_pol_sent, BPF_MAP_TYPE_HASH, 16384, struct moat_pol_sent_key, struct moat_pol_sent);
MOAT_POL_TABLE(moat_pol_learnt, BPF_MAP_TYPE_HASH, 32768, struct moat_pol_learnt_key, struct moat_pol_learnt);

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MOAT_RULES);
	__type(key, __u32);
	__type(value, struct moat_pol_count);
} moat_pol_counts SEC(".maps");

/* Of user space alone. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MOAT_MAX_ASSETS);
	__type(key, __u32);
	__type(value, struct moat_pol_label);
} moat_pol_labels SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct moat_pol_sock);
} moat_pol_socks SEC(".maps");

/* Of connections of those whose policies speak of names. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct moat_pol_tls);
} moat_pol_tls SEC(".maps");

#endif
