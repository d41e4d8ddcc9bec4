/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Questions to DNS servers, one event each: what leaves for port 53 over UDP, and over TCP where a message begins with a segment. Attached to
 * the scope cgroup: the kernel runs it for each packet of sockets made in that cgroup or below, over the loopback device too, so no scope
 * is asked here.
 *
 * Who asks: a datagram leaves in its sender's own context, a segment only while its sender owns the socket's lock; else (soft-irq, a
 * worker of the kernel) it is the owner of the socket's flow, and where it has none nobody.
 */
#include "flows.bpf.h"

#define DNS_PORT 53
#define DNS_HEADER 12
#define SOCK_STREAM 1
#define PF_KTHREAD 0x00200000u

/* The packet's headers, as far as they are asked. */
struct dns_packet {
	struct moat_endpoints ep;
	__u32 at; /* where the message begins */
};

static __always_inline __u16 dns_word(const __u8 *at)
{
	return (__u16)at[0] << 8 | at[1];
}

/* Where the header of the transport begins; 0: there is none here (a fragment but the first, headers of IPv6 before it). */
static __always_inline __u32 dns_addresses(struct __sk_buff *skb, struct moat_endpoints *ep)
{
	__u8 head[40];

	if (bpf_skb_load_bytes(skb, 0, head, 20))
		return 0;
	__builtin_memset(ep, 0, sizeof(*ep));
	if (head[0] >> 4 == 4) {
		ep->family = AF_INET;
		ep->protocol = head[9];
		__builtin_memcpy(ep->local, head + 12, 4);
		__builtin_memcpy(ep->remote, head + 16, 4);
		return (head[6] & 0x1f) | head[7] ? 0 : (head[0] & 15) * 4;
	}
	if (head[0] >> 4 != 6 || bpf_skb_load_bytes(skb, 0, head, 40))
		return 0;
	ep->family = AF_INET6;
	ep->protocol = head[6];
	__builtin_memcpy(ep->local, head + 8, 16);
	__builtin_memcpy(ep->remote, head + 24, 16);
	return 40;
}

/* A connected socket's port counts too: what it calls port 53 may leave for another, where the host translates addresses before this. */
static __always_inline int dns_of(struct __sk_buff *skb, struct bpf_sock *sk, struct dns_packet *to)
{
	__u8 head[14];
	__u32 at = dns_addresses(skb, &to->ep);

	if (!at || bpf_skb_load_bytes(skb, at, head, 8))
		return 0;
	to->ep.local_port = dns_word(head);
	to->ep.remote_port = dns_word(head + 2);
	if (to->ep.remote_port != DNS_PORT && sk->dst_port != bpf_htons(DNS_PORT))
		return 0;
	if (to->ep.protocol == IPPROTO_UDP) {
		to->at = at + 8;
		return 1;
	}
	if (to->ep.protocol != IPPROTO_TCP || bpf_skb_load_bytes(skb, at, head, sizeof(head)))
		return 0;
	to->at = at + (head[12] >> 4) * 4 + 2; /* behind the message's length */
	return 1;
}

/* The header, as the socket's flow knows its owner; that of the agent has none. */
static __always_inline void dns_fill_of_flow(struct moat_hdr *hdr, __u64 cookie, __u64 cgroup_id)
{
	struct moat_flow *flow = bpf_map_lookup_elem(&moat_flows, &cookie);

	__builtin_memset(hdr, 0, sizeof(*hdr));
	hdr->size = sizeof(struct moat_dns);
	hdr->version = MOAT_ABI_VERSION;
	hdr->kind = MOAT_KIND_NET_DNS;
	hdr->time_ns = bpf_ktime_get_ns();
	hdr->cgroup_id = cgroup_id;
	if (!flow) {
		hdr->flags = MOAT_F_NO_OWNER;
		return;
	}
	hdr->uid = flow->uid;
	hdr->pid = flow->pid; /* which of its threads is not known: tid stays 0 */
	hdr->start_ns = flow->start_ns;
	hdr->cgroup_id = flow->cgroup_id;
	hdr->labels = flow->labels | moat_labels(flow->pid, flow->start_ns);
	__builtin_memcpy(hdr->comm, flow->comm, MOAT_COMM_LEN);
}

static __always_inline void dns_asking(struct __sk_buff *skb, struct bpf_sock *sk)
{
	struct moat_control *control = moat_get_control();
	const struct sk_buff *packet;
	const struct sock *kernel;
	struct dns_packet from;
	struct task_struct *task;
	struct moat_dns *e;
	__u8 head[DNS_HEADER];
	__u32 len, at;
	int here, err;

	/* A datagram socket may name another destination at each send, a stream's is its own. */
	if (sk->type == SOCK_STREAM && sk->dst_port != bpf_htons(DNS_PORT))
		return;
	if (!dns_of(skb, sk, &from) || bpf_skb_load_bytes(skb, from.at, head, sizeof(head)))
		return;
	if (head[2] & 0x80 || !dns_word(head + 4)) /* an answer; no question */
		return;
	len = skb->len - from.at - DNS_HEADER - 1; /* less one, so that the verifier sees that it is not 0 */
	asm volatile("" : "+r"(len));
	if ((__s32)len < 0)
		return; /* a header and nothing behind it */
	task = moat_current();
	here = !(moat_get(task, flags) & PF_KTHREAD);
	if (here && from.ep.protocol == IPPROTO_TCP && sk->type == SOCK_STREAM) {
		packet = moat_kern_ctx(skb);
		kernel = moat_cast(struct sock, moat_get(packet, sk));
		here = moat_get(kernel, sk_lock.owned);
	}
	if (here && control->agent_pid == (__u32)moat_get(task, tgid))
		return;
	e = MOAT_RESERVE(moat_ring_bulk, MOAT_KIND_NET_DNS, struct moat_dns);
	if (!e)
		return;
	e->cookie = bpf_get_socket_cookie(skb);
	if (here) {
		moat_fill(&e->hdr, MOAT_KIND_NET_DNS, sizeof(*e), task);
		e->hdr.labels = moat_labels(e->hdr.pid, e->hdr.start_ns);
	} else {
		dns_fill_of_flow(&e->hdr, e->cookie, bpf_skb_cgroup_id(skb));
	}
	e->ep = from.ep;
	e->net_flags = sk->family == AF_INET6 && from.ep.family == AF_INET ? MOAT_NET_MAPPED : 0;
	e->payload = len + 1 + DNS_HEADER;
	e->id = dns_word(head);
	e->dns_flags = dns_word(head + 2);
	e->questions = dns_word(head + 4);
	__builtin_memset(e->question, 0, sizeof(e->question));
	at = from.at + DNS_HEADER;
	/* The limit right before the call: until 5.17 the verifier forgets it of a number that is put on the stack meanwhile. */
	asm volatile("" : "+r"(len), "+r"(at));
	if (len >= MOAT_DNS_QUESTION_LEN)
		len = MOAT_DNS_QUESTION_LEN - 1;
	err = bpf_skb_load_bytes(skb, at, e->question, len + 1);
	e->question_len = err ? 0 : len + 1;
	if (err)
		e->hdr.flags |= MOAT_F_UNREADABLE;
	moat_submit(control, e);
}

MOAT_HOOK("cgroup_skb/egress", moat_net_dns)
int moat_net_dns(struct __sk_buff *skb)
{
	struct bpf_sock *sk;

	moat_ran(moat_net_dns);
	sk = skb->sk ? bpf_sk_fullsock(skb->sk) : NULL;
	if (sk)
		dns_asking(skb, sk);
	return 1; /* observed, never dropped */
}
