/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The policy image: rows that user space compiles (agent/policy/compile.h) and the programs of domain enforce look up. Every key begins
 * with the generation it belongs to. A decision reads moat_control.policy_generation once and looks at rows of that one only, so that the
 * store of a new number swaps all of it at once.
 *
 * Who: the cgroup of the process, or the nearest above it that has a row, gives a profile: a set of policies that select alike. Where a
 * profile asks for it, the executable's inode gives another one.
 * Where to: a list (the peers of a set of policies), then the longest prefix of the address gives a set of ports, in which the rules of
 * all wider prefixes are united already, then protocol and port give the rule.
 */
#ifndef MOAT_ABI_POLICY_H
#define MOAT_ABI_POLICY_H

#include "event.h"

/* A rule's number: 0 is none. Numbers are unique among the images that are in the kernel. */
#define MOAT_RULE_DENY 0x80000000u /* the rule denies */
#define MOAT_RULES 131072          /* slots of the counters: two images' worth */

/* A lock of the kernel's (struct bpf_spin_lock, of <linux/bpf.h>, which programs include first), of which user space keeps its hands off. */
#if defined(__bpf__) && defined(__LINUX_BPF_H__)
#define MOAT_LOCK struct bpf_spin_lock
#else
#define MOAT_LOCK __u32
#endif

#define MOAT_POL_LEVELS 32 /* how deep in the tree of cgroups rows are looked for */

/* The two answers that each decision has: of the enforced policies, and of these and those in dry-run together. */
enum moat_pol_part {
	MOAT_POL_ENFORCED = 0,
	MOAT_POL_WOULD = 1,
	MOAT_POL_PARTS = 2,
};

struct moat_pol_cgroup_key {
	__u64 cgroup_id;
	__u32 generation;
	__u32 pad;
};

struct moat_pol_cgroup {
	__u32 profile; /* of processes in this very cgroup */
	__u32 below; /* of those in a cgroup below it that has no row: it may have come a moment ago */
	__u64 subject; /* whose budgets they use: the same for all cgroups of a workload, and after a restart of its processes */
};

struct moat_pol_profile_key {
	__u32 generation;
	__u32 profile;
};

/*
 * All rule numbers here are of denials, 0: none. Holders: where each may not go is one look-up for all labels, by masks (holders, others);
 * which rule said so (moat_pol_holding) is looked up for the first that is denied alone.
 */
struct moat_pol_egress {
	__u64 holding; /* bit n: something is said of holders of asset n */
	__u64 others; /* bit n: they go nowhere that is not in the list of holders */
	__u64 budgeted; /* bit n: holders of asset n have a budget */
	__u32 holders; /* list whose sets are of masks (moat_pol_masks); 0: no list */
	__u32 list; /* 0: no list */
	__u32 fallback; /* egress.default: deny */
	__u32 unknown; /* who it is is not known, and a policy denies that */
};

#define MOAT_POL_GPU_CATEGORIES 8

struct moat_pol_gpu {
	__u32 use;
	__u32 calls[MOAT_POL_GPU_CATEGORIES]; /* by bit number of the category */
	__u32 pad;
};

#define MOAT_POL_BY_EXE 0x1u /* processes of some executables have another profile (moat_pol_by_exe) */
#define MOAT_POL_DRY 0x2u /* the parts differ: both are to be asked */
#define MOAT_POL_NAMES 0x4u /* some peer is told by its name (name.h) */
#define MOAT_POL_SPENDS 0x8u /* some holder has a budget */

struct moat_pol_profile {
	__u32 flags;
	__u32 pad;
	struct moat_pol_egress egress[MOAT_POL_PARTS];
	struct moat_pol_gpu gpu[MOAT_POL_PARTS];
	__u64 unread[MOAT_POL_PARTS]; /* bit n: may not read asset n (moat_pol_assets says by which rule) */
};

struct moat_pol_exe_key {
	__u64 inode;
	__u32 dev; /* major << 20 | minor */
	__u32 generation;
};

struct moat_pol_by_exe_key {
	__u32 generation;
	__u32 profile; /* as the cgroup gave it */
	__u32 exe; /* value of moat_pol_exes */
	__u32 pad;
};

struct moat_pol_holding_key {
	__u32 generation;
	__u32 profile;
	__u32 part;
	__u32 label;
};

/* What holders may send in a time, in bytes of payload. */
struct moat_pol_budget {
	__u64 bytes;
	__u32 per_seconds;
	__u32 rule; /* 0: no budget, nor any after it */
};
#define MOAT_POL_BUDGETS 2 /* of one asset, over different times */

struct moat_pol_holding {
	__u32 list; /* 0: no list */
	__u32 fallback; /* holders may go to allowed peers only */
	struct moat_pol_budget budgets[MOAT_POL_BUDGETS];
};

/* Who has sent: not by policy or generation, so that a change of policies does not make the sum small again. */
struct moat_pol_sent_key {
	__u64 subject; /* moat_pol_cgroup.subject */
	__u32 label;
	__u32 per_seconds;
	__u32 part; /* enum moat_pol_part: what policies in dry-run would have denied was sent */
	__u32 pad;
};

#define MOAT_POL_BUCKETS 16

/* A window that slides: a ring of buckets, each of a 15th of the time, of which the last 16 count. The sum is never too small. */
struct moat_pol_sent {
	MOAT_LOCK lock;
	__u32 pad;
	__u32 stamp[MOAT_POL_BUCKETS]; /* moat_pol_bucket: which one lies in the slot */
	__u64 bytes[MOAT_POL_BUCKETS];
};

