/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The machine code of one function of the kernel or of a module, for user space, which looks in it for the call of another
 * (agent/probe/call_site.h). /proc/kcore would have it too, but not every kernel has that, and who reads it needs CAP_SYS_RAWIO.
 */
#include "../abi/gpu.h"
#include "../lib/hook.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct moat_gpu_text);
} moat_gpu_text_map SEC(".maps");

/* Any iterator would do: it runs when it is read, and there is always a task. */
MOAT_HOOK("iter/task", moat_gpu_text)
int moat_gpu_text(struct bpf_iter__task *ctx)
{
	struct moat_gpu_text *text;
	__u32 zero = 0, length;

	moat_ran(moat_gpu_text);
	text = bpf_map_lookup_elem(&moat_gpu_text_map, &zero);
	if (!text || text->done)
		return 0;
	text->done = 1;
	length = text->length;
	if (length > MOAT_GPU_TEXT_LEN)
		length = MOAT_GPU_TEXT_LEN;
	barrier_var(length);
	if (length > MOAT_GPU_TEXT_LEN) /* it is not: told to the verifiers of 5.10 and 6.1 */
		return 0;
	text->error = bpf_probe_read_kernel(text->bytes, length, (const void *)text->address);
	return 0;
}
