/* SPDX-License-Identifier: GPL-2.0-only */
/* Accepted connections. */
#include "flows.bpf.h"
#include "../lib/scope.bpf.h"
#include "../lib/syscall.bpf.h"

#define S_IFMT 0170000
#define S_IFSOCK 0140000

static __always_inline void moat_accepted(struct task_struct *task, const struct sock *sk)
{
	__u32 net_flags = MOAT_NET_PASSIVE | MOAT_NET_ESTABLISHED;
	struct moat_control *control;
	struct moat_endpoints ep;
	struct moat_flow *flow;
	__u64 cookie, now;

	if (!moat_is_inet(sk))
		return;
	control = moat_get_control();
	if (!moat_in_scope(control))
		return;
	net_flags |= moat_endpoints_of(&ep, sk);
	cookie = moat_cookie(sk);
	now = bpf_ktime_get_ns();
	/* 0: the handshake began before we were attached; the first bytes will make the flow. */
	if (cookie && moat_flow_start(cookie, task, &ep, net_flags, now) == -EEXIST) {
		/* Another thread guessed the descriptor and was faster with its first bytes. */
		flow = bpf_map_lookup_elem(&moat_flows, &cookie);
		if (flow)
			moat_fetch_or(&flow->net_flags, net_flags);
	}
	moat_net_emit(control, task, MOAT_KIND_NET_ACCEPT, cookie, &ep, net_flags, now);
}

/*
 * Where a connection gets the socket that its acceptor will use, whatever call that came by. Its other callers graft sockets that are
 * not inet, or not connected.
 */
static __always_inline void moat_grafting(const void *arg)
{
	const struct sock *sk = moat_sock(arg);

	if (moat_get(sk, __sk_common.skc_dport))
		moat_accepted(moat_current(), sk);
}

MOAT_HOOK("lsm/sock_graft", moat_net_accept_lsm)
int BPF_PROG(moat_net_accept_lsm, struct sock *sk, struct socket *parent)
{
	moat_ran(moat_net_accept_lsm);
	moat_grafting(sk);
	return 0;
}

MOAT_SECURITY_SEEN(moat_net_accept, sock_graft, moat_grafting(sk), struct sock *sk, struct socket *parent)

/* accept and accept4, when the call returns: the descriptor leads to the socket. */
MOAT_HOOK("tp_btf/sys_exit", moat_net_accept)
int moat_net_accept(struct moat_sys_exit *ctx)
{
	struct task_struct *task;
	struct socket *socket;
	struct file *file;
	struct sock *sk;

	moat_ran(moat_net_accept);
	if (ctx->ret < 0)
		return 0;
	task = moat_caller();
	file = task ? moat_fd_file(task, ctx->ret) : NULL;
	/* Another thread can have put another file under this number since; only a socket's private_data is a socket. */
	if (!file || (moat_get(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	socket = moat_cast(struct socket, moat_get(file, private_data));
	sk = moat_get(socket, sk);
	if (sk)
		moat_accepted(task, moat_sock(sk));
	return 0;
}
