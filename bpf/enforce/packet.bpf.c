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
#include "budget.bpf.h"
#include "header.bpf.h"
#include "socket.bpf.h"

#define TCP_LISTEN_STATE 10 /* BPF_TCP_LISTEN */
#define SOCK_STREAM 1
#define SOCK_RAW 3
#define PF_KTHREAD 0x00200000u

/*
 * The peer as the packet's own headers say. What has no ports (a fragment but the first) is of no protocol that rules can name, and what is
 * no packet at all (a raw socket writes its headers itself) goes to no address: of both, only what is said of everything holds.
 */
static __always_inline void moat_pol_to_of_packet(const struct moat_pol_header *header, struct moat_pol_to *to)
{
	__builtin_memset(to, 0, sizeof(*to));
	__builtin_memcpy(to->address, header->peer, sizeof(to->address));
	to->v6 = header->v6;
	if (!header->at)
		return;
	to->protocol = moat_pol_protocol_of(header->transport);
	to->port = header->peer_port;
}

/* Raw sockets name the protocol, too (socket(AF_INET, SOCK_RAW, IPPROTO_TCP)), and are nothing like it. */
static __always_inline int moat_pol_is_tcp(struct bpf_sock *sk)
{
	return sk->protocol == IPPROTO_TCP && sk->type == SOCK_STREAM;
}

/* Bytes of TCP that the program that reads names has not seen: it is to see them first, so they are to be sent again. */
MOAT_FUNCTION int moat_pol_unread(struct __sk_buff *skb, const struct moat_pol_header *header)
{
	struct moat_pol_tls *tls;
	__u32 seq = 0, payload;
	struct bpf_sock *sk;
	int syn = 0;

	sk = header && skb->sk ? bpf_sk_fullsock(skb->sk) : NULL;
	if (!sk)
		return 1;
	payload = moat_pol_tcp(skb, header->at, &seq, &syn);
	if (!payload || payload >= skb->len)
		return 0;
	tls = bpf_sk_storage_get(&moat_pol_tls, sk, 0, 0);
	return !tls || (__s32)(seq + !!syn + (skb->len - payload) - tls->next_seq) > 0;
}

/* QUIC and DTLS: with a name inside, that nobody reads here. */
static __always_inline int moat_pol_hides_name(struct __sk_buff *skb, const struct moat_pol_header *header)
{
	__u8 begin[5] = {};

	if (header->peer_port == 443)
		return 1;
	if (bpf_skb_load_bytes(skb, header->at + 8, begin, sizeof(begin)))
		return 0;
	/* A long header with a version (RFC 8999 5.1; that of version 0 asks for nothing); a DTLS record of a handshake (RFC 6347 4.1) */
	return (begin[0] & 0x80 && begin[1] | begin[2] | begin[3] | begin[4]) || (begin[0] == 22 && begin[1] == 0xfe);
}

/* The names by which the packet goes. */
MOAT_FUNCTION int moat_pol_name_packet(struct __sk_buff *skb, const struct moat_pol_header *header, struct moat_pol_to *to,
				       __u32 generation)
{
	const struct sock *kernel;
	const struct sk_buff *packet;
	struct moat_pol_sock *socket;
	struct moat_pol_tls *tls;
	struct bpf_sock *sk;
	__u64 when_ns;
	__u8 phase;

	sk = header && to && skb->sk ? bpf_sk_fullsock(skb->sk) : NULL;
	socket = sk ? bpf_sk_storage_get(&moat_pol_socks, sk, 0, 0) : NULL;
	if (!socket || to->protocol == MOAT_POL_REPLY || sk->type == SOCK_RAW)
		return 0;
	phase = socket->phase;
	if (moat_pol_is_tcp(sk) && phase == MOAT_POL_NAMED) {
		tls = bpf_sk_storage_get(&moat_pol_tls, sk, 0, 0);
		to->patterns[0] = tls ? moat_pol_pattern(&tls->text, generation) : 0;
		to->named = to->patterns[0] != 0;
		to->why = MOAT_WHY_OTHER_NAME; /* should it be denied */
		return 0;
	}
	if (moat_pol_is_tcp(sk) && (phase == MOAT_POL_UNSEEN || phase == MOAT_POL_UNREADABLE)) {
		to->why = phase == MOAT_POL_UNSEEN ? MOAT_WHY_NO_SNI : socket->why;
		return 0;
	}
	if (to->protocol == MOAT_POL_UDP && moat_pol_hides_name(skb, header)) {
		to->why = MOAT_WHY_NOT_TCP;
		return 0;
	}
	packet = moat_kern_ctx(skb);
	kernel = moat_cast(struct sock, moat_get(packet, sk));
	when_ns = moat_get(kernel, __sk_common.skc_dport) ? socket->opened_ns : 0;
	moat_pol_learnt_names(to, socket->cgroup_id, when_ns ? when_ns : bpf_ktime_get_ns(), generation);
	return 0;
}

