/* SPDX-License-Identifier: GPL-2.0-only */
/* Accepted connections, seen when the call returns: the descriptor leads to the socket. Not seen: accepts by io_uring. */
#include "flows.bpf.h"
#include "../lib/scope.bpf.h"

#define S_IFMT 0170000
#define S_IFSOCK 0140000

/* accept and accept4. */
SEC("tp_btf/sys_exit")
int moat_net_accept(struct moat_sys_exit *ctx)
{
	__u32 net_flags = MOAT_NET_PASSIVE | MOAT_NET_ESTABLISHED;
	struct moat_control *control;
	struct task_struct *task;
	struct moat_endpoints ep;
	struct moat_flow *flow;
	struct file *file;
	struct sock *sk;
	__u64 cookie, now;

	if (ctx->ret < 0)
		return 0;
	task = moat_caller();
	file = task ? moat_fd_file(task, ctx->ret) : NULL;
	/* Another thread can have put another file under this number since; only a socket's private_data is a socket. */
	if (!file || (file->f_inode->i_mode & S_IFMT) != S_IFSOCK)
		return 0;
	sk = moat_cast(struct socket, file->private_data)->sk;
	if (!sk || !moat_is_inet(sk))
		return 0;
	control = moat_get_control();
	if (!control || !moat_in_scope(control, task))
		return 0;
	net_flags |= moat_endpoints_of(&ep, sk);
	cookie = moat_cookie(sk);
	now = bpf_ktime_get_ns();
	/* 0: the handshake began before we were attached; the first bytes will make the flow. */
	if (cookie && moat_flow_start(cookie, task, &ep, net_flags, now) == -EEXIST) {
		/* Another thread guessed the descriptor and was faster with its first bytes. */
		flow = bpf_map_lookup_elem(&moat_flows, &cookie);
		if (flow)
			__sync_fetch_and_or(&flow->net_flags, net_flags);
	}
	moat_net_emit(control, task, MOAT_KIND_NET_ACCEPT, cookie, &ep, net_flags, now);
	return 0;
}
