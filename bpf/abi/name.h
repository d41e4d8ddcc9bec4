/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Peers by name: which names an address was learnt from, which names policies speak of, and what was read of a TLS connection.
 *
 * A name is kept in lower case, without a final dot, backwards ("moc.elpmaxe.a"), so that all names below a domain begin alike and a trie
 * of prefixes finds the narrowest pattern that fits.
 */
#ifndef MOAT_ABI_NAME_H
#define MOAT_ABI_NAME_H

#include "policy.h"

#define MOAT_POL_NAME_LEN 128 /* the final 0 included */

struct moat_pol_text {
	char name[MOAT_POL_NAME_LEN] __attribute__((aligned(8))); /* copied by words */
};

/*
 * An LPM trie. prefix_bits counts all that follow it. An exact name ends with a 0, which counts; a wildcard ("*.example.com") with a dot.
 * A name that is longer than there is room for has no final 0: only wildcards fit it. Value (__u32): a number, from 1, of the pattern; the
 * rules of all patterns around it are united in its sets (moat_pol_named), as those of prefixes are.
 */
struct moat_pol_name_key {
	__u32 prefix_bits;
	__u32 generation;
	struct moat_pol_text text;
};
#define MOAT_POL_NAME_FIXED 32u /* bits before the name */

/* Value (__u32): a set of ports, or of masks, as of moat_pol_peers. */
struct moat_pol_named_key {
	__u32 generation;
	__u32 list;
	__u32 pattern; /* value of moat_pol_names */
	__u32 pad;
};

/* DNS servers whose answers are believed. Value (__u32): MOAT_POL_RESOLVER_*. */
struct moat_pol_resolver_key {
	__u8 address[16];
	__u32 v6;
	__u32 pad;
};
#define MOAT_POL_RESOLVER_LOCAL 0x1u /* an address of this host: its answers come over the loopback device */

/* Of an address, in the eyes of one cgroup: what others have resolved is not its own knowledge. */
struct moat_pol_learnt_key {
	__u64 cgroup_id;
	__u8 address[16];
	__u32 v6;
	__u32 pad;
};

struct moat_pol_learnt_name {
	__u64 expires_ns; /* CLOCK_MONOTONIC; 0: nothing here */
	struct moat_pol_text text;
};

#define MOAT_POL_LEARNT_NAMES 4 /* of one address; the one that expires first goes */

struct moat_pol_learnt {
	MOAT_LOCK lock;
	__u32 pad;
	struct moat_pol_learnt_name names[MOAT_POL_LEARNT_NAMES];
};

#define MOAT_POL_TTL_MIN_NS 2000000000ull     /* whoever asked is to have the time to connect, also where the answer says 0 */
#define MOAT_POL_TTL_MAX_NS 86400000000000ull /* a day */

/*
 * A ClientHello: key shares of 1.2 KB and tickets of some KB occur. With what is kept beside it below 8 KB, since newer kernels (seen on
 * 7.3, not on 6.18) make no larger storage of a socket.
 */
#define MOAT_POL_HELLO_LEN 4096

/* What was read of a TLS connection: in the socket's storage until it is closed. */
struct moat_pol_tls {
	__u32 next_seq; /* of the first byte that was not looked at */
	__u16 filled;   /* bytes of the handshake message so far */
	__u16 left;     /* of the TLS record at hand */
	__u8 head_len;  /* of the record's header so far */
	__u8 head[5];
	__u8 pad[2];
	struct moat_pol_text text; /* of the SNI, when moat_pol_sock.phase says so */
};

#define MOAT_POL_CHUNK 1024 /* of a message, copied at once */

/*
 * A ClientHello while it comes in, and how far it is read. In a map, not on the stack: what the verifier does not know of a value it need not
 * tell apart, and the loops over it are as one step to it.
 */
struct moat_pol_hello_bytes {
	__u8 bytes[MOAT_POL_HELLO_LEN + MOAT_POL_CHUNK];
	__u32 at, end; /* of the bytes of a packet; then of the extensions */
	__u32 phase;   /* MOAT_POL_READING: there is more to come. MOAT_POL_NAMED: the message is whole */
	__u32 name_at, name_len; /* 0: none */
	__u32 why; /* MOAT_WHY_*; MOAT_WHY_RULE: nothing is wrong yet */
};

#define MOAT_POL_DNS_LEN 4096

/* The same of an answer. */
struct moat_pol_dns_message {
	__u8 bytes[MOAT_POL_DNS_LEN + 16]; /* 16: a mask keeps only the first byte of a record in bounds */
	struct moat_pol_text text;         /* the name that was asked for */
	struct moat_pol_learnt_key key;    /* address: of the record at hand */
	__u64 ttl_ns; /* of the records so far: a chain is good as long as each of its links */
	__u64 expires_ns;
	__u32 at, end;
	__u32 next; /* in the question: where the next label's length stands */
	__u32 name_len;
	__u32 records; /* still to come */
	__u32 wrong;   /* enum moat_pol_dns; 0: nothing */
	__u32 type;    /* that was asked for */
	__u32 in_name;
};

#endif
