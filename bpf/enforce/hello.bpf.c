/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The name in a TLS connection's ClientHello (SNI, RFC 6066 3), read as it leaves. It only reads: moat_pol_packet decides, and drops what
 * this program has not looked at, so that the order in which the two run does not matter.
 *
 * The message may be spread over any number of segments, and over several records within them (RFC 8446 5.1). Its bytes are gathered in
 * the socket's storage until it is whole. A retransmission brings nothing new: TCP sends the same bytes again.
 */
#include "../abi/verdict.h"
#include "../kernel/read.bpf.h"
#include "../lib/hook.bpf.h"
#include "../lib/stats.bpf.h"
#include "header.bpf.h"
#include "peername.bpf.h"

#define TLS_HANDSHAKE 22
#define TLS_CLIENT_HELLO 1
#define EXT_SERVER_NAME 0
#define EXT_ENCRYPTED_CLIENT_HELLO 0xfe0d
#define MOAT_POL_STEPS 64       /* record headers' bytes, records and chunks of one packet */
#define MOAT_POL_EXTENSIONS 128

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct moat_pol_hello_bytes);
} moat_pol_hellos SEC(".maps");

struct moat_pol_reading {
	struct __sk_buff *skb;
	struct moat_pol_tls *tls;
	struct moat_pol_hello_bytes *hello;
};

/* The header of a record is whole. */
static __always_inline __u32 moat_pol_record(struct moat_pol_tls *tls)
{
	if (tls->head[0] != TLS_HANDSHAKE || tls->head[1] != 3) {
		if (tls->filled)
			return MOAT_POL_UNREADABLE; /* something else in the midst of it */
		/* A ClientHello in the clothes of SSLv2, which servers took for long: it cannot carry a name. */
		return tls->head[0] & 0x80 && tls->head[2] == TLS_CLIENT_HELLO && tls->head[3] <= 3 ? MOAT_POL_UNREADABLE
												    : MOAT_POL_PLAIN;
	}
	tls->left = (__u16)tls->head[3] << 8 | tls->head[4];
	return tls->left ? MOAT_POL_READING : MOAT_POL_UNREADABLE;
}

static __noinline int moat_pol_read(__u32 i, struct moat_pol_reading *reading)
{
	struct moat_pol_hello_bytes *hello = reading->hello;
	struct moat_pol_tls *tls = reading->tls;
	__u32 n, at, head_len = tls->head_len;
	__u8 *bytes = hello->bytes, byte;

	if (hello->at >= hello->end)
		return 1;
	if (head_len < sizeof(tls->head)) {
		if (bpf_skb_load_bytes(reading->skb, hello->at, &byte, 1)) {
			hello->phase = MOAT_POL_UNREADABLE;
			return 1;
		}
		if (!head_len && !tls->filled && byte != TLS_HANDSHAKE && !(byte & 0x80)) {
			hello->phase = MOAT_POL_PLAIN;
			return 1;
		}
		tls->head[head_len] = byte;
		tls->head_len = head_len + 1;
		hello->at++;
		if (head_len + 1 == sizeof(tls->head))
			hello->phase = moat_pol_record(tls);
		return hello->phase != MOAT_POL_READING;
	}
	at = tls->filled;
	n = hello->end - hello->at;
	if (n > tls->left)
		n = tls->left;
	if (n > MOAT_POL_CHUNK)
		n = MOAT_POL_CHUNK;
	if (at + n > MOAT_POL_HELLO_LEN || !n) {
		hello->phase = MOAT_POL_UNREADABLE;
		return 1;
	}
	at &= MOAT_POL_HELLO_LEN - 1; /* what the comparison says of a sum is lost on the verifier */
	asm volatile("" : "+r"(at));
	n--; /* so that it sees that this is not 0 */
	asm volatile("" : "+r"(n));
	if (n >= MOAT_POL_CHUNK || bpf_skb_load_bytes(reading->skb, hello->at, bytes + at, n + 1)) {
		hello->phase = MOAT_POL_UNREADABLE;
		return 1;
	}
	n++;
	tls->filled = at + n;
	tls->left -= n;
	hello->at += n;
	if (!tls->left)
		tls->head_len = 0;
	if (tls->filled < 4)
		return 0;
	if (bytes[0] != TLS_CLIENT_HELLO || bytes[1])
		hello->phase = MOAT_POL_UNREADABLE;
	else if (tls->filled >= 4 + ((__u32)bytes[2] << 8 | bytes[3]))
		hello->phase = MOAT_POL_NAMED;
	return hello->phase != MOAT_POL_READING;
}

static __always_inline __u32 moat_pol_byte(const struct moat_pol_hello_bytes *hello, __u32 at)
{
	return hello->bytes[at & (MOAT_POL_HELLO_LEN - 1)];
}

static __always_inline __u32 moat_pol_word(const struct moat_pol_hello_bytes *hello, __u32 at)
{
	return moat_pol_byte(hello, at) << 8 | moat_pol_byte(hello, at + 1);
}

/* One extension. */
static __noinline int moat_pol_extension(__u32 i, struct moat_pol_reading *reading)
{
	struct moat_pol_hello_bytes *hello = reading->hello;
	__u32 at = hello->at, type, len;

	if (at >= hello->end)
		return 1;
	type = moat_pol_word(hello, at);
	len = moat_pol_word(hello, at + 2);
	hello->at = at + 4 + len;
	if (at + 4 + len > hello->end) {
		hello->why = MOAT_WHY_NO_SNI;
		return 1;
	}
	if (type == EXT_ENCRYPTED_CLIENT_HELLO) {
		hello->why = MOAT_WHY_ECH;
		return 1;
	}
	if (type != EXT_SERVER_NAME)
		return 0;
	/* A list of one name of type host_name: no other kind was ever made. */
	if (hello->name_len || len < 6 || len > 5 + 255 || moat_pol_word(hello, at + 4) != len - 2 ||
	    moat_pol_byte(hello, at + 6) || moat_pol_word(hello, at + 7) != len - 5) {
		hello->why = MOAT_WHY_NO_SNI;
		return 1;
	}
	hello->name_at = at + 9;
	hello->name_len = len - 5;
	return 0;
}

