/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The parameters of a call as the driver itself took them over from the caller's memory. Another thread of the caller can change them there
 * at any time: before the driver reads them, and after; what is in the driver's hands is what it acts on.
 *
 * By functions of the drivers, as they are named and called in each version from 515 on, whether built from the published sources or not:
 *   rm_ioctl(sp, nv, nvfp, number, params, size)   kernel-open/nvidia/nv.c: what NVIDIA's resource manager serves, unwrapped; params is a copy
 *   os_memcpy_from_user(to, from, n)               kernel-open/nvidia/os-interface.c: each further copy that it makes
 *   uvm_api_*(params, file)                        kernel-open/nvidia-uvm: one for each call; returns the status
 *   kfd_ioctl_*(file, process, params)             drivers/gpu/drm/amd/amdkfd/kfd_chardev.c
 *   drm_ioctl_kernel(file, function, params, ...)  drivers/gpu/drm/drm_ioctl.c
 * They are in modules without BTF, so kprobes: the two of rm_ioctl cost a call some 2,600 instructions (tests/run.sh vm-cost). The kernel keeps
 * a bounded number of returns in flight for each function, and skips those beyond: then the call did not end here, and its status and what its
 * parameters point to are not taken for known.
 */
#include "../lib/hook.bpf.h"
#include "../lib/scope.bpf.h"
#include "copy.bpf.h"

/* libbpf 1.1 stops at the fifth. */
#if defined(__TARGET_ARCH_x86)
#define moat_sixth_arg(ctx) ((ctx)->r9)
#elif defined(__TARGET_ARCH_arm64)
#define moat_sixth_arg(ctx) (((const struct user_pt_regs *)(ctx))->regs[5])
#endif

/* What an entry begins as: too much for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct moat_gpu_copy);
} moat_gpu_blank SEC(".maps");

static __always_inline struct moat_gpu_copy *copy_of_this_thread(void)
{
	struct moat_gpu_copy *copy = moat_gpu_copy_now(), *blank;
	__u64 thread = bpf_get_current_pid_tgid();
	__u32 zero = 0;

	if (copy)
		return copy;
	blank = bpf_map_lookup_elem(&moat_gpu_blank, &zero);
	if (!blank)
		return NULL;
	bpf_map_update_elem(&moat_gpu_copies, &thread, blank, BPF_NOEXIST);
	return moat_gpu_copy_now();
}

static __always_inline void read_driver_copy(struct moat_gpu_copy *copy, const void *data)
{
	__u32 want = copy->size;

	if (want == 0 || want > MOAT_GPU_PARAMS_LEN) /* size not told: what is behind the structure is cut off when it is told */
		want = MOAT_GPU_PARAMS_LEN;
	copy->params_len = 0;
	barrier_var(want);
	if (want > MOAT_GPU_PARAMS_LEN) /* it is not: told to the verifiers of 5.10 and 6.1 */
		return;
	copy->params_len = bpf_probe_read_kernel(copy->params, want, data) == 0 ? want : 0;
}

static __always_inline void driver_begins(__u32 class_id, __u32 number, __u32 size, const void *data)
{
	struct moat_gpu_copy *copy;

	if (!moat_in_scope(moat_get_control()))
		return;
	copy = copy_of_this_thread();
	if (!copy)
		return;
	copy->class_id = class_id;
	copy->number = number;
	copy->size = size;
	copy->data = data;
	copy->to = NULL;
	copy->nested_at = 0;
	copy->nested_len = 0;
	copy->ended = 0;
	copy->status_known = 0;
	read_driver_copy(copy, data);
	if (class_id == MOAT_GPU_NVIDIA && (number == MOAT_NV_CONTROL || number == MOAT_NV_ALLOC) && copy->params_len >= 24)
		__builtin_memcpy(&copy->nested_at, copy->params + 16, sizeof(copy->nested_at)); /* NVOS54, NVOS21, NVOS64 */
	copy->live = 1;
	if (!moat_gpu_copying)
		moat_gpu_copying = 1;
}

/* With what the driver wrote into it: handles, its status. */
static __always_inline struct moat_gpu_copy *driver_ends(__u32 class_id)
{
	struct moat_gpu_copy *copy = moat_gpu_copy_now();

	if (!copy || !copy->live || copy->class_id != class_id)
		return NULL;
	read_driver_copy(copy, copy->data);
	copy->ended = 1;
	return copy;
}

