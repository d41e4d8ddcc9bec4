/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A flow is one socket, known by its cookie from the first thing that a process in scope does with it until its end. Made in
 * process context, so that its owner is known when the end comes in soft-irq. Ended once: the deletion from the map decides.
 *
 * TCP ends when the kernel destroys the socket (destroy.bpf.c), not when it reaches CLOSE: what came before the peer's FIN or
 * reset can still be read then. Everything else ends with its last descriptor (release.bpf.c).
 */
#ifndef MOAT_NET_FLOWS_BPF_H
#define MOAT_NET_FLOWS_BPF_H

#include <linux/errno.h>
#include "../lib/emit.bpf.h"
#include "../abi/net.h"
#include <bpf/bpf_endian.h>

#define AF_INET 2
#define AF_INET6 10
#define AF_PACKET 17
#define AF_VSOCK 40
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_UDPLITE 136

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct moat_flow);
} moat_flows SEC(".maps") __weak;

/* Read-only: through a trusted pointer the verifier takes 1 ms a load (kernel/read.bpf.h). */
static __always_inline struct sock *moat_sock(const void *sk)
{
	return moat_cast(struct sock, sk);
}

/* The kernel's socket behind the context of a cgroup socket program. */
static __always_inline struct sock *moat_ctx_sock(struct bpf_sock *ctx)
{
	return moat_sock(moat_kern_ctx(ctx));
}

/* 0: nobody has asked for this socket's cookie yet, so no flow of it can exist. */
static __always_inline __u64 moat_cookie(const struct sock *sk)
{
	return moat_get(sk, __sk_common.skc_cookie.counter);
}

static __always_inline int moat_is_inet(const struct sock *sk)
{
	__u16 family = moat_get(sk, __sk_common.skc_family);

	return family == AF_INET || family == AF_INET6;
}

static __always_inline int moat_is_mapped(const struct in6_addr *a)
{
	return moat_get(a, in6_u.u6_addr32[0]) == 0 && moat_get(a, in6_u.u6_addr32[1]) == 0 &&
	       moat_get(a, in6_u.u6_addr32[2]) == bpf_htonl(0xffff);
}

static __always_inline void moat_set_addr4(__u8 *to, __u32 addr)
{
	__u32 *words = (__u32 *)to;

	words[0] = addr;
	words[1] = 0;
	words[2] = 0;
	words[3] = 0;
}

/* Both ends as the socket has them now; unset parts are 0. Returns MOAT_NET_MAPPED or 0. */
static __always_inline __u32 moat_endpoints_of(struct moat_endpoints *ep, const struct sock *sk)
{
	const struct sock_common *common = &sk->__sk_common;
	__u32 net_flags = 0, *to;

	ep->local_port = moat_get(common, skc_num);
	ep->remote_port = bpf_ntohs(moat_get(common, skc_dport));
	ep->protocol = moat_get(sk, sk_protocol);
	ep->family = moat_get(common, skc_family);
	if (ep->family == AF_INET6) {
		if (!moat_is_mapped(&common->skc_v6_daddr) && !moat_is_mapped(&common->skc_v6_rcv_saddr)) {
			to = (__u32 *)ep->local;
			to[0] = moat_get(common, skc_v6_rcv_saddr.in6_u.u6_addr32[0]);
			to[1] = moat_get(common, skc_v6_rcv_saddr.in6_u.u6_addr32[1]);
			to[2] = moat_get(common, skc_v6_rcv_saddr.in6_u.u6_addr32[2]);
			to[3] = moat_get(common, skc_v6_rcv_saddr.in6_u.u6_addr32[3]);
			to = (__u32 *)ep->remote;
			to[0] = moat_get(common, skc_v6_daddr.in6_u.u6_addr32[0]);
			to[1] = moat_get(common, skc_v6_daddr.in6_u.u6_addr32[1]);
			to[2] = moat_get(common, skc_v6_daddr.in6_u.u6_addr32[2]);
			to[3] = moat_get(common, skc_v6_daddr.in6_u.u6_addr32[3]);
			return 0;
		}
		ep->family = AF_INET; /* a mapped socket keeps its IPv4 addresses in the IPv4 fields too */
		net_flags = MOAT_NET_MAPPED;
	}
	moat_set_addr4(ep->local, moat_get(common, skc_rcv_saddr));
	moat_set_addr4(ep->remote, moat_get(common, skc_daddr));
	return net_flags;
}

