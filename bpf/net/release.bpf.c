/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The last descriptor of a socket is gone: the end of every flow but TCP's. The kernel runs it for sockets made in the scope
 * cgroup: the end of a datagram socket that was made outside and handed in is not seen.
 */
#include "flows.bpf.h"

MOAT_HOOK("cgroup/sock_release", moat_net_release)
int moat_net_release(struct bpf_sock *ctx)
{
	const struct sock *sk = moat_ctx_sock(ctx);
	__u64 cookie;

	moat_ran(moat_net_release);
	if (moat_get(sk, sk_protocol) == IPPROTO_TCP)
		return 1;
	cookie = moat_cookie(sk);
	if (cookie)
		moat_flow_close(cookie, sk);
	return 1;
}
