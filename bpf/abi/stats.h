/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The ledger's kernel half. Per CPU, per kind: submitted to a ring = attempted - lost_ring_full. User space adds the program runs that
 * the kernel itself skipped (bpf_prog_info.recursion_misses), decoding failures and full queues.
 */
#ifndef MOAT_ABI_STATS_H
#define MOAT_ABI_STATS_H

#include "event.h"

/* Per-CPU array, index: moat_kind. */
struct moat_stat {
	__u64 attempted;
	__u64 lost_ring_full;
	__u64 unreadable; /* delivered, but with MOAT_F_UNREADABLE */
};

/* Per-CPU array, index: moat_table. Entries that a full table refused: no event is lost, but a sum or a label is. */
enum moat_table {
	MOAT_TABLE_INODES = 0,
	MOAT_TABLE_PROCS = 1, /* labels */
	MOAT_TABLE_IO = 2,
	MOAT_TABLE_GPU = 3,
	MOAT_TABLE_FLOWS = 4,
	MOAT_TABLE_NET_TOTALS = 5,
	MOAT_TABLE_SOCKETS = 6, /* no memory to remember a socket by: its packet was dropped */
	MOAT_TABLE_SENT = 7, /* no room to count what a holder sends: it was not sent */
	/* Not of a table but of what was not learnt, and so of names that no rule then knows (dns.bpf.c). */
	MOAT_TABLE_DNS_UNTRUSTED =
		8, /* from a server that is none of the resolvers, or by a way on which anybody could have sent it */
	MOAT_TABLE_DNS_MALFORMED = 9, /* not an answer to one question that can be read to its end */
	MOAT_TABLE_DNS_TOO_LONG = 10, /* of more bytes, or records, than are looked at: what stood before was learnt */
	MOAT_TABLE_DNS_FULL = 11,     /* no room for the address */
	MOAT_TABLE_GPU_OWNERS = 12, /* whose a client, an address space or a file is */
	MOAT_TABLE_COUNT = 16,
};

#endif
