/* SPDX-License-Identifier: GPL-2.0-only */
/* What a packet's own headers say. */
#ifndef MOAT_ENFORCE_HEADER_BPF_H
#define MOAT_ENFORCE_HEADER_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct moat_pol_header {
	__u8 peer[16] __attribute__((aligned(8))); /* the far end; of IPv4 the first four */
	__u32 at; /* where the header of the transport begins; 0: it has none here (a fragment but the first, or no packet at all) */
	__u16 peer_port; /* host byte order; 0: the transport has no ports */
	__u8 transport; /* IPPROTO_*; 0 and no address: it is no packet of IP */
	__u8 v6;
};

/* incoming: the far end is the source. */
static __always_inline void moat_pol_header_of(struct __sk_buff *skb, struct moat_pol_header *to, int incoming)
{
	__u8 head[40], ports[4];

	__builtin_memset(to, 0, sizeof(*to));
	if (bpf_skb_load_bytes(skb, 0, head, 20))
		return;
	if (head[0] >> 4 == 4) {
		__builtin_memcpy(to->peer, head + (incoming ? 12 : 16), 4);
		to->transport = head[9];
		if ((head[6] & 0x1f) | head[7]) /* an offset: no header of the transport's here */
			return;
		to->at = (head[0] & 15) * 4;
	} else if (head[0] >> 4 == 6) {
		if (bpf_skb_load_bytes(skb, 0, head, 40))
			return;
		__builtin_memcpy(to->peer, head + (incoming ? 8 : 24), 16);
		to->v6 = 1;
		to->transport = head[6];
		if (*(__u64 *)to->peer == 0 && *(__u32 *)(to->peer + 8) == bpf_htonl(0xffff)) {
			/* IPv4-mapped on the wire: no such thing leaves a correct stack; rules of IPv4 are to hold all the same */
			*(__u32 *)to->peer = *(__u32 *)(to->peer + 12);
			*(__u64 *)(to->peer + 8) = 0;
			to->v6 = 0;
		}
		to->at = 40;
	} else {
		return;
	}
	if (to->transport != 6 && to->transport != 17 && to->transport != 136) /* TCP, UDP, UDP-Lite */
		return;
	if (bpf_skb_load_bytes(skb, to->at, ports, 4))
		to->at = 0;
	else
		to->peer_port = (__u16)ports[incoming ? 0 : 2] << 8 | ports[incoming ? 1 : 3];
}

/* Where TCP's payload begins; 0: nowhere. */
static __always_inline __u32 moat_pol_tcp(struct __sk_buff *skb, __u32 at, __u32 *seq, int *syn)
{
	__u8 tcp[14];

	if (!at || bpf_skb_load_bytes(skb, at, tcp, sizeof(tcp)))
		return 0;
	*seq = (__u32)tcp[4] << 24 | (__u32)tcp[5] << 16 | (__u32)tcp[6] << 8 | tcp[7];
	*syn = tcp[13] & 2;
	return at + (tcp[12] >> 4) * 4;
}

#endif
