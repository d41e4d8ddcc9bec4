/* SPDX-License-Identifier: GPL-2.0-only */
/* Sockets: connects, unconnected sends, listening, accepts, closes with totals. */
#ifndef MOAT_ABI_NET_H
#define MOAT_ABI_NET_H

#include "event.h"

#define MOAT_NET_MAPPED 0x1u      /* IPv4 on an AF_INET6 socket (::ffff:a.b.c.d); stored as IPv4, family AF_INET */
#define MOAT_NET_ESTABLISHED 0x2u /* the TCP handshake was completed */
#define MOAT_NET_PASSIVE 0x4u     /* accepted, not connected */
#define MOAT_NET_SHARED 0x8u      /* more than one process has sent on it */

/* IPv4 in the first four bytes of an address; network byte order. Ports in host byte order. */
struct moat_endpoints {
	__u8 local[16];
	__u8 remote[16];
	__u16 local_port;
	__u16 remote_port;
	__u16 family;   /* AF_INET, AF_INET6; AF_PACKET, AF_VSOCK: only the remote address, see bpf/net/other.bpf.c */
	__u16 protocol; /* IPPROTO_* */
};

struct moat_net_event {
	struct moat_hdr hdr;
	__u64 cookie; /* of the socket, unique on this host since boot */
	struct moat_endpoints ep;
	__u32 net_flags;
	__u32 pad;
};

#define MOAT_DNS_QUESTION_LEN 264 /* a name is at most 255 bytes, type and class are 4 */

/*
 * MOAT_KIND_NET_DNS. Both ends as the packet says them. The question is as it is on the wire: labels, each behind its length, then type
 * and class; of a longer one, or one without an end, what fits.
 */
struct moat_dns {
	struct moat_hdr hdr;
	__u64 cookie;
	struct moat_endpoints ep;
	__u32 net_flags;
	__u32 payload; /* bytes of the whole message */
	__u16 id;
	__u16 dns_flags; /* the header's second word */
	__u16 questions; /* that it says to have: the first is told */
	__u16 question_len;
	__u8 question[MOAT_DNS_QUESTION_LEN];
};

/* Value of the flow map (key: __u64 cookie). The owner is the process that connected, sent first, bound or accepted. */
struct moat_flow {
	__u64 start_ns;
	__u64 cgroup_id;
	__u64 opened_ns;
	__u64 last_ns;
	__u64 bytes_out; /* payload handed to the socket */
	__u64 bytes_in;  /* payload taken from the socket */
	__u64 sends;
	__u64 receives;
	__u64 labels; /* every label that a sender on it held */
	__u32 pid;
	__u32 uid;
	__u32 net_flags;
	__u32 pad;
	struct moat_endpoints ep;
	char comm[MOAT_COMM_LEN];
};

struct moat_net_close {
	struct moat_hdr hdr;
	__u64 cookie;
	struct moat_flow flow;
};

/* Per process totals (key: moat_proc_key of label.h). */
struct moat_net_totals {
	__u64 bytes_out;
	__u64 bytes_in;
	__u64 bytes_out_labelled; /* sent while holding any label */
	__u64 pad;
};

#endif
