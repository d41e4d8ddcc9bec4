/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * UDP sockets bound to a port: the datagram counterpart of listening. TCP's listening is told by state.bpf.c; a bound TCP socket
 * alone says nothing. A port that the kernel chooses at the first send is no bind and does not come here.
 */
#include "flows.bpf.h"

static __always_inline void bound(struct bpf_sock *ctx)
{
	const struct sock *sk = moat_ctx_sock(ctx);
	struct moat_control *control;
	struct task_struct *task;
	struct moat_endpoints ep;
	__u32 net_flags;
	__u64 cookie, now;

	if ((moat_get(sk, sk_protocol) != IPPROTO_UDP && moat_get(sk, sk_protocol) != IPPROTO_UDPLITE) ||
	    moat_get(sk, __sk_common.skc_num) == 0)
		return;
	control = moat_get_control();
	task = moat_current();
	if (control->agent_pid == (__u32)moat_get(task, tgid))
		return;
	net_flags = moat_endpoints_of(&ep, sk);
	cookie = bpf_get_socket_cookie(ctx);
	now = bpf_ktime_get_ns();
	moat_flow_start(cookie, task, &ep, net_flags, now);
	moat_net_emit(control, task, MOAT_KIND_NET_LISTEN, cookie, &ep, net_flags, now);
}

MOAT_HOOK("cgroup/post_bind4", moat_net_bind4)
int moat_net_bind4(struct bpf_sock *ctx)
{
	moat_ran(moat_net_bind4);
	bound(ctx);
	return 1; /* observed, never refused */
}

MOAT_HOOK("cgroup/post_bind6", moat_net_bind6)
int moat_net_bind6(struct bpf_sock *ctx)
{
	moat_ran(moat_net_bind6);
	bound(ctx);
	return 1;
}
