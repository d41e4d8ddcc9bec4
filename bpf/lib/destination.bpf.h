/* SPDX-License-Identifier: GPL-2.0-only */
/* Where a connect() or sendto() is about to go, from the context of a cgroup sock_addr program. */
#ifndef MOAT_LIB_DESTINATION_BPF_H
#define MOAT_LIB_DESTINATION_BPF_H

#include "sock.bpf.h"

/*
 * Local end from the socket (0 where not chosen yet), remote end from the call. v6: the hook is the IPv6 one. UDP hands an
 * IPv4-mapped destination to the IPv4 hook, TCP to the IPv6 one; both come out as IPv4 with MOAT_NET_MAPPED.
 */
static __always_inline __u32 moat_destination(struct bpf_sock_addr *ctx, struct moat_endpoints *ep, int v6)
{
	struct bpf_sock_addr_kern *kern = moat_kern_ctx(ctx);
	const struct sock *sk = moat_sock(moat_get(kern, sk));
	__u32 mapped = moat_endpoints_of(ep, sk), *to = (__u32 *)ep->remote;

	ep->remote_port = bpf_ntohs(ctx->user_port);
	if (!v6) {
		if (ep->family == AF_INET6) { /* not bound to an address of either family: the local one is all zeros */
			ep->family = AF_INET;
			mapped = MOAT_NET_MAPPED;
		}
		moat_set_addr4(ep->remote, ctx->user_ip4);
		return mapped;
	}
	to[0] = ctx->user_ip6[0];
	to[1] = ctx->user_ip6[1];
	to[2] = ctx->user_ip6[2];
	to[3] = ctx->user_ip6[3];
	if (to[0] == 0 && to[1] == 0 && to[2] == bpf_htonl(0xffff)) {
		moat_set_addr4(ep->remote, to[3]);
		ep->family = AF_INET;
		return MOAT_NET_MAPPED;
	}
	if (ep->family == AF_INET) { /* connected to a mapped address before; what it is bound to now is not told */
		moat_set_addr4(ep->local, 0);
		ep->family = AF_INET6;
	}
	return 0;
}

#endif
