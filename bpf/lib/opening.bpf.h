/* SPDX-License-Identifier: GPL-2.0-only */
/* What opening a device means by itself: of NVIDIA's capabilities and of vfio groups nothing else is needed. */
#ifndef MOAT_LIB_OPENING_BPF_H
#define MOAT_LIB_OPENING_BPF_H

#include "gpu.bpf.h"

/* Its categories. By the whole device number: capabilities have two majors, and their minors mean different things. */
static __always_inline __u32 moat_gpu_opening_means(__u32 class_id, __u32 rdev)
{
	struct moat_gpu_row_key key = {.class_id = class_id, .number = MOAT_GPU_OPEN, .detail = rdev, .size = MOAT_GPU_BY_DETAIL};
	struct moat_gpu_row *row = bpf_map_lookup_elem(&moat_gpu_rows, &key);

	return row ? row->categories : 0;
}

#endif
