/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every packet that a socket of the scope sends: raw and ICMP sockets, sockets that were open before the policy, or before their user took
 * a label, and what was queued. 0 drops it, and a datagram's send fails with EPERM; TCP takes it for a loss, so that nothing leaves and
 * the connection dies.
 *
 * Who sends: where the current task is the sender, the policies are that one's; elsewhere (soft-irq: acknowledgements, retransmissions)
 * those of whoever used the socket last. Only TCP sends without its caller, and only while nobody owns the socket's lock: soft-irq leaves
 * an owned socket to its owner (net/ipv4/tcp_ipv4.c tcp_v4_rcv, tcp_output.c tcp_tsq_handler).
 */
#include "socket.bpf.h"

#define TCP_LISTEN_STATE 10 /* BPF_TCP_LISTEN */
#define NEXTHDR_FRAGMENT 44
#define PF_KTHREAD 0x00200000u

/*
 * The peer as the packet's own headers say. What has no ports (a fragment but the first) is of no protocol that rules can name, and what is
 * no packet at all (a raw socket writes its headers itself) goes to no address: of both, only what is said of everything holds.
 */
static __always_inline void moat_pol_to_of_packet(struct __sk_buff *skb, struct moat_pol_to *to, __u32 *transport)
{
	__u8 head[40];
	__u32 at;

	__builtin_memset(to, 0, sizeof(*to));
	if (bpf_skb_load_bytes(skb, 0, head, 20))
		return;
	if (head[0] >> 4 == 4) {
		at = (head[0] & 15) * 4;
		__builtin_memcpy(to->address, head + 16, 4);
		*transport = head[9];
		if ((head[6] & 0x1f) | head[7]) /* an offset: no header of the transport's here */
			return;
	} else if (head[0] >> 4 == 6) {
		if (bpf_skb_load_bytes(skb, 0, head, 40))
			return;
		at = 40;
		__builtin_memcpy(to->address, head + 24, 16);
		to->v6 = 1;
		*transport = head[6];
		if (to->v6 && *(__u64 *)to->address == 0 && *(__u32 *)(to->address + 8) == bpf_htonl(0xffff)) {
			/* IPv4-mapped on the wire: no such thing leaves a correct stack; rules of IPv4 are to hold all the same */
			*(__u32 *)to->address = *(__u32 *)(to->address + 12);
			*(__u64 *)(to->address + 8) = 0;
			to->v6 = 0;
		}
	} else {
		return;
	}
	to->protocol = moat_pol_protocol_of(*transport);
	if (to->protocol == MOAT_POL_TCP || to->protocol == MOAT_POL_UDP) {
		__u8 ports[4];

		if (bpf_skb_load_bytes(skb, at, ports, 4))
			to->protocol = MOAT_POL_OTHER;
		else
			to->port = (__u16)ports[2] << 8 | ports[3];
	}
}

static __always_inline int moat_pol_sender_is_here(const struct sock *kernel, const struct task_struct *task, __u32 protocol)
{
	if (moat_get(task, flags) & PF_KTHREAD)
		return 0;
	return protocol != IPPROTO_TCP || moat_get(kernel, sk_lock.owned);
}

/* Accepted before there was a program to see it: somebody listens on its port. */
static __always_inline int moat_pol_was_accepted(struct __sk_buff *skb, const struct sock *kernel, int v6)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *found;
	int listens;

	if (v6) {
		__u32 *to = tuple.ipv6.daddr;

		to[0] = moat_get(kernel, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[0]);
		to[1] = moat_get(kernel, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[1]);
		to[2] = moat_get(kernel, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[2]);
		to[3] = moat_get(kernel, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[3]);
		tuple.ipv6.dport = bpf_htons(moat_get(kernel, __sk_common.skc_num));
		found = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	} else {
		tuple.ipv4.daddr = moat_get(kernel, __sk_common.skc_rcv_saddr);
		tuple.ipv4.dport = bpf_htons(moat_get(kernel, __sk_common.skc_num));
		found = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	}
	if (!found)
		return 0;
	listens = found->state == TCP_LISTEN_STATE;
	bpf_sk_release(found);
	return listens;
}

