/* SPDX-License-Identifier: GPL-2.0-only */
/* Whether the environment of a new image makes the dynamic linker load what the program does not name. */
#ifndef MOAT_PROCESS_ENVIRONMENT_BPF_H
#define MOAT_PROCESS_ENVIRONMENT_BPF_H

#include "image.bpf.h"

/* Eight characters as the number that they are in memory (little-endian, as all that moat runs on). */
#define MOAT_EIGHT(a, b, c, d, e, f, g, h)                                                                          \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 | (__u64)(f) << 40 | \
	 (__u64)(g) << 48 | (__u64)(h) << 56)

struct moat_env_walk {
	struct moat_exec *record;
	__u64 at, end;
	__u32 inside; /* of a variable longer than one piece */
};

/* length: with its NUL. What lies behind that is left from others, and no name here is longer than a variable that it begins. */
static __always_inline void moat_look_at_variable(struct moat_exec *e, const __u64 *words, long length)
{
	__u64 first = words[0], second = words[1];

	if (first == MOAT_EIGHT('L', 'D', '_', 'P', 'R', 'E', 'L', 'O')) {
		if ((second & 0xffffff) == MOAT_EIGHT('A', 'D', '=', 0, 0, 0, 0, 0) && length > 12)
			moat_exec_is(e, MOAT_EXEC_PRELOAD);
	} else if (first == MOAT_EIGHT('L', 'D', '_', 'A', 'U', 'D', 'I', 'T')) {
		if ((second & 0xff) == '=' && length > 10)
			moat_exec_is(e, MOAT_EXEC_AUDIT);
	} else if (first == MOAT_EIGHT('L', 'D', '_', 'L', 'I', 'B', 'R', 'A')) {
		if (second == MOAT_EIGHT('R', 'Y', '_', 'P', 'A', 'T', 'H', '=') && length > 17)
			moat_exec_is(e, MOAT_EXEC_LIBRARY_PATH);
	}
}

/* One variable, or one piece of a long one, further; 1 ends the walk. */
static long moat_env_step(__u32 step, void *ctx)
{
	struct moat_env_walk *walk = ctx;
	struct moat_exec *e = walk->record;
	long n;

	if (walk->at >= walk->end)
		return 1;
	n = bpf_probe_read_user_str(e->argv, MOAT_ARGV_LEN, (void *)walk->at);
	if (n < 0) {
		moat_exec_is(e, MOAT_EXEC_ENV_UNREADABLE);
		e->hdr.flags |= MOAT_F_UNREADABLE;
		walk->at = walk->end;
		return 1;
	}
	if (!walk->inside)
		moat_look_at_variable(e, (const __u64 *)e->argv, n);
	walk->inside = n == MOAT_ARGV_LEN; /* or just as long: then the next piece is its NUL alone */
	walk->at += walk->inside ? n - 1 : n ? n : 1; /* 0: an empty one, until 6.2 */
	return 0;
}

/* Writes into e->argv, which the caller fills afterwards. 30 variables: 1 to 2 us of an exec's 150. */
static __always_inline void moat_fill_environment(struct moat_exec *e, const struct mm_struct *mm)
{
	struct moat_env_walk walk = {.record = e};

	walk.at = moat_get(mm, env_start);
	walk.end = moat_get(mm, env_end);
	moat_loop(MOAT_ENV_STRINGS, moat_env_step, &walk);
	if (walk.at < walk.end)
		moat_exec_is(e, MOAT_EXEC_ENV_TRUNCATED);
}

#endif
