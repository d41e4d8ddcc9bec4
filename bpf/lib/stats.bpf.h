/* SPDX-License-Identifier: GPL-2.0-only */
/* The ledger: every event tried is counted, and every loss has a name. */
#ifndef MOAT_LIB_STATS_BPF_H
#define MOAT_LIB_STATS_BPF_H

#include "maps.bpf.h"

static __always_inline struct moat_stat *moat_stat(__u32 kind)
{
	return bpf_map_lookup_elem(&moat_stats, &kind);
}

static __always_inline void moat_count_table_full(__u32 table)
{
	__u64 *n = bpf_map_lookup_elem(&moat_table_full, &table);

	if (n)
		__sync_fetch_and_add(n, 1); /* per CPU, but programs of one CPU may preempt each other */
}

#endif