static __always_inline int moat_pol_sending(struct __sk_buff *skb)
{
	struct moat_pol_who who = {.generation = moat_pol_generation()};
	struct moat_pol_answer answer;
	struct moat_pol_sock *socket;
	struct moat_endpoints ep = {};
	struct task_struct *task;
	const struct sk_buff *packet;
	const struct sock *kernel;
	struct moat_verdict *e;
	struct moat_pol_to to;
	struct bpf_sock *sk;
	__u32 transport = 0, told, last;
	__u64 cgroup;
	int here, known;

	if (!who.generation || !skb->sk)
		return 1;
	sk = bpf_sk_fullsock(skb->sk);
	if (!sk)
		return 1; /* the handshake of a connection that nobody has accepted yet */
	socket = bpf_sk_storage_get(&moat_pol_socks, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!socket) {
		moat_count_table_full(MOAT_TABLE_SOCKETS);
		return 0; /* no memory: nothing leaves that nobody could decide */
	}
	packet = moat_kern_ctx(skb);
	kernel = moat_cast(struct sock, moat_get(packet, sk));
	moat_pol_to_of_packet(skb, &to, &transport);
	moat_forget(to);
	moat_forget(transport);
	task = moat_current();
	here = moat_pol_sender_is_here(kernel, task, sk->protocol);
	last = socket->pid && socket->used_generation == who.generation ? socket->profile : 0;
	if (here)
		who.labels = moat_labels(moat_self_pid(), moat_self_start());
	cgroup = here ? 0 : moat_sock_cgroup(kernel);
	if (here || (!last && cgroup))
		who.profile = moat_pol_lookup(cgroup, who.generation);
	if (!who.profile)
		who.profile = last; /* handed to somebody whom no policy is about: still the socket of those who had it */
	else if (here && (last != who.profile || socket->pid != moat_self_pid() || (socket->labels & who.labels) != who.labels))
		moat_pol_used_by(socket, &who);
	who.labels |= socket->labels;
	if (sk->protocol == IPPROTO_TCP) {
		if (!(socket->flags & (MOAT_POL_SOCK_ACTIVE | MOAT_POL_SOCK_PASSIVE)))
			socket->flags |= moat_pol_was_accepted(skb, kernel, to.v6) ? MOAT_POL_SOCK_PASSIVE : MOAT_POL_SOCK_ACTIVE;
		if (socket->flags & MOAT_POL_SOCK_PASSIVE) {
			to.protocol = MOAT_POL_REPLY;
			to.port = 0;
		}
	}
	moat_forget(to);
	moat_forget(who);
	known = moat_pol_known(socket, &who, &to);
	if (known && sk->protocol == IPPROTO_TCP) {
		if (!(socket->rule & MOAT_RULE_DENY))
			return 1;
		moat_pol_count(socket->rule, MOAT_VERDICT_DENY);
		return 0;
	}
	moat_pol_decide(&who, &to, &answer);
	/* The same question, or the same rule for another: it was told. */
	told = socket->rule == answer.rule &&
	       (known || (socket->flags & MOAT_POL_SOCK_ASKED && socket->generation == who.generation && !answer.would));
	moat_pol_keep(socket, &who, &to, answer.rule);
	if (told && (answer.rule & MOAT_RULE_DENY || answer.would))
		moat_pol_count(moat_pol_deciding(&answer), moat_pol_action(&answer));
	if (told || (!(answer.rule & MOAT_RULE_DENY) && !answer.would))
		return !(answer.rule & MOAT_RULE_DENY);
	e = here ? moat_pol_tell(&answer, &who, MOAT_VERDICT_PACKET) : moat_pol_tell_of(socket, &answer, MOAT_VERDICT_PACKET);
	if (e) {
		e->cookie = bpf_get_socket_cookie(skb);
		moat_endpoints_of(&ep, kernel);
		__builtin_memcpy(ep.remote, to.address, sizeof(ep.remote));
		if (to.port)
			ep.remote_port = to.port;
		ep.family = to.v6 ? AF_INET6 : AF_INET;
		ep.protocol = transport;
		e->ep = ep;
		moat_submit(moat_get_control(), e);
	}
	return !(answer.rule & MOAT_RULE_DENY);
}

MOAT_HOOK("cgroup_skb/egress", moat_pol_packet)
int moat_pol_packet(struct __sk_buff *skb)
{
	moat_ran(moat_pol_packet);
	return moat_pol_sending(skb);
}

/* Which end of a connection this is. The kernel runs it for sockets made in the scope cgroup, before the first byte is sent. */
MOAT_HOOK("sockops", moat_pol_opened)
int moat_pol_opened(struct bpf_sock_ops *ctx)
{
	struct moat_pol_sock *socket;

	moat_ran(moat_pol_opened);
	if (ctx->op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB && ctx->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB)
		return 1;
	if (!ctx->sk)
		return 1;
	socket = bpf_sk_storage_get(&moat_pol_socks, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (socket)
		socket->flags = ctx->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB
					? (socket->flags & ~MOAT_POL_SOCK_ACTIVE) | MOAT_POL_SOCK_PASSIVE
					: socket->flags | MOAT_POL_SOCK_ACTIVE;
	return 1;
}
