/* SPDX-License-Identifier: GPL-2.0-only */
/* The driver's own copies of parameters: by thread, from the beginning of a call (copy.bpf.c) to its end (ioctl.bpf.c). */
#ifndef MOAT_GPU_COPY_BPF_H
#define MOAT_GPU_COPY_BPF_H

#include "../lib/gpu.bpf.h"

/*
 * One entry a thread, made at its first call and used again: those of threads that are gone give way. A thread whose entry gave way while
 * its call was at work is told by what lies in its memory, without MOAT_IOCTL_COPIED.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct moat_gpu_copy);
} moat_gpu_copies SEC(".maps");

/* Whether any driver was ever seen to copy: until then a call does not look for one. */
volatile __u8 moat_gpu_copying;
/* Whether the end of a copy was ever seen: a kernel may refuse that program, and then nothing follows from not seeing it. */
volatile __u8 moat_gpu_copies_end;

static __always_inline struct moat_gpu_copy *moat_gpu_copy_now(void)
{
	__u64 thread = bpf_get_current_pid_tgid();

	return bpf_map_lookup_elem(&moat_gpu_copies, &thread);
}

/*
 * What the driver took over of the call that returns now; NULL: nothing, or not known. What is left of an earlier call, whose end was missed,
 * is told by its number, unless this one is wrapped.
 */
static __always_inline struct moat_gpu_copy *moat_gpu_copy_of(__u32 class_id, __u32 cmd)
{
	struct moat_gpu_copy *copy;
	__u32 number = MOAT_IOC_NR(cmd);

	class_id = MOAT_GPU_CLASS(class_id);
	if (class_id == MOAT_GPU_ACCEL) /* by the same function */
		class_id = MOAT_GPU_DRM;
	if (!moat_gpu_copying)
		return NULL;
	copy = moat_gpu_copy_now();
	if (!copy || !copy->live)
		return NULL;
	copy->live = 0;
	if (copy->class_id != class_id || (class_id == MOAT_GPU_NVIDIA && number != MOAT_NV_XFER && copy->number != number))
		return NULL;
	if (!moat_gpu_copies_end)
		copy->to = NULL;
	return copy;
}

#endif
