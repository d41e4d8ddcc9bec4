/* SPDX-License-Identifier: GPL-2.0-only */
/* The kernel's sockets: who they are and what they connect. */
#ifndef MOAT_LIB_SOCK_BPF_H
#define MOAT_LIB_SOCK_BPF_H

#include <bpf/bpf_endian.h>
#include "../abi/net.h"
#include "../kernel/read.bpf.h"

#define AF_INET 2
#define AF_INET6 10
#define AF_PACKET 17
#define AF_VSOCK 40
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_UDPLITE 136
#define IPPROTO_MPTCP 262

/* Read-only: through a trusted pointer the verifier takes 1 ms a load (kernel/read.bpf.h). */
static __always_inline struct sock *moat_sock(const void *sk)
{
	return moat_cast(struct sock, sk);
}

/* The kernel's socket behind the context of a cgroup socket program. */
static __always_inline struct sock *moat_ctx_sock(struct bpf_sock *ctx)
{
	return moat_sock(moat_kern_ctx(ctx));
}

/* 0: nobody has asked for this socket's cookie yet, so no flow of it can exist. */
static __always_inline __u64 moat_cookie(const struct sock *sk)
{
	return moat_get(sk, __sk_common.skc_cookie.counter);
}

static __always_inline int moat_is_inet(const struct sock *sk)
{
	__u16 family = moat_get(sk, __sk_common.skc_family);

	return family == AF_INET || family == AF_INET6;
}

static __always_inline int moat_is_mapped(const struct in6_addr *a)
{
	return moat_get(a, in6_u.u6_addr32[0]) == 0 && moat_get(a, in6_u.u6_addr32[1]) == 0 &&
	       moat_get(a, in6_u.u6_addr32[2]) == bpf_htonl(0xffff);
}

static __always_inline void moat_set_addr4(__u8 *to, __u32 addr)
{
	__u32 *words = (__u32 *)to;

	words[0] = addr;
	words[1] = 0;
	words[2] = 0;
	words[3] = 0;
}

/* Both ends as the socket has them now; unset parts are 0. Returns MOAT_NET_MAPPED or 0. */
static __always_inline __u32 moat_endpoints_of(struct moat_endpoints *ep, const struct sock *sk)
{
	const struct sock_common *common = &sk->__sk_common;
	__u32 net_flags = 0, *to;

	ep->local_port = moat_get(common, skc_num);
	ep->remote_port = bpf_ntohs(moat_get(common, skc_dport));
	ep->protocol = moat_get(sk, sk_protocol);
	ep->family = moat_get(common, skc_family);
	if (ep->family == AF_INET6) {
		if (!moat_is_mapped(&common->skc_v6_daddr) && !moat_is_mapped(&common->skc_v6_rcv_saddr)) {
			to = (__u32 *)ep->local;
			to[0] = moat_get(common, skc_v6_rcv_saddr.in6_u.u6_addr32[0]);
			to[1] = moat_get(common, skc_v6_rcv_saddr.in6_u.u6_addr32[1]);
			to[2] = moat_get(common, skc_v6_rcv_saddr.in6_u.u6_addr32[2]);
			to[3] = moat_get(common, skc_v6_rcv_saddr.in6_u.u6_addr32[3]);
			to = (__u32 *)ep->remote;
			to[0] = moat_get(common, skc_v6_daddr.in6_u.u6_addr32[0]);
			to[1] = moat_get(common, skc_v6_daddr.in6_u.u6_addr32[1]);
			to[2] = moat_get(common, skc_v6_daddr.in6_u.u6_addr32[2]);
			to[3] = moat_get(common, skc_v6_daddr.in6_u.u6_addr32[3]);
			return 0;
		}
		ep->family = AF_INET; /* a mapped socket keeps its IPv4 addresses in the IPv4 fields too */
		net_flags = MOAT_NET_MAPPED;
	}
	moat_set_addr4(ep->local, moat_get(common, skc_rcv_saddr));
	moat_set_addr4(ep->remote, moat_get(common, skc_daddr));
	return net_flags;
}

#endif
