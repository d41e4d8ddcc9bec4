/* SPDX-License-Identifier: GPL-2.0-only */
/* Opens and mappings that mean something go to the ring of verdicts, so that no flood of others delays them. */
#ifndef MOAT_GPU_URGENT_BPF_H
#define MOAT_GPU_URGENT_BPF_H

#include "../abi/gpu.h"
#include "../kernel/read.bpf.h"
#include "../lib/hook.bpf.h"

#define MOAT_GPU_URGENT_OPENS 16u /* of one process and device; who goes on must not push verdicts out of their ring */

/* How many there were. Which entry gives way only decides in which ring a later one travels. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct moat_gpu_open_key);
	__type(value, __u64);
} moat_gpu_opens SEC(".maps");

static __always_inline int moat_gpu_is_urgent(__u32 rdev)
{
	struct moat_gpu_open_key key = {.start_ns = moat_self_start(), .pid = moat_self_pid(), .rdev = rdev};
	__u64 *count = bpf_map_lookup_elem(&moat_gpu_opens, &key), one = 1;

	if (!count) {
		bpf_map_update_elem(&moat_gpu_opens, &key, &one, BPF_ANY);
		return 1;
	}
	if (*count >= MOAT_GPU_URGENT_OPENS)
		return 0;
	__sync_fetch_and_add(count, 1);
	return 1;
}

#endif
