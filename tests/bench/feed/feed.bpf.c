/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Events faster than one core can make ioctls: by moat's own way out (bpf/lib/emit.bpf.h), into the rings and counters of the
 * agent under test. Run by BPF_PROG_TEST_RUN; attached to nothing.
 */
#include "bpf/abi/gpu.h"
#include "bpf/lib/emit.bpf.h"

char LICENSE[] SEC("license") = "GPL";

struct feed {
	__u64 events;
};

static long feed_one(__u32 i, void *unused)
{
	struct moat_control *control = moat_get_control();
	struct moat_gpu_ioctl *e;

	e = MOAT_RESERVE(moat_ring_bulk, MOAT_KIND_GPU_IOCTL, struct moat_gpu_ioctl);
	if (!e)
		return 0; /* counted as lost */
	__builtin_memset(e, 0, sizeof(*e));
	moat_fill(&e->hdr, MOAT_KIND_GPU_IOCTL, sizeof(*e), moat_current());
	e->count = i;
	e->class_id = MOAT_GPU_OTHER;
	e->why = MOAT_IOCTL_WATCHED;
	e->params_len = sizeof(e->params);
	moat_submit(control, e);
	return 0;
}

SEC("syscall")
int moat_feed(struct feed *ctx)
{
	bpf_loop(ctx->events, feed_one, (void *)0, 0);
	return 0;
}
