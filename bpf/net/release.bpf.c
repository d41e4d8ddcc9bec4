/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The last descriptor of a socket is gone: the end of a datagram or raw socket, and half the end of a stream (flows.bpf.h).
 * The kernel runs it for sockets made in the scope cgroup: the end of a datagram socket that was made outside and handed in is
 * not seen.
 */
#include "flows.bpf.h"

#define SOCK_DGRAM 2
#define SOCK_RAW 3

SEC("cgroup/sock_release")
int moat_net_release(struct bpf_sock *ctx)
{
	const struct sock *sk = moat_ctx_sock(ctx);
	__u64 cookie = moat_cookie(sk);
	struct moat_control *control;
	struct moat_flow *flow;
	__u32 life;

	if (!cookie)
		return 1;
	flow = bpf_map_lookup_elem(&moat_flows, &cookie);
	control = moat_get_control();
	if (!flow || !control)
		return 1;
	life = __sync_fetch_and_or(&flow->life, MOAT_FLOW_RELEASED);
	/* In CLOSE without having come there under our eyes: a connect that failed at once. */
	if (life & MOAT_FLOW_ENDED || sk->__sk_common.skc_state == TCP_CLOSE || sk->sk_type == SOCK_DGRAM ||
	    sk->sk_type == SOCK_RAW)
		moat_flow_close(control, cookie, flow, sk);
	return 1;
}
