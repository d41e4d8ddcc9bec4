/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * TCP's states. The hook is the whole host's and mostly in soft-irq, where the current task is whoever was interrupted: only
 * listening, which is a system call, asks who it is. Each connection passes here about ten times, so most returns are early.
 */
#include "flows.bpf.h"
#include "../lib/scope.bpf.h"

#define TCP_ESTABLISHED 1
#define TCP_SYN_RECV 3
#define TCP_LISTEN 10

static __always_inline void established(const struct sock *sk)
{
	__u64 cookie = moat_cookie(sk);
	struct moat_flow *flow;

	if (!cookie || !moat_get(sk, sk_socket)) /* without a struct socket: the accepting side, before accept() */
		return;
	flow = bpf_map_lookup_elem(&moat_flows, &cookie);
	if (!flow)
		return;
	moat_fetch_or(&flow->net_flags, MOAT_NET_ESTABLISHED);
	moat_endpoints_of(&flow->ep, sk); /* the local end is known now, and the remote one if another program redirected it */
}

static __always_inline void listening(const struct sock *sk, __u64 cookie)
{
	struct moat_control *control = moat_get_control();
	struct task_struct *task = moat_current();
	struct moat_endpoints ep;
	__u32 net_flags;

	if (!moat_in_scope(control))
		return;
	net_flags = moat_endpoints_of(&ep, sk);
	moat_net_emit(control, task, MOAT_KIND_NET_LISTEN, cookie, &ep, net_flags, bpf_ktime_get_ns());
}

#ifndef MOAT_LEGACY /* bpf_get_socket_cookie in tracing programs: 5.12 */

MOAT_TRACE("tp_btf/inet_sock_set_state", moat_net_state, struct sock *socket, int oldstate, int newstate)
{
	switch (newstate) {
	case TCP_SYN_RECV:
	case TCP_ESTABLISHED:
		/*
		 * accept.bpf.c must know the socket by its cookie and cannot make one. On 6.12 the cookie of SYN_RECV is thrown
		 * away again (inet_csk_clone_lock copies the request's), with TCP fast open the socket is accepted before ESTABLISHED: so both.
		 */
		bpf_get_socket_cookie(socket);
		if (newstate == TCP_ESTABLISHED)
			established(moat_sock(socket));
		break;
	case TCP_LISTEN:
		listening(moat_sock(socket), bpf_get_socket_cookie(socket));
		break;
	}
	return 0;
}

#else

MOAT_TRACE("tp_btf/inet_sock_set_state", moat_net_state, struct sock *socket, int oldstate, int newstate)
{
	if (newstate == TCP_ESTABLISHED)
		established(moat_sock(socket));
	else if (newstate == TCP_LISTEN)
		listening(moat_sock(socket), moat_cookie(moat_sock(socket)));
	return 0;
}

/* The cookie of a connection that is about to be accepted, made here because the tracepoint's programs cannot. */
MOAT_HOOK("sockops", moat_net_cookie)
int moat_net_cookie(struct bpf_sock_ops *ctx)
{
	moat_ran(moat_net_cookie);
	if (ctx->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		bpf_get_socket_cookie(ctx);
	return 1;
}

#endif
