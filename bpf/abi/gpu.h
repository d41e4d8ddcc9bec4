/* SPDX-License-Identifier: GPL-2.0-only */
/* Accelerator devices: opens, ioctls, mapped registers, counts per (process, device, command). */
#ifndef MOAT_ABI_GPU_H
#define MOAT_ABI_GPU_H

#include "event.h"

#define MOAT_GPU_PARAMS_LEN 192 /* NVOS32_PARAMETERS has 184 */
#define MOAT_GPU_NESTED_LEN 128 /* what the parameters point to */
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
	MOAT_GPU_VFIO = 13,  /* groups and devices of vfio that hold an accelerator */
	MOAT_GPU_CLASSES = 14,
};

/* Value of the majors array (index: major). */
#define MOAT_MAJOR_ALL 0x1u    /* every minor is an accelerator of .class_id */
#define MOAT_MAJOR_SOME 0x2u   /* look the exact number up in the devices map */

struct moat_major_val {
	__u32 flags;
	__u32 class_id;
};

/* Key of the devices map: rdev as the kernel keeps it; value: class | driver << 8 (moat_gpu_driver). */
#define MOAT_GPU_CLASS(value) ((value) & 0xff)
#define MOAT_GPU_DRIVER(value) ((value) >> 8)

/* Drivers of DRM and accel devices, whose numbers from 0x40 on mean different things. */
enum moat_gpu_driver {
	MOAT_GPU_DRIVER_UNKNOWN = 0,
	MOAT_GPU_DRIVER_AMDGPU = 1,
	MOAT_GPU_DRIVER_NVIDIA_DRM = 2,
	MOAT_GPU_DRIVER_XE = 3,
	MOAT_GPU_DRIVER_I915 = 4,
	MOAT_GPU_DRIVER_HABANALABS = 5,
	MOAT_GPU_DRIVER_IVPU = 6,
	MOAT_GPU_DRIVER_QAIC = 7,
	MOAT_GPU_DRIVER_AMDXDNA = 8,
	MOAT_GPU_DRIVER_COUNT = 9,
};

/*
 * What is known of a call beforehand: the table of rows, made by user space from agent/decode/tables. A call has up to two: one by its number
 * and size, which says where its status lies, and one by its number and detail, which says what it means.
 */
#define MOAT_GPU_BY_DETAIL 0x10000u  /* in place of a size: the row of .detail */
#define MOAT_GPU_BY_PATTERN 0x10001u /* the row of all details that differ in their last byte alone */

#define MOAT_GPU_OPEN 0xffffffffu /* in place of a number: what opening the device of .detail means, which is its rdev */

struct moat_gpu_row_key {
	__u32 class_id; /* | driver << 8 */
	__u32 number;
	__u32 detail; /* class or control of NVIDIA's resource manager; rdev, if MOAT_GPU_OPEN; else 0 */
	__u32 size;   /* _IOC_SIZE, or MOAT_GPU_BY_* */
};

/* On what the meaning depends beside the number. The offset .at is into the parameters, or into what they point to (nested). */
enum moat_gpu_when {
	MOAT_GPU_ALWAYS = 0,
	MOAT_GPU_CLIENT = 1,        /* a client of the resource manager, of another process */
	MOAT_GPU_NESTED_CLIENT = 2,
	MOAT_GPU_DEBUGGER = 3,      /* the object is a debugger of another process */
	MOAT_GPU_HALF = 4,          /* 16 bits are .value */
	MOAT_GPU_NESTED_HALF = 5,
	MOAT_GPU_WORD = 6,          /* 32 bits are .value */
	MOAT_GPU_OTHER_OWNER = 7,   /* the device file was set up by another process */
	MOAT_GPU_FD_OWNER = 8,      /* the descriptor's file was */
	MOAT_GPU_NESTED_FD_WORKLOAD = 9, /* the descriptor's file was given its memory in another cgroup */
	MOAT_GPU_OTHER_PID = 10,    /* a process id, not the caller's own */
};

#define MOAT_GPU_FOREIGN 0x4u /* of .categories: foreign-memory */
#define MOAT_GPU_NO_STATUS 0xffffu
#define MOAT_GPU_ROW_ALWAYS 0x1u /* every call that succeeds is an event: what is allocated and freed */

struct moat_gpu_row {
	__u32 categories; /* bits: policy::GpuCategory */
	__u16 status_at;  /* of 32 bits; MOAT_GPU_NO_STATUS: it has none, or the place is not known */
	__u16 at;
	__u16 value;
	__u16 nested_len; /* of what the parameters point to; 0: not known */
	__u16 params_len; /* of the parameters, where the command does not say it (UVM); 0: not known */
	__u8 when;
	__u8 flags; /* MOAT_GPU_ROW_* */
};

/* Who made a client of the resource manager, set up an address space, exported memory into a file. */
struct moat_gpu_owner {
	__u64 start_ns;
	__u64 cgroup_id;
	__u32 pid;
	__u32 pad;
};

/* Key of the debuggers: an object of a client. */
struct moat_gpu_object {
	__u32 client;
	__u32 object;
};

