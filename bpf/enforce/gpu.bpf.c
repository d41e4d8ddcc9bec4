/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who may use an accelerator, and which calls, by what they mean (lib/gpu.bpf.h). What stands in the parameters is read before the driver
 * reads it: a second thread that changes it in between gets another call through. Where that matters deny the use of the device.
 * What opening a device means (lib/opening.bpf.h) and mapping a resource of its PCI device (lib/pci.bpf.h) are denied by the same words.
 */
#include <linux/errno.h>
#include "../lib/opening.bpf.h"
#include "../lib/pci.bpf.h"
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

/* Of the rules on these categories the one that denies, else the first that would. Returns whose it is. */
static __always_inline __u32 moat_pol_gpu_ask(const struct moat_pol_profile *profile, __u32 categories,
					      struct moat_pol_answer *answer)
{
	__u32 denied = 0;

	for (__u32 bit = 0; bit < MOAT_POL_GPU_CATEGORIES; bit++) {
		if (!(categories >> bit & 1))
			continue;
		if (profile->gpu[MOAT_POL_ENFORCED].calls[bit]) {
			answer->rule = profile->gpu[MOAT_POL_ENFORCED].calls[bit];
			answer->would = 0;
			return bit;
		}
		if (!answer->would && profile->gpu[MOAT_POL_WOULD].calls[bit]) {
			answer->would = profile->gpu[MOAT_POL_WOULD].calls[bit];
			denied = bit;
		}
	}
	return denied;
}

static __always_inline int moat_pol_gpu_opening(const void *arg)
{
	const struct file *file = moat_cast(struct file, arg);
	struct moat_pol_answer answer = {};
	struct moat_pol_profile *profile;
	struct moat_major_val *major;
	struct moat_pol_who who;
	__u32 generation = moat_pol_generation(), rdev, class_id, categories, category;

	if (!generation)
		return 0;
	major = moat_major_of(file, &rdev);
	if (!major)
		return 0;
	class_id = moat_class_of(major, rdev);
	if (class_id == MOAT_GPU_NONE)
		return 0;
	moat_pol_who_acts(&who, generation);
	profile = moat_pol_profile_of(&who);
	if (!profile)
		return 0;
	answer.rule = profile->gpu[MOAT_POL_ENFORCED].use;
	if (answer.rule)
		return moat_pol_gpu_told(&answer, &who, MOAT_VERDICT_GPU_USE, rdev, 0, 0);
	answer.would = profile->gpu[MOAT_POL_WOULD].use;
	if (answer.would)
		moat_pol_gpu_told(&answer, &who, MOAT_VERDICT_GPU_USE, rdev, 0, 0);
	answer.would = 0;
	categories = moat_gpu_opening_means(class_id, rdev);
	if (!categories)
		return 0;
	category = moat_pol_gpu_ask(profile, categories, &answer);
	return moat_pol_gpu_told(&answer, &who, MOAT_VERDICT_GPU_OPEN, rdev, 0, category);
}

MOAT_SECURITY_DENIES(moat_pol_gpu_open, file_open, moat_pol_gpu_opening(file), struct file *file)
MOAT_SECURITY_DENIES(moat_pol_gpu_receive, file_receive, moat_pol_gpu_opening(file), struct file *file)

static __always_inline int moat_pol_gpu_calling(const void *arg, __u32 cmd, __u64 params)
{
	const struct file *file = moat_cast(struct file, arg);
	__u32 rdev, generation = moat_pol_generation(), denied, categories;
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
	denied = moat_pol_gpu_ask(profile, categories, &answer);
	return moat_pol_gpu_told(&answer, &who, MOAT_VERDICT_GPU_CALL, rdev, cmd, denied);
}

MOAT_SECURITY_DENIES(moat_pol_gpu_ioctl, file_ioctl, moat_pol_gpu_calling(file, cmd, arg), struct file *file, unsigned int cmd,
		     unsigned long arg)
MOAT_SECURITY_DENIES(moat_pol_gpu_compat, file_ioctl_compat, moat_pol_gpu_calling(file, cmd, (__u32)arg), struct file *file,
		     unsigned int cmd, unsigned long arg)

/* Who may not use accelerators at all may not do so past their driver either. */
static __always_inline int moat_pol_gpu_mapping(const void *arg)
{
	const struct file *file = moat_cast(struct file, arg);
	__u32 generation = moat_pol_generation(), resource = 0, category = MOAT_NO_CATEGORY;
	struct moat_pol_answer answer = {};
	struct moat_pol_profile *profile;
	const struct pci_dev *pci;
	struct moat_pol_who who;
	struct moat_verdict *e;

	if (!arg || !generation)
		return 0;
	pci = moat_gpu_of_resource(file, &resource);
	if (!pci)
		return 0;
	moat_pol_who_acts(&who, generation);
	profile = moat_pol_profile_of(&who);
	if (!profile)
		return 0;
	answer.rule = profile->gpu[MOAT_POL_ENFORCED].use;
	if (!answer.rule)
		category = moat_pol_gpu_ask(profile, MOAT_GPU_RAW_ACCESS, &answer);
	if (!answer.rule && !answer.would) {
		answer.would = profile->gpu[MOAT_POL_WOULD].use;
		category = MOAT_NO_CATEGORY;
	}
	e = moat_pol_tell(&answer, &who, MOAT_VERDICT_GPU_MAP);
	if (e) {
		e->command = resource;
		e->category = category;
		moat_pci_name(e->name, MOAT_PCI_NAME_LEN, pci);
		moat_submit(moat_get_control(), e);
	}
	return answer.rule & MOAT_RULE_DENY ? -EPERM : 0;
}

/* The function that asks the modules is told one protection, they two. */
MOAT_HOOK("lsm/mmap_file", moat_pol_gpu_map_lsm)
int BPF_PROG(moat_pol_gpu_map_lsm, struct file *file, unsigned long reqprot, unsigned long prot, unsigned long flags)
{
	moat_ran(moat_pol_gpu_map_lsm);
	return moat_pol_gpu_mapping(file);
}

MOAT_HOOK("fmod_ret/security_mmap_file", moat_pol_gpu_map_fmod)
int BPF_PROG(moat_pol_gpu_map_fmod, struct file *file, unsigned long prot, unsigned long flags)
{
	moat_ran(moat_pol_gpu_map_fmod);
	return moat_pol_gpu_mapping(file);
}
