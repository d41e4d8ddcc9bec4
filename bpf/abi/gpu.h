/* SPDX-License-Identifier: GPL-2.0-only */
/* Accelerator devices: opens, ioctls, counts per (process, device, command). */
#ifndef MOAT_ABI_GPU_H
#define MOAT_ABI_GPU_H

#include "event.h"

#define MOAT_GPU_PARAMS_LEN 128
#define MOAT_MAX_MAJOR 4096

enum moat_gpu_class {
	MOAT_GPU_NONE = 0,
	MOAT_GPU_NVIDIA = 1, /* major 195: nvidiactl, nvidiaN, nvidia-modeset */
	MOAT_GPU_NVIDIA_UVM = 2,
	MOAT_GPU_NVIDIA_CAPS = 3,
	MOAT_GPU_NVIDIA_SWITCH = 4,
	MOAT_GPU_NVIDIA_FS = 5,
	MOAT_GPU_GDRDRV = 6,
	MOAT_GPU_DRM = 7,   /* major 226 */
	MOAT_GPU_ACCEL = 8, /* major 261 */
	MOAT_GPU_KFD = 9,
	MOAT_GPU_NEURON = 10,
	MOAT_GPU_HABANALABS = 11,
	MOAT_GPU_OTHER = 12, /* named in configuration */
};

/* Value of the majors array (index: major). */
#define MOAT_MAJOR_ALL 0x1u    /* every minor is an accelerator of .class_id */
#define MOAT_MAJOR_SOME 0x2u   /* look the exact number up in the devices map */

struct moat_major_val {
	__u32 flags;
	__u32 class_id;
};

/* Key of the devices map: rdev as the kernel keeps it; value: __u32 class. */

/* Counts per (process, device, command). */
struct moat_gpu_key {
	__u64 start_ns;
	__u32 pid;
	__u32 rdev;
	__u32 cmd;
	__u32 pad;
};

struct moat_gpu_val {
	__u64 count;
	__u64 errors;      /* of those, how many returned < 0 */
	__u32 watched;     /* the command is configured: each call is an event */
	__u32 watch_epoch; /* moat_control.watch_epoch when .watched was decided */
	__u32 class_id;
	__u32 pad;
};

/* Key of the watch map: a configured command. class_id 0: of any class; match on the number or the whole word. */
struct moat_watch_key {
	__u32 class_id;
	__u32 cmd;
	__u32 whole; /* 1: cmd is the whole 32-bit word; 0: cmd is _IOC_NR */
	__u32 pad;
};

struct moat_gpu_open {
	struct moat_hdr hdr;
	__u32 rdev;
	__u32 class_id;
	__u32 open_flags;
	__u32 fd;
};

#define MOAT_IOCTL_FIRST 0x1u   /* first of this (process, device, command) */
#define MOAT_IOCTL_WATCHED 0x2u /* a configured command */

/* Read when the call returned: the parameters hold what the driver wrote back, its own status included. */
struct moat_gpu_ioctl {
	struct moat_hdr hdr;
	__u64 arg;
	__s64 result; /* of the system call: a driver may refuse and still return 0 */
	__u64 count;  /* calls so far, this one included; 0: the table was full, not known */
	__u32 rdev;
	__u32 class_id;
	__u32 cmd;
	__u32 size;   /* _IOC_SIZE(cmd) */
	__u32 why;    /* MOAT_IOCTL_* */
	__u32 params_len; /* bytes of params that could be read; the rest is not defined */
	__u8 params[MOAT_GPU_PARAMS_LEN];
};

#endif
