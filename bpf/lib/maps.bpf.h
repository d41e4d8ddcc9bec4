/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Maps that several domains share. Each object declares them; the loader creates each once and hands the others the same map
 * by bpf_map__reuse_fd. __weak: the linker keeps one of the equal definitions of an object's files. Sizes of the rings are set
 * by the loader from configuration.
 */
#ifndef MOAT_LIB_MAPS_BPF_H
#define MOAT_LIB_MAPS_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "../abi/label.h"
#include "../abi/stats.h"

/* Verdicts, tampering, process life: never behind a flood of reads. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} moat_ring_urgent SEC(".maps") __weak;

/* The rest. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} moat_ring_bulk SEC(".maps") __weak;

/*
 * A variable, not a map of one element that is looked up: its address is a constant of the program (1 instruction, not 17). To libbpf it
 * is the map ".data.control".
 */
struct moat_control moat_control SEC(".data.control") __attribute__((weak));

/* Element 0: the cgroup whose processes are reported. */
struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} moat_scope SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MOAT_KIND_COUNT);
	__type(key, __u32);
	__type(value, struct moat_stat);
} moat_stats SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MOAT_TABLE_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} moat_table_full SEC(".maps") __weak;

/* Labels of the processes that hold any. Hash, not task storage: see label.bpf.h. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct moat_proc_key);
	__type(value, struct moat_proc_val);
} moat_procs SEC(".maps") __weak;

static __always_inline struct moat_control *moat_get_control(void)
{
	return &moat_control;
}

/* Says that a table has a row. After the row is there: user space takes the mark away before it looks. */
static __always_inline void moat_note_rows(__u32 table)
{
	if (table < MOAT_ROWS_COUNT)
		*(volatile __u8 *)&moat_control.rows[table] = 1;
}

#endif
