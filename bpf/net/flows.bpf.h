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
#include "../lib/sock.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct moat_flow);
} moat_flows SEC(".maps") __weak;

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