/* A flow owned by the current task. Returns 0, -EEXIST when there is one already, another error when there is no room. */
static __always_inline int moat_flow_start(__u64 cookie, const struct task_struct *task, const struct moat_endpoints *ep,
					   __u32 net_flags, __u64 now)
{
	struct moat_flow flow = {};
	int err; /* not long: until 6.4 the kernel's function gives an int, and the upper half of the register is anything */

	flow.start_ns = moat_get(task, group_leader, start_boottime);
	flow.cgroup_id = moat_get(task, cgroups, dfl_cgrp, kn, id);
	flow.opened_ns = now;
	flow.last_ns = now;
	flow.pid = moat_get(task, tgid);
	flow.uid = moat_get(task, cred, uid.val);
	flow.net_flags = net_flags;
	flow.ep = *ep;
	moat_copy(flow.comm, MOAT_COMM_LEN, task->comm);
	err = bpf_map_update_elem(&moat_flows, &cookie, &flow, BPF_NOEXIST);
	if (!err)
		moat_note_rows(MOAT_ROWS_FLOWS);
	else if (err != -EEXIST)
		moat_count_table_full(MOAT_TABLE_FLOWS);
	return err;
}

/* One event of the current task about a socket. */
static __always_inline void moat_net_emit(struct moat_control *control, const struct task_struct *task, __u32 kind, __u64 cookie,
					  const struct moat_endpoints *ep, __u32 net_flags, __u64 now)
{
	struct moat_net_event *e = MOAT_RESERVE(moat_ring_bulk, kind, struct moat_net_event);

	if (!e)
		return;
	moat_fill_at(&e->hdr, kind, sizeof(*e), task, now);
	e->hdr.labels = moat_labels(e->hdr.pid, e->hdr.start_ns);
	e->cookie = cookie;
	e->ep = *ep;
	e->net_flags = net_flags;
	e->pad = 0;
	moat_submit(control, e);
}

/*
 * Takes the flow out of the map and reports its totals. Any context: the header is the owner's, never the current task's. sk may
 * be NULL when it says nothing new.
 */
static __always_inline void moat_flow_close(__u64 cookie, const struct sock *sk)
{
	struct moat_flow *live = bpf_map_lookup_elem(&moat_flows, &cookie), flow;
	struct moat_control *control = moat_get_control();
	struct moat_net_close *e;
	struct moat_endpoints ep;

	if (!live)
		return;
	flow = *live;
	if (bpf_map_delete_elem(&moat_flows, &cookie))
		return; /* another CPU has told it */
	e = MOAT_RESERVE(moat_ring_bulk, MOAT_KIND_NET_CLOSE, struct moat_net_close);
	if (!e)
		return;
	e->hdr.size = sizeof(*e);
	e->hdr.version = MOAT_ABI_VERSION;
	e->hdr.kind = MOAT_KIND_NET_CLOSE;
	e->hdr.flags = 0;
	e->hdr.uid = flow.uid;
	e->hdr.time_ns = bpf_ktime_get_ns();
	e->hdr.pid = flow.pid;
	e->hdr.tid = flow.pid;
	e->hdr.start_ns = flow.start_ns;
	e->hdr.cgroup_id = flow.cgroup_id;
	e->hdr.labels = flow.labels | moat_labels(flow.pid, flow.start_ns);
	__builtin_memcpy(e->hdr.comm, flow.comm, MOAT_COMM_LEN);
	e->cookie = cookie;
	/* The port that the kernel chose at the first send is known only now. */
	if (sk && flow.ep.local_port == 0) {
		moat_endpoints_of(&ep, sk);
		flow.ep.local_port = ep.local_port;
		__builtin_memcpy(flow.ep.local, ep.local, sizeof(ep.local));
	}
	e->flow = flow;
	moat_submit(control, e);
}

#endif
