/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the cgroup hooks do not come to: raw, ICMP, SCTP, packet and vsock sockets. Their connects, and their sends: the first to each
 * destination of a socket is an event. Unix sockets do not leave the host and are not told.
 */
#include "flows.bpf.h"
#include "sends.bpf.h"
#include "../lib/scope.bpf.h"

#define AF_UNSPEC 0
#define SOCK_RAW 3
#define IPPROTO_ICMP 1
#define IPPROTO_ICMPV6 58
#define IPPROTO_SCTP 132

/* A socket address of one of these families, as the kernel has copied it. */
struct moat_address {
	__u16 family;
	__u16 port; /* sockaddr_in, sockaddr_in6: network byte order. sockaddr_ll: protocol. */
	/* in: address. in6: flow information, address. ll: interface, types and length, hardware address. vm: port, context id. */
	__u32 words[6];
};

static __always_inline int moat_is_other(const struct sock *sk)
{
	__u16 family = moat_get(sk, __sk_common.skc_family), protocol;

	if (family == AF_PACKET || family == AF_VSOCK)
		return 1;
	if (family != AF_INET && family != AF_INET6)
		return 0;
	if (moat_get(sk, sk_type) == SOCK_RAW)
		return 1;
	protocol = moat_get(sk, sk_protocol);
	return protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6 || protocol == IPPROTO_SCTP;
}

/*
 * The remote end from an address of at least 4 bytes; what is not there stays 0. A packet socket's is the interface (four bytes in host
 * byte order) and the hardware address behind it, whose length stands as the port, also when it is more than the eight bytes kept
 * (InfiniBand: 20); a vsock's the port and the context id, likewise.
 */
static __always_inline __u32 moat_other_remote(struct moat_endpoints *ep, const struct sock *sk, const void *address, __u32 len)
{
	__u32 net_flags = moat_endpoints_of(ep, sk), *to = (__u32 *)ep->remote;
	struct moat_address from = {};
	__u64 hardware;
	__u32 used, size;

	if (!address || len < 4)
		return net_flags;
	size = len;
	barrier_var(size); /* or 5.10 and 6.1 lose sight of the limit: the compiler tests len, and hands a copy on */
	if (size > sizeof(from))
		size = sizeof(from);
	if (bpf_probe_read_kernel(&from, size, address))
		return net_flags;
	ep->family = from.family;
	switch (from.family) {
	case AF_INET:
		moat_set_addr4(ep->remote, from.words[0]);
		ep->remote_port = bpf_ntohs(from.port);
		break;
	case AF_INET6:
		to[0] = from.words[1];
		to[1] = from.words[2];
		to[2] = from.words[3];
		to[3] = from.words[4];
		ep->remote_port = bpf_ntohs(from.port);
		break;
	case AF_PACKET:
		used = len < 12 ? 0 : ((__u8 *)from.words)[7]; /* sll_halen: what lies behind it is anything */
		hardware = (__u64)from.words[3] << 32 | from.words[2];
		if (used < 8)
			hardware &= (1ull << used * 8) - 1;
		ep->remote_port = used;
		to[0] = from.words[0];
		to[1] = hardware;
		to[2] = hardware >> 32;
		to[3] = 0;
		break;
	case AF_VSOCK:
		to[0] = from.words[0];
		to[1] = from.words[1];
		to[2] = 0;
		to[3] = 0;
		break;
	default:
		ep->family = moat_get(sk, __sk_common.skc_family);
	}
	return net_flags;
}

static __always_inline void moat_other(const void *arg, __u32 kind, const void *address, __u32 len)
{
	const struct socket *socket = moat_cast(struct socket, arg);
	struct moat_control *control;
	struct task_struct *task;
	struct moat_endpoints ep;
	__u64 cookie, known_by;
	const struct sock *sk;
	__u32 net_flags;

	sk = moat_get(socket, sk);
	if (!sk)
		return;
	known_by = (__u64)sk;
	sk = moat_sock(sk);
	if (!moat_is_other(sk))
		return;
	task = moat_current();
	control = moat_get_control();
	if (!moat_in_scope(control))
		return;
	net_flags = moat_other_remote(&ep, sk, address, len);
	cookie = moat_cookie(sk);
	if (kind == MOAT_KIND_NET_SEND && !moat_first_send(cookie ? cookie : known_by, &ep))
		return;
	moat_net_emit(control, task, kind, cookie, &ep, net_flags, bpf_ktime_get_ns());
}

static __always_inline void moat_other_send(const void *sock, const void *arg)
{
	const struct msghdr *msg = moat_cast(struct msghdr, arg);

	moat_other(sock, MOAT_KIND_NET_SEND, moat_get(msg, msg_name), moat_get(msg, msg_namelen));
}

MOAT_SECURITY(moat_net_other_connect, socket_connect, moat_other(sock, MOAT_KIND_NET_CONNECT, address, addrlen),
	      struct socket *sock, void *address, int addrlen)
MOAT_SECURITY(moat_net_other_send, socket_sendmsg, moat_other_send(sock, msg), struct socket *sock, void *msg, int size)
