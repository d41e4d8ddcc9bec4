/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * DNS answers that a cgroup's sockets receive: the addresses in them are known to that cgroup by the name that was asked for, as long as the
 * answer says. Only answers of resolvers that the configuration names are believed, and over the loopback device only those of resolvers of
 * this host: a process that answers itself would else open any address to itself.
 *
 * The program runs before the socket gets the answer, so that what is learnt is there when the process connects.
 */
#include "../kernel/read.bpf.h"
#include "../lib/hook.bpf.h"
#include "../lib/stats.bpf.h"
#include "header.bpf.h"
#include "peername.bpf.h"

#define DNS_PORT 53
#define DNS_HEADER 12
#define DNS_A 1
#define DNS_CNAME 5
#define DNS_AAAA 28
#define DNS_IN 1
#define LOOPBACK_IFINDEX 1 /* in every network namespace */
#define MOAT_POL_DNS_STEPS 128 /* labels and records */

/* Softirq on one CPU runs one at a time. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct moat_pol_dns_message);
} moat_pol_message SEC(".maps");

static const __u8 moat_pol_nothing_learnt[sizeof(struct moat_pol_learnt)] = {};

struct moat_pol_dns_walk {
	struct moat_pol_dns_message *message;
};

static __always_inline __u32 moat_pol_dns_byte(const struct moat_pol_dns_message *message, __u32 at)
{
	return message->bytes[at & (MOAT_POL_DNS_LEN - 1)];
}

static __always_inline __u32 moat_pol_dns_word(const struct moat_pol_dns_message *message, __u32 at)
{
	return moat_pol_dns_byte(message, at) << 8 | moat_pol_dns_byte(message, at + 1);
}

/* A label of the question. */
static __noinline int moat_pol_dns_label(__u32 i, struct moat_pol_dns_walk *walk)
{
	struct moat_pol_dns_message *message = walk->message;
	__u32 len;

	if (message->at >= message->end) {
		message->wrong = MOAT_TABLE_DNS_MALFORMED;
		return 1;
	}
	len = moat_pol_dns_byte(message, message->at);
	message->at += 1 + len;
	if (len > 63)
		message->wrong = MOAT_TABLE_DNS_MALFORMED; /* a pointer among them: to what? */
	return !len || len > 63;
}

/* A byte of it, put down from the end. */
static __noinline int moat_pol_dns_letter(__u32 i, struct moat_pol_dns_walk *walk)
{
	struct moat_pol_dns_message *message = walk->message;
	__u32 at = DNS_HEADER + 1 + i, to = message->name_len - 1 - i;
	__u8 byte;

	if (i >= message->name_len)
		return 1;
	byte = moat_pol_dns_byte(message, at);
	if (at == message->next) {
		message->next = at + 1 + byte;
		byte = '.';
	} else {
		byte = moat_pol_letter(byte);
		if (!byte) {
			message->wrong =
				MOAT_TABLE_DNS_MALFORMED; /* a dot or a 0 within a label would make it look like another name */
			return 1;
		}
	}
	if (to < MOAT_POL_NAME_LEN)
		message->text.name[to] = byte;
	return 0;
}

static __always_inline __u64 moat_pol_differ(const struct moat_pol_text *a, const struct moat_pol_text *b)
{
	const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;
	__u64 differ = 0;

#pragma unroll
	for (int i = 0; i < MOAT_POL_NAME_LEN / 8; i++)
		differ |= x[i] ^ y[i];
	return differ;
}

/*
 * A place for the name: where it is already; else one that has expired; else any. Steps 0 to 3, 4 to 7, and 8. Two answers at once for one
 * address may take two places for one name, which does no harm.
 */