static __noinline int moat_pol_name_byte(__u32 i, struct moat_pol_reading *reading)
{
	struct moat_pol_hello_bytes *hello = reading->hello;
	__u32 to = hello->name_len - 1 - i;
	__u8 byte;

	if (i >= hello->name_len)
		return 1;
	byte = moat_pol_byte(hello, hello->name_at + i);
	if (byte != '.')
		byte = moat_pol_letter(byte);
	if (!byte) {
		hello->why = MOAT_WHY_NO_SNI; /* among others a 0, which would end an exact name early */
		return 1;
	}
	if (to < MOAT_POL_NAME_LEN)
		reading->tls->text.name[to] = byte;
	return 0;
}

/* The message is whole: RFC 8446 4.1.2. Returns why it has no name; MOAT_WHY_RULE: it has. */
static __always_inline __u32 moat_pol_parse(struct moat_pol_reading *reading)
{
	struct moat_pol_hello_bytes *hello = reading->hello;
	__u32 end = 4 + moat_pol_word(hello, 2), at = 4 + 2 + 32;

	at += 1 + moat_pol_byte(hello, at); /* session id */
	at += 2 + moat_pol_word(hello, at); /* cipher suites */
	if (at >= end)
		return MOAT_WHY_NO_SNI;
	at += 1 + moat_pol_byte(hello, at); /* compression methods */
	if (at + 2 > end || at + 2 + moat_pol_word(hello, at) != end)
		return MOAT_WHY_NO_SNI;
	hello->at = at + 2;
	hello->end = end;
	hello->name_len = 0;
	hello->why = MOAT_WHY_RULE;
	moat_loop(MOAT_POL_EXTENSIONS, moat_pol_extension, reading);
	if (hello->why != MOAT_WHY_RULE)
		return hello->why;
	if (hello->at != hello->end || !hello->name_len)
		return MOAT_WHY_NO_SNI;
	__builtin_memset(&reading->tls->text, 0, sizeof(reading->tls->text));
	moat_loop(255, moat_pol_name_byte, reading);
	return hello->why;
}

static __always_inline void moat_pol_hello_of(struct __sk_buff *skb, struct bpf_sock *sk, struct moat_pol_sock *socket)
{
	struct moat_pol_reading reading = {.skb = skb};
	struct moat_pol_header header;
	__u32 seq = 0, payload, skip, phase, end = skb->len;
	int syn = 0;

	moat_pol_header_of(skb, &header, 0);
	payload = moat_pol_tcp(skb, header.at, &seq, &syn);
	if (!payload)
		return;
	reading.tls = bpf_sk_storage_get(&moat_pol_tls, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!reading.tls) {
		moat_count_table_full(MOAT_TABLE_SOCKETS);
		return;
	}
	if (syn) {
		seq++;
		reading.tls->next_seq = seq;
		reading.tls->filled = 0;
		reading.tls->head_len = 0;
		socket->phase = MOAT_POL_READING;
	} else if (socket->phase == MOAT_POL_OPENING) {
		socket->phase = MOAT_POL_UNSEEN; /* no answer to be sure of: where it begins is not known */
		return;
	}
	if (payload >= end)
		return;
	skip = reading.tls->next_seq - seq;
	if (skip >= end - payload && (__s32)skip >= 0)
		return; /* sent before */
	if ((__s32)skip < 0) {
		socket->why = MOAT_WHY_NO_SNI;
		socket->phase = MOAT_POL_UNREADABLE;
		return;
	}
	reading.hello = bpf_sk_storage_get(&moat_pol_hellos, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!reading.hello) {
		moat_count_table_full(MOAT_TABLE_SOCKETS);
		return;
	}
	reading.hello->at = payload + skip;
	reading.hello->end = end;
	reading.hello->phase = MOAT_POL_READING;
	moat_loop(MOAT_POL_STEPS, moat_pol_read, &reading);
	reading.tls->next_seq = seq + (end - payload);
	phase = reading.hello->phase;
	if (phase == MOAT_POL_READING && reading.hello->at >= end)
		return;
	socket->why = MOAT_WHY_NO_SNI;
	if (phase == MOAT_POL_NAMED) {
		socket->why = moat_pol_parse(&reading);
		phase = socket->why == MOAT_WHY_RULE ? MOAT_POL_NAMED : MOAT_POL_UNREADABLE;
	} else if (phase != MOAT_POL_PLAIN) {
		phase = MOAT_POL_UNREADABLE; /* also in crumbs of records: more than anybody honest makes of it */
	}
	socket->phase = phase;
	bpf_sk_storage_delete(&moat_pol_hellos, sk);
}

MOAT_HOOK("cgroup_skb/egress", moat_pol_hello)
int moat_pol_hello(struct __sk_buff *skb)
{
	struct moat_pol_sock *socket;
	struct bpf_sock *sk;

	moat_ran(moat_pol_hello);
	if (!*(volatile __u32 *)&moat_control.policy_names || !skb->sk)
		return 1;
	sk = bpf_sk_fullsock(skb->sk);
	if (!sk || sk->protocol != 6)
		return 1;
	socket = bpf_sk_storage_get(&moat_pol_socks, sk, 0, 0);
	if (socket && (socket->phase == MOAT_POL_OPENING || socket->phase == MOAT_POL_READING))
		moat_pol_hello_of(skb, sk, socket);
	return 1;
}