MOAT_HOOK("kprobe/rm_ioctl", moat_gpu_rm)
int BPF_KPROBE(moat_gpu_rm, const void *sp, const void *nv, const void *nvfp, __u32 number, const void *params)
{
	moat_ran(moat_gpu_rm);
	driver_begins(MOAT_GPU_NVIDIA, number, moat_sixth_arg(ctx), params);
	return 0;
}

MOAT_HOOK("kretprobe/rm_ioctl", moat_gpu_rm_ended)
int BPF_KRETPROBE(moat_gpu_rm_ended)
{
	moat_ran(moat_gpu_rm_ended);
	driver_ends(MOAT_GPU_NVIDIA);
	return 0;
}

/* Of all that the resource manager copies, what the parameters point to. If it does so twice, it goes by what it got last. */
MOAT_HOOK("kprobe/os_memcpy_from_user", moat_gpu_rm_copies)
int BPF_KPROBE(moat_gpu_rm_copies, const void *to, __u64 from, __u32 length)
{
	struct moat_gpu_copy *copy = moat_gpu_copy_now();

	moat_ran(moat_gpu_rm_copies);
	if (!copy || !copy->live || !copy->nested_at || copy->nested_at != from)
		return 0;
	copy->to = to;
	copy->to_len = length;
	return 0;
}

MOAT_HOOK("kretprobe/os_memcpy_from_user", moat_gpu_rm_copied)
int BPF_KRETPROBE(moat_gpu_rm_copied, long status)
{
	struct moat_gpu_copy *copy = moat_gpu_copy_now();
	const void *to;
	__u32 length;

	moat_ran(moat_gpu_rm_copied);
	if (!moat_gpu_copies_end)
		moat_gpu_copies_end = 1;
	if (!copy || !copy->live || !copy->to)
		return 0;
	to = copy->to;
	copy->to = NULL;
	length = copy->to_len;
	if (length > MOAT_GPU_NESTED_LEN)
		length = MOAT_GPU_NESTED_LEN;
	barrier_var(length);
	if (length > MOAT_GPU_NESTED_LEN)
		return 0;
	if ((__u32)status == 0 && bpf_probe_read_kernel(copy->nested, length, to) == 0)
		copy->nested_len = length;
	return 0;
}

MOAT_HOOK("kprobe", moat_gpu_uvm)
int BPF_KPROBE(moat_gpu_uvm, const void *params)
{
	moat_ran(moat_gpu_uvm);
	driver_begins(MOAT_GPU_NVIDIA_UVM, 0, 0, params);
	return 0;
}

MOAT_HOOK("kretprobe", moat_gpu_uvm_ended)
int BPF_KRETPROBE(moat_gpu_uvm_ended, long status)
{
	struct moat_gpu_copy *copy = driver_ends(MOAT_GPU_NVIDIA_UVM);

	moat_ran(moat_gpu_uvm_ended);
	if (copy) {
		copy->status = status;
		copy->status_known = 1;
	}
	return 0;
}

MOAT_HOOK("kprobe", moat_gpu_kfd)
int BPF_KPROBE(moat_gpu_kfd, const void *file, const void *process, const void *params)
{
	moat_ran(moat_gpu_kfd);
	driver_begins(MOAT_GPU_KFD, 0, 0, params);
	return 0;
}

MOAT_HOOK("kretprobe", moat_gpu_kfd_ended)
int BPF_KRETPROBE(moat_gpu_kfd_ended)
{
	moat_ran(moat_gpu_kfd_ended);
	driver_ends(MOAT_GPU_KFD);
	return 0;
}

MOAT_HOOK("kprobe/drm_ioctl_kernel", moat_gpu_drm)
int BPF_KPROBE(moat_gpu_drm, const void *file, const void *function, const void *params)
{
	moat_ran(moat_gpu_drm);
	driver_begins(MOAT_GPU_DRM, 0, 0, params);
	return 0;
}

MOAT_HOOK("kretprobe/drm_ioctl_kernel", moat_gpu_drm_ended)
int BPF_KRETPROBE(moat_gpu_drm_ended)
{
	moat_ran(moat_gpu_drm_ended);
	driver_ends(MOAT_GPU_DRM);
	return 0;
}
