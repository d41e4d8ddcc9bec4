/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Payload bytes per socket and per process, as the socket calls returned them: sendfile, splice and kernel TLS too. Never an
 * event. Both hooks are the whole host's and see unix sockets as well, so the family is asked first.
 *
 * Not counted: splice() and TCP_ZEROCOPY_RECEIVE out of a socket (the kernel does not tell them here).
 */
#include "flows.bpf.h"
#include "../lib/scope.bpf.h"
#include <bpf/bpf_tracing.h>

#define MSG_PEEK 0x2        /* the bytes stay: counted when they are taken */
#define MSG_ERRQUEUE 0x2000 /* bytes that this socket had sent, with their time stamps */

/* Per process; entries of processes that are gone are removed by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct moat_proc_key);
	__type(value, struct moat_net_totals);
} moat_net_totals SEC(".maps");

static __always_inline struct moat_net_totals *totals_of(const struct moat_proc_key *key)
{
	struct moat_net_totals *totals = bpf_map_lookup_elem(&moat_net_totals, key), fresh = {};

	if (totals)
		return totals;
	bpf_map_update_elem(&moat_net_totals, key, &fresh, BPF_NOEXIST);
	moat_note_rows(MOAT_ROWS_NET_TOTALS);
	totals = bpf_map_lookup_elem(&moat_net_totals, key);
	if (!totals)
		moat_count_table_full(MOAT_TABLE_NET_TOTALS);
	return totals;
}

/* The flow of a socket; a process in scope that uses a socket which nobody in scope opened becomes its owner. */
static __always_inline struct moat_flow *flow_of(struct sock *trusted, const struct task_struct *task, __u64 now)
{
	const struct sock *sk = moat_sock(trusted);
	__u64 cookie = moat_cookie(sk);
	struct moat_endpoints ep;
	struct moat_flow *flow;
	__u32 net_flags;

	if (!cookie)
		cookie = bpf_get_socket_cookie(trusted); /* the helper takes no cast one */
	flow = bpf_map_lookup_elem(&moat_flows, &cookie);
	if (flow)
		return flow;
	net_flags = moat_endpoints_of(&ep, sk);
	moat_flow_start(cookie, task, &ep, net_flags, now);
	return bpf_map_lookup_elem(&moat_flows, &cookie);
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(moat_net_sent, struct sock *sk, int ret, int flags)
{
	struct moat_net_totals *totals;
	struct moat_control *control;
	struct moat_proc_key key;
	struct task_struct *task;
	struct moat_flow *flow;
	__u64 labels, now;

	if (ret <= 0 || !moat_is_inet(moat_sock(sk)))
		return 0;
	task = moat_current();
	control = moat_get_control();
	if (!control || !moat_in_scope(control, task))
		return 0;
	moat_proc_key_of(&key, task);
	labels = moat_labels(key.pid, key.start_ns);
	now = bpf_ktime_get_ns();
	flow = flow_of(sk, task, now);
	if (flow) {
		__sync_fetch_and_add(&flow->bytes_out, ret);
		__sync_fetch_and_add(&flow->sends, 1);
		flow->last_ns = now;
		if ((flow->labels & labels) != labels)
			__sync_fetch_and_or(&flow->labels, labels);
		if ((flow->pid != key.pid || flow->start_ns != key.start_ns) && !(flow->net_flags & MOAT_NET_SHARED))
			__sync_fetch_and_or(&flow->net_flags, MOAT_NET_SHARED);
	}
	totals = totals_of(&key);
	if (totals) {
		__sync_fetch_and_add(&totals->bytes_out, ret);
		if (labels)
			__sync_fetch_and_add(&totals->bytes_out_labelled, ret);
	}
	return 0;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(moat_net_received, struct sock *sk, int ret, int flags)
{
	struct moat_net_totals *totals;
	struct moat_control *control;
	struct moat_proc_key key;
	struct task_struct *task;
	struct moat_flow *flow;
	__u64 now;

	if (ret <= 0 || flags & (MSG_PEEK | MSG_ERRQUEUE) || !moat_is_inet(moat_sock(sk)))
		return 0;
	task = moat_current();
	control = moat_get_control();
	if (!control || !moat_in_scope(control, task))
		return 0;
	now = bpf_ktime_get_ns();
	flow = flow_of(sk, task, now);
	if (flow) {
		__sync_fetch_and_add(&flow->bytes_in, ret);
		__sync_fetch_and_add(&flow->receives, 1);
		flow->last_ns = now;
	}
	moat_proc_key_of(&key, task);
	totals = totals_of(&key);
	if (totals)
		__sync_fetch_and_add(&totals->bytes_in, ret);
	return 0;
}
