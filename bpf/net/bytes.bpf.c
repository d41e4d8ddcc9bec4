/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Payload bytes per socket and per process, as the socket calls returned them: sendfile, splice and kernel TLS too. Never an
 * event. Both hooks are the whole host's and see unix sockets as well, so the family is asked first. Packet and vsock sockets have no
 * flow (nothing tells of their end): what they carry stands in their process's totals.
 *
 * Not counted: splice() and TCP_ZEROCOPY_RECEIVE out of a socket (the kernel does not tell them here).
 */
#include "flows.bpf.h"
#include "../lib/scope.bpf.h"

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

/*
 * The flow of a socket; a process in scope that uses a socket which nobody in scope opened becomes its owner. cookie 0: nobody has asked
 * for it and the caller cannot either, so it has no flow, and only the process's totals tell of its bytes.
 */
static __always_inline struct moat_flow *flow_of(const struct sock *sk, __u64 cookie, const struct task_struct *task, __u64 now)
{
	struct moat_endpoints ep;
	struct moat_flow *flow;
	__u32 net_flags;

	if (!cookie)
		return NULL;
	flow = bpf_map_lookup_elem(&moat_flows, &cookie);
	if (flow)
		return flow;
	net_flags = moat_endpoints_of(&ep, sk);
	moat_flow_start(cookie, task, &ep, net_flags, now);
	return bpf_map_lookup_elem(&moat_flows, &cookie);
}

static __always_inline void moat_sent(const struct sock *sk, __u64 cookie, __s64 bytes)
{
	struct moat_control *control = moat_get_control();
	struct task_struct *task = moat_current();
	struct moat_net_totals *totals;
	struct moat_proc_key key;
	struct moat_flow *flow;
	__u64 labels, now;

	if (!moat_in_scope(control))
		return;
	moat_proc_key_of(&key, task);
	labels = moat_labels(key.pid, key.start_ns);
	now = bpf_ktime_get_ns();
	flow = flow_of(sk, cookie, task, now);
	if (flow) {
		__sync_fetch_and_add(&flow->bytes_out, bytes);
		__sync_fetch_and_add(&flow->sends, 1);
		flow->last_ns = now;
		if ((flow->labels & labels) != labels)
			moat_fetch_or(&flow->labels, labels);
		if ((flow->pid != key.pid || flow->start_ns != key.start_ns) && !(flow->net_flags & MOAT_NET_SHARED))
			moat_fetch_or(&flow->net_flags, MOAT_NET_SHARED);
	}
	totals = totals_of(&key);
	if (totals) {
		__sync_fetch_and_add(&totals->bytes_out, bytes);
		if (labels)
			__sync_fetch_and_add(&totals->bytes_out_labelled, bytes);
	}
}

static __always_inline void moat_received(const struct sock *sk, __u64 cookie, __s64 bytes)
{
	struct moat_control *control = moat_get_control();
	struct task_struct *task = moat_current();
	struct moat_net_totals *totals;
	struct moat_proc_key key;
	struct moat_flow *flow;
	__u64 now;

	if (!moat_in_scope(control))
		return;
	now = bpf_ktime_get_ns();
	flow = flow_of(sk, cookie, task, now);
	if (flow) {
		__sync_fetch_and_add(&flow->bytes_in, bytes);
		__sync_fetch_and_add(&flow->receives, 1);
		flow->last_ns = now;
	}
	moat_proc_key_of(&key, task);
	totals = totals_of(&key);
	if (totals)
		__sync_fetch_and_add(&totals->bytes_in, bytes);
}

#ifndef MOAT_LEGACY /* the helper is 5.12's, the tracepoints are 6.3's */

static __always_inline __u64 moat_cookie_made(struct sock *trusted)
{
	__u64 cookie = moat_cookie(moat_sock(trusted));

	return cookie ? cookie : bpf_get_socket_cookie(trusted); /* the helper takes no cast one */
}

static __always_inline int moat_leaves_otherwise(const struct sock *sk)
{
	__u16 family = moat_get(sk, __sk_common.skc_family);

	return family == AF_PACKET || family == AF_VSOCK;
}

MOAT_TRACE("tp_btf/sock_send_length", moat_net_sent, struct sock *sk, int ret, int flags)
{
	if (ret <= 0)
		return 0;
	if (moat_is_inet(moat_sock(sk)))
		moat_sent(moat_sock(sk), moat_cookie_made(sk), ret);
	else if (moat_leaves_otherwise(moat_sock(sk)))
		moat_sent(moat_sock(sk), 0, ret);
	return 0;
}

MOAT_TRACE("tp_btf/sock_recv_length", moat_net_received, struct sock *sk, int ret, int flags)
{
	if (ret <= 0 || flags & (MSG_PEEK | MSG_ERRQUEUE))
		return 0;
	if (moat_is_inet(moat_sock(sk)))
		moat_received(moat_sock(sk), moat_cookie_made(sk), ret);
	else if (moat_leaves_otherwise(moat_sock(sk)))
		moat_received(moat_sock(sk), 0, ret);
	return 0;
}

#endif

/*
 * Before the tracepoints: the functions behind every send and receive of an IPv4 or IPv6 socket, whatever its protocol.
 * sendfile() and splice() had one of their own until 6.5.
 */
static __always_inline void moat_sock_sent(const void *arg, __s64 bytes)
{
	const struct socket *socket = moat_cast(struct socket, arg);
	const struct sock *sk;

	if (bytes <= 0)
		return;
	sk = moat_get(socket, sk);
	if (!sk)
		return;
	sk = moat_sock(sk);
	moat_sent(sk, moat_cookie(sk), bytes);
}

static __always_inline void moat_sock_received(const void *arg, int flags, __s64 bytes)
{
	const struct socket *socket = moat_cast(struct socket, arg);
	const struct sock *sk;

	if (bytes <= 0 || flags & (MSG_PEEK | MSG_ERRQUEUE))
		return;
	sk = moat_get(socket, sk);
	if (!sk)
		return;
	sk = moat_sock(sk);
	moat_received(sk, moat_cookie(sk), bytes);
}

MOAT_TRACE("fexit/inet_sendmsg", moat_net_sent_fexit, struct socket *sock, void *msg, __u64 size, long ret)
{
	moat_sock_sent(sock, (int)ret);
	return 0;
}

MOAT_TRACE("fexit/inet6_sendmsg", moat_net_sent6_fexit, struct socket *sock, void *msg, __u64 size, long ret)
{
	moat_sock_sent(sock, (int)ret);
	return 0;
}

MOAT_TRACE("fexit/inet_sendpage", moat_net_sendpage, struct socket *sock, void *page, int offset, __u64 size, int flags, long ret)
{
	moat_sock_sent(sock, ret);
	return 0;
}

MOAT_TRACE("fexit/inet_recvmsg", moat_net_received_fexit, struct socket *sock, void *msg, __u64 size, int flags, long ret)
{
	moat_sock_received(sock, flags, (int)ret);
	return 0;
}

MOAT_TRACE("fexit/inet6_recvmsg", moat_net_received6_fexit, struct socket *sock, void *msg, __u64 size, int flags, long ret)
{
	moat_sock_received(sock, flags, (int)ret);
	return 0;
}
