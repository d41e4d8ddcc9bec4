/* SPDX-License-Identifier: GPL-2.0-only */
/* Which destinations of a socket have been told. */
#ifndef MOAT_NET_SENDS_BPF_H
#define MOAT_NET_SENDS_BPF_H

#include "flows.bpf.h"

struct send_key {
	__u64 cookie;
	__u8 addr[16];
	__u16 port;
	__u16 family;
	__u32 pad;
};

/* Forgetting one tells it again. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct send_key);
	__type(value, __u8);
} moat_sends SEC(".maps");

/* Whether this is the first send of a socket to this remote end. */
static __always_inline int moat_first_send(__u64 cookie, const struct moat_endpoints *ep)
{
	struct send_key key = {.cookie = cookie, .port = ep->remote_port, .family = ep->family};
	__u8 told = 1;

	__builtin_memcpy(key.addr, ep->remote, sizeof(key.addr));
	return !bpf_map_lookup_elem(&moat_sends, &key) &&
	       (int)bpf_map_update_elem(&moat_sends, &key, &told, BPF_NOEXIST) != -EEXIST;
}

#endif