static __noinline int moat_pol_learn_step(__u32 i, struct moat_pol_dns_walk *walk)
{
	struct moat_pol_dns_message *message = walk->message;
	struct moat_pol_learnt *learnt = bpf_map_lookup_elem(&moat_pol_learnt, &message->key);
	struct moat_pol_learnt_name *name;
	__u64 now_ns = bpf_ktime_get_ns(), take;

	if (!learnt)
		return 1;
	name = &learnt->names[i % MOAT_POL_LEARNT_NAMES];
	bpf_spin_lock(&learnt->lock);
	take = i < MOAT_POL_LEARNT_NAMES ? !moat_pol_differ(&name->text, &message->text)
					 : i >= 2 * MOAT_POL_LEARNT_NAMES || name->expires_ns <= now_ns;
	if (take) {
		if (i >= MOAT_POL_LEARNT_NAMES || name->expires_ns < message->expires_ns)
			name->expires_ns = message->expires_ns;
		moat_pol_copy_name(&name->text, &message->text);
	}
	bpf_spin_unlock(&learnt->lock);
	return take != 0;
}

static __noinline int moat_pol_learn(struct moat_pol_dns_walk *walk)
{
	struct moat_pol_dns_message *message = walk->message;

	if (!bpf_map_lookup_elem(&moat_pol_learnt, &message->key) &&
	    bpf_map_update_elem(&moat_pol_learnt, &message->key, moat_pol_nothing_learnt, BPF_NOEXIST) &&
	    !bpf_map_lookup_elem(&moat_pol_learnt, &message->key))
		moat_count_table_full(MOAT_TABLE_DNS_FULL);
	moat_loop(2 * MOAT_POL_LEARNT_NAMES + 1, moat_pol_learn_step, walk);
	return 0;
}

static __always_inline void moat_pol_dns_record(struct moat_pol_dns_walk *walk, __u32 at, __u32 type, __u32 len)
{
	struct moat_pol_dns_message *message = walk->message;
	const __u8 *data = message->bytes + ((at + 10) & (MOAT_POL_DNS_LEN - 1));
	__u64 ttl_ns = ((__u64)moat_pol_dns_word(message, at + 4) << 16 | moat_pol_dns_word(message, at + 6)) * 1000000000ull;
	__u32 *address = (__u32 *)message->key.address;

	if (moat_pol_dns_word(message, at + 2) != DNS_IN)
		return;
	if (ttl_ns > message->ttl_ns)
		ttl_ns = message->ttl_ns;
	if (type == DNS_CNAME) {
		message->ttl_ns = ttl_ns;
		return;
	}
	if (type != message->type || len != (type == DNS_A ? 4 : 16))
		return;
	if (ttl_ns < MOAT_POL_TTL_MIN_NS)
		ttl_ns = MOAT_POL_TTL_MIN_NS;
	message->expires_ns = bpf_ktime_get_ns() + ttl_ns;
	__builtin_memcpy(message->key.address, data, 16);
	if (type == DNS_A) {
		address[1] = 0;
		address[2] = 0;
		address[3] = 0;
	}
	moat_pol_learn(walk);
}

/* A label before a record, or the record. */
static __noinline int moat_pol_dns_step(__u32 i, struct moat_pol_dns_walk *walk)
{
	struct moat_pol_dns_message *message = walk->message;
	__u32 at = message->at, byte, type, len;

	if (!message->records)
		return 1;
	if (message->in_name) {
		byte = moat_pol_dns_byte(message, at);
		message->at = at + (byte >= 0xc0 ? 2 : 1 + byte);
		message->in_name = byte && byte < 0xc0;
		if (message->at >= message->end || (byte > 63 && byte < 0xc0)) {
			message->wrong = MOAT_TABLE_DNS_MALFORMED;
			return 1;
		}
		return 0;
	}
	type = moat_pol_dns_word(message, at);
	len = moat_pol_dns_word(message, at + 8);
	if (at + 10 + len > message->end) {
		message->wrong = MOAT_TABLE_DNS_MALFORMED;
		return 1;
	}
	moat_pol_dns_record(walk, at, type, len);
	message->at = at + 10 + len;
	message->in_name = 1;
	message->records--;
	return 0;
}

