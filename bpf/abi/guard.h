/* SPDX-License-Identifier: GPL-2.0-only */
/* What only those may touch who are in the agent's pid namespace, which is the host's own: table moat_pol_guarded. Value: 1 (__u32). */
#ifndef MOAT_ABI_GUARD_H
#define MOAT_ABI_GUARD_H

#include "event.h"

enum moat_guard_kind {
	MOAT_GUARD_MAP = 1, /* number: the kernel's of the map */
	MOAT_GUARD_LINK = 2, /* number: the kernel's of the link */
	MOAT_GUARD_DIR = 3, /* number: inode of a directory of pins; dev: s_dev */
	MOAT_GUARD_FS = 4, /* dev: of the bpffs they lie in */
	MOAT_GUARD_PROG = 5, /* number: the kernel's of a link's program */
};

struct moat_guard_key {
	__u64 number;
	__u32 kind;
	__u32 dev;
};

#endif