static __always_inline int moat_pol_sender_is_here(const struct sock *kernel, const struct task_struct *task, int tcp)
{
	if (moat_get(task, flags) & PF_KTHREAD)
		return 0;
	return !tcp || moat_get(kernel, sk_lock.owned);
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

/*
 * Bytes of the packet that no budget has counted yet, and where in TCP's stream they end. Of a stream whose last bytes were held back those
 * are counted with what comes after them: they will be sent again.
 */
static __always_inline __u32 moat_pol_fresh_bytes(struct __sk_buff *skb, const struct moat_pol_header *header,
						  struct bpf_sock *sk, struct moat_pol_sock *socket, __u32 *end)
{
	__u32 seq = 0, payload, fresh;
	int syn = 0;

	if (!moat_pol_is_tcp(sk))
		return header->at && header->peer_port ? skb->len - header->at - 8 : skb->len;
	payload = moat_pol_tcp(skb, header->at, &seq, &syn);
	if (!payload || payload >= skb->len)
		return 0;
	seq += !!syn;
	*end = seq + (skb->len - payload);
	if (!(socket->budget & MOAT_POL_SENT_SEQ)) {
		socket->sent_seq = seq;
		socket->budget |= MOAT_POL_SENT_SEQ;
	}
	fresh = *end - socket->sent_seq;
	if ((__s32)fresh <= 0)
		return 0; /* sent before */
	return socket->budget & MOAT_POL_SENT_OVER || fresh < skb->len - payload ? fresh : skb->len - payload;
}

/* Of a packet that is allowed to where it goes: 0 drops it. Told once until something was sent again. */
MOAT_FUNCTION int moat_pol_within_budget(struct __sk_buff *skb, const struct moat_pol_header *header,
					 const struct moat_pol_who *who, int here)
{
	struct moat_pol_sock *socket;
	struct moat_pol_answer answer;
	struct moat_verdict *e;
	struct bpf_sock *sk;
	__u32 bytes, end = 0, mark;

	if (!*(volatile __u32 *)&moat_control.policy_budgets || !header || !who || !who->labels || !who->profile || !skb->sk)
		return 1;
	sk = bpf_sk_fullsock(skb->sk);
	socket = sk ? bpf_sk_storage_get(&moat_pol_socks, sk, 0, 0) : NULL;
	if (!socket)
		return 1;
	bytes = moat_pol_fresh_bytes(skb, header, sk, socket, &end);
	if (!bytes)
		return 1; /* acknowledgements, and the end of a connection */
	moat_pol_spend(who, bytes, &answer);
	if (!(answer.rule & MOAT_RULE_DENY)) {
		socket->sent_seq = end;
		socket->budget &= ~MOAT_POL_SENT_OVER;
		if (!answer.would) {
			socket->budget &= ~MOAT_POL_SENT_WOULD;
			return 1;
		}
	}
	mark = answer.rule ? MOAT_POL_SENT_OVER : MOAT_POL_SENT_WOULD;
	if (socket->budget & mark) {
		moat_pol_count(moat_pol_deciding(&answer), moat_pol_action(&answer));
		return !answer.rule;
	}
	socket->budget |= mark;
	e = here ? moat_pol_tell(&answer, who, MOAT_VERDICT_PACKET) : moat_pol_tell_of(socket, &answer, MOAT_VERDICT_PACKET);
	if (e) {
		e->why = MOAT_WHY_BUDGET;
		e->cookie = bpf_get_socket_cookie(skb);
		__builtin_memset(&e->ep, 0, sizeof(e->ep));
		__builtin_memcpy(e->ep.remote, header->peer, sizeof(e->ep.remote));
		e->ep.remote_port = header->peer_port;
		e->ep.family = header->v6 ? AF_INET6 : AF_INET;
		e->ep.protocol = header->transport;
		moat_submit(moat_get_control(), e);
	}
	return !answer.rule;
}

/* Why no rule by name let it pass, and the name that it goes by. */
static __always_inline void moat_pol_say_name(struct moat_verdict *e, struct bpf_sock *sk, const struct moat_pol_to *to)
{
	struct moat_pol_tls *tls;

	if (e->action == MOAT_VERDICT_ALLOW || !to->why)
		return;
	e->why = to->why;
	tls = to->why == MOAT_WHY_OTHER_NAME ? bpf_sk_storage_get(&moat_pol_tls, sk, 0, 0) : NULL;
	if (tls)
		__builtin_memcpy(e->name, tls->text.name, sizeof(e->name));
}

/* About where it goes: 0 drops it. Who sends, and what the headers say, is for the question about budgets, which comes next. */
static __always_inline int moat_pol_sending(struct __sk_buff *skb, struct moat_pol_who *who, struct moat_pol_header *header,
					    int *is_here)
{
	struct moat_pol_answer answer;
	struct moat_pol_sock *socket;
	struct moat_endpoints ep = {};
	struct task_struct *task;
	const struct sk_buff *packet;
	const struct sock *kernel;
	struct moat_verdict *e;
	struct moat_pol_to to;
	struct bpf_sock *sk;
	__u32 told, last;
	__u64 cgroup;
	int here, known;

	who->generation = moat_pol_generation();
	if (!who->generation || !skb->sk)
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
	moat_pol_header_of(skb, header, 0);
	moat_forget(*header);
	moat_pol_to_of_packet(header, &to);
	moat_forget(to);
	task = moat_current();
	here = moat_pol_sender_is_here(kernel, task, moat_pol_is_tcp(sk));
	*is_here = here;
	last = socket->pid && socket->used_generation == who->generation ? socket->profile : 0;
	if (here)
		who->labels = moat_labels(moat_self_pid(), moat_self_start());
	cgroup = here ? 0 : moat_sock_cgroup(kernel);
	if (here || (!last && cgroup))
		moat_pol_lookup(cgroup, who);
	if (!who->profile) {
		who->profile = last; /* handed to somebody whom no policy is about: still the socket of those who had it */
		who->subject = socket->subject;
	} else if (here &&
		   (last != who->profile || socket->pid != moat_self_pid() || (socket->labels & who->labels) != who->labels)) {
		moat_pol_used_by(socket, who);
	}
	who->labels |= socket->labels;
	if (moat_pol_is_tcp(sk)) {
		if (!(socket->flags & (MOAT_POL_SOCK_ACTIVE | MOAT_POL_SOCK_PASSIVE)))
			socket->flags |= moat_pol_was_accepted(skb, kernel, to.v6) ? MOAT_POL_SOCK_PASSIVE : MOAT_POL_SOCK_ACTIVE;
		if (socket->flags & MOAT_POL_SOCK_PASSIVE) {
			to.protocol = MOAT_POL_REPLY;
			to.port = 0;
		}
	}
	moat_forget(to);
	moat_forget(*who);
	if ((socket->phase == MOAT_POL_OPENING || socket->phase == MOAT_POL_READING) && to.protocol == MOAT_POL_TCP &&
	    moat_pol_unread(skb, header))
		return 0;
	known = moat_pol_known(socket, who, &to);
	if (known && moat_pol_is_tcp(sk)) {
		if (!(socket->rule & MOAT_RULE_DENY))
			return 1;
		moat_pol_count(socket->rule, MOAT_VERDICT_DENY);
		return 0;
	}
	if (moat_pol_speaks_of_names(who)) {
		moat_pol_name_packet(skb, header, &to, who->generation);
		moat_forget(to);
	}
	moat_pol_decide(who, &to, &answer);
	/* The same question, or the same rule for another: it was told. */
	told = socket->rule == answer.rule &&
	       (known || (socket->flags & MOAT_POL_SOCK_ASKED && socket->generation == who->generation && !answer.would));
	moat_pol_keep(socket, who, &to, answer.rule);
	if (told && (answer.rule & MOAT_RULE_DENY || answer.would))
		moat_pol_count(moat_pol_deciding(&answer), moat_pol_action(&answer));
	if (told || (!(answer.rule & MOAT_RULE_DENY) && !answer.would))
		return !(answer.rule & MOAT_RULE_DENY);
	e = here ? moat_pol_tell(&answer, who, MOAT_VERDICT_PACKET) : moat_pol_tell_of(socket, &answer, MOAT_VERDICT_PACKET);
	if (e) {
		e->cookie = bpf_get_socket_cookie(skb);
		moat_endpoints_of(&ep, kernel);
		__builtin_memcpy(ep.remote, to.address, sizeof(ep.remote));
		if (to.port)
			ep.remote_port = to.port;
		ep.family = to.v6 ? AF_INET6 : AF_INET;
		ep.protocol = header->transport;
		e->ep = ep;
		moat_pol_say_name(e, sk, &to);
		moat_submit(moat_get_control(), e);
	}
	return !(answer.rule & MOAT_RULE_DENY);
}

MOAT_HOOK("cgroup_skb/egress", moat_pol_packet)
int moat_pol_packet(struct __sk_buff *skb)
{
	struct moat_pol_header header = {};
	struct moat_pol_who who = {};
	int here = 0, pass;

	moat_ran(moat_pol_packet);
	pass = moat_pol_sending(skb, &who, &header, &here);
	moat_forget(header);
	moat_forget(who);
	moat_forget(here);
	pass = pass && moat_pol_within_budget(skb, &header, &who, here);
	asm volatile("" : "+r"(pass)); /* the compiler knows that it is 0 or 1, the verifier does not */
	return pass ? 1 : 0;
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
