/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sockets that neither the hooks of addresses nor those of packets come to: packet, vsock, XDP and all families but these four. Rules name
 * IP addresses, so where the default is deny, or holders may go to some places only, they are denied as a whole.
 */
#include <linux/errno.h>
#include "tell.bpf.h"
#include "../lib/sock.bpf.h"

#define AF_UNIX 1
#define AF_NETLINK 16
#define AF_ALG 38 /* the kernel's ciphers */

static __always_inline int moat_pol_stays(__u32 family)
{
	return family == AF_UNIX || family == AF_INET || family == AF_INET6 || family == AF_NETLINK || family == AF_ALG ||
	       !family;
}

static __always_inline __u32 moat_pol_family_rule(const struct moat_pol_profile *profile, const struct moat_pol_who *who,
						  __u32 part)
{
	const struct moat_pol_egress *egress = &profile->egress[part];
	__u64 held = who->labels & egress->others;
	struct moat_pol_holding *holding;

	if (egress->unknown)
		return egress->unknown;
	if (held) {
		struct moat_pol_holding_key key = {
			.generation = who->generation, .profile = who->profile, .part = part, .label = moat_pol_first(held)};

		holding = bpf_map_lookup_elem(&moat_pol_holdings, &key);
		return (holding ? holding->fallback : 0) | MOAT_RULE_DENY;
	}
	return egress->fallback;
}

static __always_inline int moat_pol_family(__u32 family)
{
	struct moat_pol_answer answer = {};
	struct moat_pol_profile *profile;
	struct moat_pol_who who;
	struct moat_verdict *e;
	__u32 generation = moat_pol_generation();

	if (!generation || moat_pol_stays(family))
		return 0;
	moat_pol_who_acts(&who, generation);
	profile = moat_pol_profile_of(&who);
	if (!profile)
		return 0;
	answer.rule = moat_pol_family_rule(profile, &who, MOAT_POL_ENFORCED);
	if (!answer.rule)
		answer.would = moat_pol_family_rule(profile, &who, MOAT_POL_WOULD);
	e = moat_pol_tell(&answer, &who, MOAT_VERDICT_SOCKET);
	if (e) {
		e->command = family;
		moat_submit(moat_get_control(), e);
	}
	return answer.rule & MOAT_RULE_DENY ? -EPERM : 0;
}

MOAT_SECURITY_DENIES(moat_pol_socket, socket_create, kern ? 0 : moat_pol_family(family), int family, int type, int protocol,
		     int kern)

/* One that was made before, or by another. */
static __always_inline int moat_pol_family_of(const void *arg)
{
	const struct socket *socket = moat_cast(struct socket, arg);
	const struct sock *sk = moat_get(socket, sk);

	if (!sk)
		return 0;
	sk = moat_sock(sk);
	return moat_pol_family(moat_get(sk, __sk_common.skc_family));
}

MOAT_SECURITY_DENIES(moat_pol_socket_send, socket_sendmsg, moat_pol_family_of(sock), struct socket *sock, void *msg, int size)
MOAT_SECURITY_DENIES(moat_pol_socket_connect, socket_connect, moat_pol_family_of(sock), struct socket *sock, void *address,
		     int addrlen)