/* Never 0 (no bucket yet), nor so small that an unused slot would count. now_ns: CLOCK_MONOTONIC. */
static inline __u32 moat_pol_bucket(__u64 now_ns, __u32 per_seconds)
{
	return (__u32)(now_ns / ((__u64)per_seconds * (1000000000u / (MOAT_POL_BUCKETS - 1) + 1))) + MOAT_POL_BUCKETS;
}

/* Addresses: IPv4 in the first four bytes. An LPM trie; prefix_bits counts all that follow it. */
struct moat_pol_peer_key {
	__u32 prefix_bits;
	__u32 generation;
	__u32 list; /* << 1 | IPv6 */
	__u8 address[16];
	__u32 pad;
};
#define MOAT_POL_PEER_FIXED 64u /* bits before the address */

enum moat_pol_protocol {
	MOAT_POL_OTHER = 0,
	MOAT_POL_TCP = 1,
	MOAT_POL_UDP = 2,
	MOAT_POL_ICMP = 3,
	MOAT_POL_REPLY = 4, /* on an accepted connection; port 0, since that of the caller says nothing */
};

/*
 * An LPM trie, too: a range of ports is up to 30 prefixes. Protocol and port in network order. Value: a rule in moat_pol_ports; a
 * moat_pol_mask in moat_pol_masks, whose sets are numbered apart.
 */
struct moat_pol_port_key {
	__u32 prefix_bits;
	__u32 generation;
	__u32 set; /* value of moat_pol_peers */
	__u8 pad;
	__u8 protocol;
	__u8 port[2];
};
#define MOAT_POL_PORT_FIXED 64u /* bits before the protocol's byte pair */

struct moat_pol_mask {
	__u64 denied; /* holders of these may not go there */
	__u64 allowed; /* holders of these may, where no other name or address of the peer denies it */
};

/* What is said of an asset, for each profile: only assets that some policy names have rows. */
enum moat_pol_operation {
	MOAT_POL_READ = 0,
	MOAT_POL_WRITE = 1,
	MOAT_POL_MAP = 2,
	MOAT_POL_EXEC = 3,
	MOAT_POL_OPERATIONS = 4,
};

struct moat_pol_asset_key {
	__u32 generation;
	__u32 profile;
	__u32 asset;
	__u32 pad;
};

struct moat_pol_asset {
	__u32 rule[MOAT_POL_PARTS][MOAT_POL_OPERATIONS];
};

#define MOAT_POL_LABEL_NAME 64

/* Whose label a bit is, for the agent that comes after this one: processes hold it. Index: the bit. */
struct moat_pol_label {
	char asset[MOAT_POL_LABEL_NAME];
};

/* A cgroup that came or went, on the ring moat_pol_news. */
enum moat_pol_news_what {
	MOAT_POL_CGROUP_MADE = 1,
	MOAT_POL_CGROUP_GONE = 2,
};

struct moat_pol_news {
	__u64 cgroup_id;
	__u32 what;
	__u32 level;
};

/* Index: a rule's number without MOAT_RULE_DENY, modulo MOAT_RULES. Counted up for each decision. */
struct moat_pol_count {
	__u64 allowed;
	__u64 denied;
	__u64 would_deny;
};

/* What a socket is known by, in its own storage. */
struct moat_pol_sock {
	__u64 labels; /* of all who have used it: what they wrote may still lie in its buffer */
	__u64 cgroup_id;
	__u64 start_ns;
	__u8 address[16]; /* the answer kept below is for this peer */
	__u32 generation;
	__u32 profile; /* of the one who used it last */
	__u32 pid; /* 0: nobody has used it yet */
	__u32 uid;
	__u32 rule; /* MOAT_RULE_DENY: of a denial */
	__u16 port;
	__u8 protocol;
	__u8 flags; /* MOAT_POL_SOCK_* */
	__u64 asked_labels;
	__u64 subject; /* moat_pol_cgroup.subject, of the one who used it last */
	__u64 opened_ns; /* when it was connected last: names that were good then are good for this connection */
	__u32 used_generation; /* in which the user's profile was found */
	__u32 asked_profile;
	__u8 phase; /* enum moat_pol_phase */
	__u8 why; /* of MOAT_POL_UNREADABLE: MOAT_WHY_* */
	__u8 asked_by; /* moat_pol_phase_class */
	__u8 budget; /* MOAT_POL_SENT_* */
	__u32 sent_seq; /* of the first byte of TCP that no budget has counted */
};
#define MOAT_POL_SOCK_ASKED 0x1u /* generation, address, port, protocol, rule and asked_labels hold */
#define MOAT_POL_SOCK_ACTIVE 0x2u /* connected from here */
#define MOAT_POL_SOCK_PASSIVE 0x4u /* accepted: rules of egress are about who is called, not about answers */

#define MOAT_POL_SENT_SEQ 0x1u /* sent_seq holds */
#define MOAT_POL_SENT_OVER 0x2u /* that a budget is used up was told, and nothing was sent since */
#define MOAT_POL_SENT_WOULD 0x4u /* the same of policies in dry-run */

/* By what name a connection goes. */
enum moat_pol_phase {
	MOAT_POL_UNSEEN = 0, /* its beginning was not seen: no name */
	MOAT_POL_OPENING = 1, /* connect() was called: the names that its address was learnt from */
	MOAT_POL_READING = 2, /* the same; the first bytes will tell more */
	MOAT_POL_PLAIN = 3, /* the same; it is not TLS */
	MOAT_POL_NAMED = 4, /* the name in its ClientHello */
	MOAT_POL_UNREADABLE = 5, /* it is TLS, and has no name that can be read */
};

/* Phases of one class have the same names, and an answer for one of them is an answer for all. */
static inline __u8 moat_pol_phase_class(__u8 phase)
{
	return phase > MOAT_POL_UNSEEN && phase < MOAT_POL_NAMED ? (__u8)MOAT_POL_OPENING : phase;
}

#endif
