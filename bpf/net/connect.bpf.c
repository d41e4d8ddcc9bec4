/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Each connect() of a TCP, UDP or ping socket that reaches the protocol, refused ones included; TCP fast open too. Attached to
 * the scope cgroup: the kernel runs it for sockets made in that cgroup or below, so no scope is asked here. Not seen: raw
 * sockets (the kernel has no hook there) and connect() to AF_UNSPEC.
 */
#include "flows.bpf.h"
#include "../lib/destination.bpf.h"

static __always_inline void connecting(struct bpf_sock_addr *ctx, int v6)
{
	struct moat_control *control = moat_get_control();
	struct task_struct *task = moat_current();
	struct moat_endpoints ep;
	struct moat_flow *flow;
	__u32 net_flags;
	__u64 cookie, now;

	if (control->agent_pid == (__u32)moat_get(task, tgid))
		return;
	net_flags = moat_destination(ctx, &ep, v6);
	cookie = bpf_get_socket_cookie(ctx);
	now = bpf_ktime_get_ns();
	if (moat_flow_start(cookie, task, &ep, net_flags, now) == -EEXIST) {
		flow = bpf_map_lookup_elem(&moat_flows, &cookie);
		if (flow && ep.protocol != IPPROTO_UDP && ep.protocol != IPPROTO_UDPLITE) {
			/* A stream can connect again only after its last attempt has failed or ended. */
			moat_flow_close(cookie, NULL);
			moat_flow_start(cookie, task, &ep, net_flags, now);
		} else if (flow) { /* a datagram socket only changes its peer */
			flow->ep = ep;
			flow->net_flags = (flow->net_flags & ~MOAT_NET_MAPPED) | net_flags;
		}
	}
	moat_net_emit(control, task, MOAT_KIND_NET_CONNECT, cookie, &ep, net_flags, now);
}

MOAT_HOOK("cgroup/connect4", moat_net_connect4)
int moat_net_connect4(struct bpf_sock_addr *ctx)
{
	moat_ran(moat_net_connect4);
	connecting(ctx, 0);
	return 1; /* observed, never refused */
}

MOAT_HOOK("cgroup/connect6", moat_net_connect6)
int moat_net_connect6(struct bpf_sock_addr *ctx)
{
	moat_ran(moat_net_connect6);
	connecting(ctx, 1);
	return 1;
}
