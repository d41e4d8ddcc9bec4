/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Older shapes of kernel structs, each with the commit that made it necessary. libbpf drops everything after "___".
 * None is used on the kernels that the tracepoint backends are tested on yet.
 */
#ifndef MOAT_KERNEL_FLAVORS_H
#define MOAT_KERNEL_FLAVORS_H

#include <linux/types.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* Before f122a08b197d ("capability: just use a 'u64' instead of a 'u32[2]' array", 6.3). */
struct kernel_cap_struct___old {
	__u32 cap[2];
};

struct cred___old {
	struct kernel_cap_struct___old cap_permitted;
	struct kernel_cap_struct___old cap_effective;
};

#pragma clang attribute pop

#endif