/* Counts per (process, device, command). */
struct moat_gpu_key {
	__u64 start_ns;
	__u32 pid;
	__u32 rdev;
	__u32 cmd; /* wrapped in another: the number of the one inside */
	__u32 detail;
};

struct moat_gpu_val {
	__u64 count;
	__u64 errors;      /* of those, how many failed, by their result or by the status in their parameters */
	__u32 watched;     /* the command is configured: each call is an event */
	__u32 watch_epoch; /* moat_control.watch_epoch when .watched and .row were decided */
	__u32 class_id;    /* | driver << 8 */
	__s32 outcome;     /* of the last: 0, a negative error, or the driver's status */
	__u32 client;      /* of the last */
	__u32 foreign;     /* which is another process's */
	struct moat_gpu_row row;
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
	__u32 class_id; /* | driver << 8 */
	__u32 open_flags;
	__u32 fd;
	__u32 categories; /* what opening it means: the row of MOAT_GPU_OPEN */
	__u32 pad;
};

/* Who opens what means something: how often (bpf/gpu/urgent.bpf.h). */
struct moat_gpu_open_key {
	__u64 start_ns;
	__u32 pid;
	__u32 rdev; /* 0: PCI resources */
};

#define MOAT_GPU_RAW_ACCESS 0x40u /* the category of what follows, as a bit */
#define MOAT_PCI_NAME_LEN 24      /* "0000:81:00.0"; the domains of some controllers have eight digits */

/* The registers or the memory of an accelerator, mapped past its driver: a resource of its PCI device. */
struct moat_gpu_map {
	struct moat_hdr hdr;
	__u64 length;
	__u32 resource;  /* N of resourceN: the number of the base address register */
	__u32 pci_class; /* of 24 bits, as sysfs has it: 0x030200 */
	__u16 vendor;
	__u16 product;
	__u32 prot;
	__u32 categories;
	__u32 pad;
	char device[MOAT_PCI_NAME_LEN];
};

/* Why a call is an event. */
#define MOAT_IOCTL_FIRST 0x1u   /* first of this (process, device, command) */
#define MOAT_IOCTL_WATCHED 0x2u /* a configured command */
#define MOAT_IOCTL_MEANS 0x4u   /* it has a category, and the condition holds */
#define MOAT_IOCTL_MEMORY 0x8u  /* MOAT_GPU_ROW_ALWAYS */
#define MOAT_IOCTL_FAILED 0x10u /* it failed, and the one before did not, or for another reason */
/* More about it. */
#define MOAT_IOCTL_WRAPPED 0x100u /* came inside another call (NV_ESC_IOCTL_XFER_CMD) */
#define MOAT_IOCTL_STATUS 0x200u  /* .status is what the driver answered */
#define MOAT_IOCTL_TARGET 0x400u  /* .target is known */
#define MOAT_IOCTL_UNREAD 0x1000u /* what it is could not be read: it may be any call of its number */
#define MOAT_IOCTL_NESTED 0x800u  /* the parameters point to more, of which .nested is the beginning */
#define MOAT_IOCTL_COPIED 0x2000u /* what is told is the driver's own copy, which nobody but the driver could change */

/*
 * Read when the call returned (unless MOAT_F_NO_RESULT): the parameters hold what the driver wrote back. With MOAT_IOCTL_COPIED what they
 * point to is as the driver read it.
 */
struct moat_gpu_ioctl {
	struct moat_hdr hdr;
	__u64 arg;    /* where the parameters lie */
	__s64 result; /* of the system call: a driver may refuse and still return 0 */
	__u64 count;  /* calls so far, this one included; 0: the table was full, not known */
	__u64 errors; /* of those */
	struct moat_gpu_owner target; /* whose client, address space or file it is about */
	__u32 rdev;
	__u32 class_id; /* | driver << 8 */
	__u32 cmd;      /* the whole word, as passed */
	__u32 number;   /* the call's own: unwrapped */
	__u32 size;     /* of the parameters as passed: _IOC_SIZE, or what the wrapper said */
	__u32 detail;
	__u32 why;      /* MOAT_IOCTL_* */
	__u32 status;
	__u32 categories;
	__u32 driver_version; /* of the driver, as moat_control.gpu_version has it; 0: not known */
	__u32 params_len;  /* bytes of params that could be read; the rest is not defined */
	__u32 nested_len;  /* the same of nested */
	__u32 nested_size; /* as passed (RM_CONTROL), or as the class has it */
	__u32 client; /* of NVIDIA's resource manager: whose; 0: not one of its calls */
	__u32 object; /* of a control: the one it is for; of an allocation: the new one */
	__u32 pad;
	__u8 params[MOAT_GPU_PARAMS_LEN];
	__u8 nested[MOAT_GPU_NESTED_LEN];
};

#define MOAT_GPU_TEXT_LEN 16384

/* The machine code of one function, once: user space asks by the first two, with done 0. */
struct moat_gpu_text {
	__u64 address;
	__u32 length; /* at most MOAT_GPU_TEXT_LEN */
	__u32 done;
	__s64 error; /* 0, or negative: it cannot be read */
	__u8 bytes[MOAT_GPU_TEXT_LEN];
};

#endif
