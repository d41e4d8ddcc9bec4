/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * UDP sends that name their destination: the first per (socket, destination) is an event, the rest are only counted, their
 * bytes by bytes.bpf.c. Not seen: raw and ping sockets (no hook); their bytes are.
 */
#include "flows.bpf.h"
#include "destination.bpf.h"

struct send_key {
	__u64 cookie;
	__u8 addr[16];
	__u16 port;
	__u16 family;
	__u32 pad;
};

/* Destinations told. Forgetting one tells it again. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct send_key);
	__type(value, __u8);
} moat_sends SEC(".maps");

static __always_inline void sending(struct bpf_sock_addr *ctx, int v6)
{
	struct moat_control *control = moat_get_control();
	struct task_struct *task = moat_current();
	struct moat_endpoints ep;
	struct send_key key = {};
	struct moat_flow *flow;
	__u32 net_flags;
	__u64 now;
	__u8 told = 1;

	if (!control || control->agent_pid == (__u32)task->tgid)
		return;
	net_flags = moat_destination(ctx, &ep, v6);
	key.cookie = bpf_get_socket_cookie(ctx);
	__builtin_memcpy(key.addr, ep.remote, sizeof(key.addr));
	key.port = ep.remote_port;
	key.family = ep.family;
	if (bpf_map_lookup_elem(&moat_sends, &key) || bpf_map_update_elem(&moat_sends, &key, &told, BPF_NOEXIST) == -EEXIST)
		return;
	now = bpf_ktime_get_ns();
	if (moat_flow_start(key.cookie, task, &ep, net_flags, now) == -EEXIST) {
		flow = bpf_map_lookup_elem(&moat_flows, &key.cookie);
		if (flow && flow->ep.remote_port == 0) { /* bound only, so far: the first destination stands for the flow */
			flow->ep = ep;
			flow->net_flags |= net_flags;
		}
	}
	moat_net_emit(control, task, MOAT_KIND_NET_SEND, key.cookie, &ep, net_flags, now);
}

SEC("cgroup/sendmsg4")
int moat_net_sendmsg4(struct bpf_sock_addr *ctx)
{
	sending(ctx, 0);
	return 1; /* observed, never refused */
}

SEC("cgroup/sendmsg6")
int moat_net_sendmsg6(struct bpf_sock_addr *ctx)
{
	sending(ctx, 1);
	return 1;
}
