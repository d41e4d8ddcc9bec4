/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who may use an accelerator, and which calls, by what they mean (lib/gpu.bpf.h). What stands in the parameters is read before the driver
 * reads it: a second thread that changes it in between gets another call through. Where that matters deny the use of the device.
 */
#include <linux/errno.h>
#include "../lib/gpu.bpf.h"
#include "tell.bpf.h"

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
	__u32 rdev, generation = moat_pol_generation(), denied = 0, categories;
	struct moat_gpu_call call = {.file = file, .arg = params};
	struct moat_pol_answer answer = {};
	struct moat_pol_profile *profile;
	struct moat_gpu_owner target;
	struct moat_major_val *major;
	struct moat_gpu_row row;
	struct moat_pol_who who;

	if (!generation)
		return 0;
	major = moat_major_of(file, &rdev);
	if (!major)
		return 0;
	call.class_id = moat_class_of(major, rdev);
	if (call.class_id == MOAT_GPU_NONE)
		return 0;
	moat_pol_who_acts(&who, generation);
	profile = moat_pol_profile_of(&who);
	if (!profile)
		return 0;
	/* On a descriptor that was there before: of whom may not use it at all, no call. */
	answer.rule = profile->gpu[MOAT_POL_ENFORCED].use;
	if (answer.rule)
		return moat_pol_gpu_told(&answer, &who, MOAT_VERDICT_GPU_USE, rdev, cmd, 0);
	moat_gpu_unwrap(&call, cmd, NULL);
	moat_gpu_row_of(&call, &row);
	/* One that cannot be read is denied to whom any is: it may be that one. */
	categories = call.why & MOAT_IOCTL_UNREAD ? ~0u
						   : moat_gpu_means(&call, &row, &target, NULL) | moat_gpu_foreign(&call, &target);
	if (!categories)
		return 0;
	for (__u32 bit = 0; bit < MOAT_POL_GPU_CATEGORIES; bit++) {
		if (!(categories >> bit & 1))
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
