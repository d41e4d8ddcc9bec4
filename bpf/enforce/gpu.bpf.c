/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who may use an accelerator, and which calls: by device class and number of the command. NVIDIA's driver looks at the number alone, so
 * that is what counts; it also takes a call inside another (XFER), whose number is in the caller's memory.
 */
#include <linux/errno.h>
#include "../lib/device.bpf.h"
#include "tell.bpf.h"

#define MOAT_NV_XFER 211u /* nv_ioctl_xfer_t: cmd is its first word */
#define MOAT_IOC_NR(cmd) ((cmd) & 0xff)

static __always_inline int moat_pol_gpu_told(const struct moat_pol_answer *answer, const struct moat_pol_who *who,
					     __u32 operation, __u32 rdev, __u32 cmd, __u32 category)
{
	struct moat_verdict *e = moat_pol_tell(answer, who, operation);

	if (e) {
		e->rdev = rdev;
		e->command = cmd;
		e->category = category;
		moat_submit(moat_get_control(), e);
	}
	return answer->rule & MOAT_RULE_DENY ? -EPERM : 0;
}

static __always_inline int moat_pol_gpu_opening(const void *arg)
{
	const struct file *file = moat_cast(struct file, arg);
	struct moat_pol_answer answer = {};
	struct moat_pol_profile *profile;
	struct moat_major_val *major;
	struct moat_pol_who who;
	__u32 generation = moat_pol_generation(), rdev;

	if (!generation)
		return 0;
	major = moat_major_of(file, &rdev);
	if (!major || moat_class_of(major, rdev) == MOAT_GPU_NONE)
		return 0;
	moat_pol_who_acts(&who, generation);
	profile = moat_pol_profile_of(&who);
	if (!profile)
		return 0;
	answer.rule = profile->gpu[MOAT_POL_ENFORCED].use;
	if (!answer.rule)
		answer.would = profile->gpu[MOAT_POL_WOULD].use;
	return moat_pol_gpu_told(&answer, &who, MOAT_VERDICT_GPU_USE, rdev, 0, 0);
}

MOAT_SECURITY_DENIES(moat_pol_gpu_open, file_open, moat_pol_gpu_opening(file), struct file *file)
MOAT_SECURITY_DENIES(moat_pol_gpu_receive, file_receive, moat_pol_gpu_opening(file), struct file *file)

static __always_inline int moat_pol_gpu_calling(const void *arg, __u32 cmd, __u64 params)
{
	const struct file *file = moat_cast(struct file, arg);
	struct moat_pol_command_key key = {};
	struct moat_pol_answer answer = {};
	__u32 rdev, generation = moat_pol_generation(), *categories, denied = 0, inner = 0;
	struct moat_pol_profile *profile;
	struct moat_major_val *major;
	struct moat_pol_who who;

	if (!generation)
		return 0;
	major = moat_major_of(file, &rdev);
	if (!major)
		return 0;
	key.class_id = moat_class_of(major, rdev);
	if (key.class_id == MOAT_GPU_NONE)
		return 0;
	key.number = MOAT_IOC_NR(cmd);
	if (key.class_id == MOAT_GPU_NVIDIA && key.number == MOAT_NV_XFER &&
	    bpf_probe_read_user(&inner, sizeof(inner), (void *)params) == 0)
		key.number = inner & 0xff;
	categories = bpf_map_lookup_elem(&moat_pol_commands, &key);
	moat_pol_who_acts(&who, generation);
	profile = moat_pol_profile_of(&who);
	if (!profile)
		return 0;
	/* On a descriptor that was there before: of whom may not use it at all, no call. */
	answer.rule = profile->gpu[MOAT_POL_ENFORCED].use;
	if (answer.rule)
		return moat_pol_gpu_told(&answer, &who, MOAT_VERDICT_GPU_USE, rdev, cmd, 0);
	if (!categories)
		return 0;
	for (__u32 bit = 0; bit < MOAT_POL_GPU_CATEGORIES; bit++) {
		if (!(*categories >> bit & 1))
			continue;
		if (profile->gpu[MOAT_POL_ENFORCED].calls[bit]) {
			answer.rule = profile->gpu[MOAT_POL_ENFORCED].calls[bit];
			answer.would = 0;
			denied = bit;
			break;
		}
		if (!answer.would && profile->gpu[MOAT_POL_WOULD].calls[bit]) {
			answer.would = profile->gpu[MOAT_POL_WOULD].calls[bit];
			denied = bit;
		}
	}
	return moat_pol_gpu_told(&answer, &who, MOAT_VERDICT_GPU_CALL, rdev, cmd, denied);
}

MOAT_SECURITY_DENIES(moat_pol_gpu_ioctl, file_ioctl, moat_pol_gpu_calling(file, cmd, arg), struct file *file, unsigned int cmd,
		     unsigned long arg)
MOAT_SECURITY_DENIES(moat_pol_gpu_compat, file_ioctl_compat, moat_pol_gpu_calling(file, cmd, (__u32)arg), struct file *file,
		     unsigned int cmd, unsigned long arg)
