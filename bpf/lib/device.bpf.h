/* SPDX-License-Identifier: GPL-2.0-only */
/* Which device numbers are accelerators. Filled by the loader from /proc/devices, the fixed majors and configuration. */
#ifndef MOAT_LIB_DEVICE_BPF_H
#define MOAT_LIB_DEVICE_BPF_H

#include "../kernel/read.bpf.h"
#include "../abi/gpu.h"

#ifndef S_IFMT
#define S_IFMT 0170000
#endif
#define S_IFCHR 0020000

/* Index: major. An array, because this is what an ioctl on a device that is no accelerator pays (inlined: 1 ns; a hash: 24). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MOAT_MAX_MAJOR);
	__type(key, __u32);
	__type(value, struct moat_major_val);
} moat_majors SEC(".maps") __weak;

/* Key: rdev as the kernel keeps it. Asked only for majors that are shared with other devices. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u32);
} moat_devices SEC(".maps") __weak;

/*
 * What the majors array says of the inode behind a file when that may be an accelerator's, else NULL. Regular files, pipes and
 * sockets have i_rdev 0 and are done after one load. A block device may bear the number of a character device.
 */
static __always_inline struct moat_major_val *moat_major_of(const struct file *file, __u32 *rdev)
{
	const struct inode *inode = moat_get(file, f_inode);
	struct moat_major_val *val;
	__u32 major;

	*rdev = moat_get(inode, i_rdev);
	if (!*rdev)
		return NULL;
	major = *rdev >> 20;
	val = bpf_map_lookup_elem(&moat_majors, &major);
	if (!val || !val->flags || (moat_get(inode, i_mode) & S_IFMT) != S_IFCHR)
		return NULL;
	return val;
}

/* The class of a device, or MOAT_GPU_NONE. An exact entry wins over its major. */
static __always_inline __u32 moat_class_of(const struct moat_major_val *val, __u32 rdev)
{
	__u32 *exact;

	if (val->flags & MOAT_MAJOR_SOME) {
		exact = bpf_map_lookup_elem(&moat_devices, &rdev);
		if (exact)
			return *exact;
	}
	return val->flags & MOAT_MAJOR_ALL ? val->class_id : MOAT_GPU_NONE;
}

#endif
