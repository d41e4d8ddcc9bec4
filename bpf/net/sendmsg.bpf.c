/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * UDP sends that name their destination: the first per (socket, destination) is an event, the rest are only counted, their
 * bytes by bytes.bpf.c. Raw and ping sockets have no such hook: other.bpf.c.
 */
#include "flows.bpf.h"
#include "../lib/destination.bpf.h"
#include "sends.bpf.h"

static __always_inline void sending(struct bpf_sock_addr *ctx, int v6)
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
	if (!moat_first_send(cookie, &ep))
		return;
	now = bpf_ktime_get_ns();
	if (moat_flow_start(cookie, task, &ep, net_flags, now) == -EEXIST) {
		flow = bpf_map_lookup_elem(&moat_flows, &cookie);
		if (flow && flow->ep.remote_port == 0) { /* bound only, so far: the first destination stands for the flow */
			flow->ep = ep;
			flow->net_flags |= net_flags;
		}
	}
	moat_net_emit(control, task, MOAT_KIND_NET_SEND, cookie, &ep, net_flags, now);
}

MOAT_HOOK("cgroup/sendmsg4", moat_net_sendmsg4)
int moat_net_sendmsg4(struct bpf_sock_addr *ctx)
{
	moat_ran(moat_net_sendmsg4);
	sending(ctx, 0);
	return 1; /* observed, never refused */
}

MOAT_HOOK("cgroup/sendmsg6", moat_net_sendmsg6)
int moat_net_sendmsg6(struct bpf_sock_addr *ctx)
{
	moat_ran(moat_net_sendmsg6);
	sending(ctx, 1);
	return 1;
}