/* Returns what is wrong with it; 0: nothing. */
static __always_inline __u32 moat_pol_read_answer(struct moat_pol_dns_walk *walk)
{
	struct moat_pol_dns_message *message = walk->message;

	/* A response, to a standard query of one question, without an error */
	if (message->end < DNS_HEADER + 5 || (message->bytes[2] & 0xf8) != 0x80 || message->bytes[3] & 0x0f ||
	    moat_pol_dns_word(message, 4) != 1)
		return MOAT_TABLE_DNS_MALFORMED;
	message->wrong = 0;
	message->records = moat_pol_dns_word(message, 6);
	message->at = DNS_HEADER;
	moat_loop(128, moat_pol_dns_label, walk);
	if (message->wrong)
		return message->wrong;
	message->name_len = message->at - DNS_HEADER - 2;
	message->type = moat_pol_dns_word(message, message->at);
	if (message->at + 4 > message->end || message->name_len > 254)
		return MOAT_TABLE_DNS_MALFORMED;
	if (message->type != DNS_A && message->type != DNS_AAAA)
		return 0;
	message->at += 4;
	message->next = DNS_HEADER + 1 + moat_pol_dns_byte(message, DNS_HEADER);
	__builtin_memset(&message->text, 0, sizeof(message->text));
	moat_loop(254, moat_pol_dns_letter, walk);
	if (message->wrong)
		return message->wrong;
	if (!moat_pol_pattern(&message->text, *(volatile __u32 *)&moat_control.policy_generation))
		return 0; /* nobody speaks of it */
	message->key.v6 = message->type == DNS_AAAA;
	message->key.pad = 0;
	message->ttl_ns = MOAT_POL_TTL_MAX_NS;
	message->in_name = 1;
	moat_loop(MOAT_POL_DNS_STEPS, moat_pol_dns_step, walk);
	return message->wrong ? message->wrong : message->records ? MOAT_TABLE_DNS_TOO_LONG : 0;
}

static __always_inline void moat_pol_answered(struct __sk_buff *skb, __u32 protocol)
{
	struct moat_pol_resolver_key resolver = {};
	struct moat_pol_dns_walk walk = {};
	struct moat_pol_header header;
	__u32 zero = 0, payload, seq, *flags, len, wrong;
	__u8 whole[2] = {};
	int syn;

	moat_pol_header_of(skb, &header, 1);
	if (header.peer_port != DNS_PORT || !header.at)
		return;
	payload = protocol == 6 ? moat_pol_tcp(skb, header.at, &seq, &syn) + 2 : header.at + 8;
	if (payload >= skb->len)
		return;
	__builtin_memcpy(resolver.address, header.peer, sizeof(resolver.address));
	resolver.v6 = header.v6;
	flags = bpf_map_lookup_elem(&moat_pol_resolvers, &resolver);
	if (!flags || (skb->ifindex == LOOPBACK_IFINDEX && !(*flags & MOAT_POL_RESOLVER_LOCAL))) {
		moat_count_table_full(MOAT_TABLE_DNS_UNTRUSTED);
		return;
	}
	walk.message = bpf_map_lookup_elem(&moat_pol_message, &zero);
	if (!walk.message)
		return;
	len = skb->len - payload;
	walk.message->end = len;
	if (protocol == 6 && bpf_skb_load_bytes(skb, payload - 2, whole, 2)) /* over TCP the length comes first */
		return;
	if (len > MOAT_POL_DNS_LEN || (protocol == 6 && ((__u32)whole[0] << 8 | whole[1]) != len)) {
		moat_count_table_full(MOAT_TABLE_DNS_TOO_LONG);
		return;
	}
	len--; /* so that the verifier sees that it is not 0 */
	asm volatile("" : "+r"(len));
	if (len >= MOAT_POL_DNS_LEN || bpf_skb_load_bytes(skb, payload, walk.message->bytes, len + 1))
		return;
	walk.message->key.cgroup_id = bpf_skb_cgroup_id(skb);
	wrong = moat_pol_read_answer(&walk);
	if (wrong)
		moat_count_table_full(wrong);
}

MOAT_HOOK("cgroup_skb/ingress", moat_pol_answer)
int moat_pol_answer(struct __sk_buff *skb)
{
	struct bpf_sock *sk;

	moat_ran(moat_pol_answer);
	if (!*(volatile __u32 *)&moat_control.policy_names || !skb->sk)
		return 1;
	sk = bpf_sk_fullsock(skb->sk);
	if (sk && (sk->protocol == 6 || sk->protocol == 17))
		moat_pol_answered(skb, sk->protocol);
	return 1;
}
