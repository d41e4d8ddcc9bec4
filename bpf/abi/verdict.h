/* SPDX-License-Identifier: GPL-2.0-only */
/* What a policy decided: one record for each decision that a rule made. */
#ifndef MOAT_ABI_VERDICT_H
#define MOAT_ABI_VERDICT_H

#include "net.h"

#define MOAT_VERDICT_NAME_LEN 64
#define MOAT_NO_CATEGORY 0xffu

enum moat_verdict_action {
	MOAT_VERDICT_ALLOW = 1,
	MOAT_VERDICT_DENY = 2,
	MOAT_VERDICT_WOULD_DENY = 3, /* a policy in dry-run would have denied; it was allowed */
};

enum moat_verdict_operation {
	MOAT_VERDICT_CONNECT = 1,
	MOAT_VERDICT_SEND = 2,   /* a datagram, to the address that it names */
	MOAT_VERDICT_PACKET = 3, /* on a socket that was open before, raw or ICMP: the packet does not leave */
	MOAT_VERDICT_SOCKET = 4, /* a socket of another family */
	MOAT_VERDICT_READ = 8,
	MOAT_VERDICT_WRITE = 9,
	MOAT_VERDICT_MAP = 10,
	MOAT_VERDICT_EXEC = 11,
	MOAT_VERDICT_RENAME = 12,
	MOAT_VERDICT_UNLINK = 13,
	MOAT_VERDICT_LINK = 14,
	MOAT_VERDICT_SETATTR = 15,
	MOAT_VERDICT_TRUNCATE = 16,
	MOAT_VERDICT_GPU_USE = 24,
	MOAT_VERDICT_GPU_CALL = 25,
	MOAT_VERDICT_GPU_OPEN = 26, /* of a device that is a way to something: what its rows say */
	MOAT_VERDICT_GPU_MAP = 27,  /* of a resource of a PCI device */
	MOAT_VERDICT_GUARD = 32, /* moat's own maps and links */
};

struct moat_verdict {
	struct moat_hdr hdr;
	__u64 cookie; /* of the socket */
	struct moat_endpoints ep;
	__u64 inode;
	__u32 dev;
	__u32 asset; /* MOAT_NO_ASSET: none */
	__u32 rdev;
	__u32 command; /* of an ioctl; the resource's number, of a mapping */
	__u32 rule;    /* without MOAT_RULE_DENY */
	__u32 generation;
	__u8 action;
	__u8 operation;
	__u8 why; /* MOAT_WHY_* */
	__u8 category; /* of a GPU call: bit number; MOAT_NO_CATEGORY */
	__u32 pad;
	char name[MOAT_VERDICT_NAME_LEN]; /* of a file, a PCI device; of a connection's ClientHello, backwards (name.h) */
};

/* What the rule alone does not say. */
#define MOAT_WHY_RULE 0
#define MOAT_WHY_NO_SNI 1     /* the address was learnt from a name, and no name could be read from what was sent */
#define MOAT_WHY_ECH 2        /* ..., because it is encrypted */
#define MOAT_WHY_OTHER_NAME 3 /* ..., and the name that was sent is another */
#define MOAT_WHY_NOT_TCP 4    /* ..., and it is not TCP (QUIC) */
#define MOAT_WHY_BUDGET 5     /* the budget of a label is used up */

#endif
