/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The record header and the kinds: the first thing in every record on both rings.
 *
 * Border rules for this folder: fixed-width fields, explicit pads, natural alignment (never packed: 34 instructions to fill
 * one event aligned, 214 packed), only <linux/types.h> included. A change of any layout here raises MOAT_ABI_VERSION.
 */
#ifndef MOAT_ABI_EVENT_H
#define MOAT_ABI_EVENT_H

#include <linux/types.h>

#define MOAT_ABI_VERSION 2

#define MOAT_COMM_LEN 16
#define MOAT_NO_ASSET 0xffffffffu
#define MOAT_NO_FD 0xffffffffu /* the operation had no descriptor, or none yet */
#define MOAT_MAX_ASSETS 64 /* one label bit each */

enum moat_kind {
	MOAT_KIND_NONE = 0,
	MOAT_KIND_FORK = 1,
	MOAT_KIND_EXEC = 2,
	MOAT_KIND_EXIT = 3,
	MOAT_KIND_SCAN = 4, /* a process that ran before the agent; from the iterator, never on a ring */
	MOAT_KIND_PROCESS_ACCESS = 5, /* one process reaches into another */
	MOAT_KIND_PRIVILEGE = 6,      /* namespaces, mounts, modules of the kernel */
	MOAT_KIND_LOGIN = 7,          /* what PAM answered */
	MOAT_KIND_FILE_OPEN = 8,
	MOAT_KIND_FILE_MAP = 9,
	MOAT_KIND_FILE_TAMPER = 10,
	MOAT_KIND_FILE_IO = 11, /* sums per (process, asset) */
	MOAT_KIND_GPU_OPEN = 16,
	MOAT_KIND_GPU_IOCTL = 17,
	MOAT_KIND_GPU_MAP = 18,
	MOAT_KIND_NET_DNS = 22, /* a question to a DNS server */
	MOAT_KIND_FINDING = 23, /* what moatd concludes; made in user space */
	MOAT_KIND_NET_CONNECT = 24,
	MOAT_KIND_NET_SEND = 25, /* unconnected send: first to a destination on a socket */
	MOAT_KIND_NET_LISTEN = 26,
	MOAT_KIND_NET_ACCEPT = 27,
	MOAT_KIND_NET_CLOSE = 28,
	MOAT_KIND_NET_FLOW = 29, /* running totals of an open socket; made in user space from the flow map */
	MOAT_KIND_GAP = 30,      /* a loss, told in the stream; made in user space */
	MOAT_KIND_VERDICT = 31,  /* what a policy decided */
	MOAT_KIND_COUNT = 32,
};

/* moat_hdr.flags: what the kernel could not say. A field we could not read carries a flag, not a zero. */
#define MOAT_F_TRUNCATED 0x1u    /* a string or array was cut at its stated limit */
#define MOAT_F_UNREADABLE 0x2u   /* some memory could not be read (page not resident, bad pointer) */
#define MOAT_F_NO_OWNER 0x4u     /* seen outside the context of a process: pid and start_ns are 0 */
#define MOAT_F_LABEL_LOST 0x8u   /* a label could not be stored (table full): labels may be incomplete */
#define MOAT_F_NO_RESULT 0x10u   /* seen before it was carried out: what became of it is not known */

struct moat_hdr {
	__u32 size; /* bytes of the whole record, this header included */
	__u16 version;
	__u16 kind;
	__u32 flags;
	__u32 uid;        /* of the thread, in the initial user namespace */
	__u64 time_ns;    /* CLOCK_MONOTONIC */
	__u32 pid;        /* thread group id, in the initial pid namespace */
	__u32 tid;
	__u64 start_ns;   /* of the thread group leader, CLOCK_BOOTTIME: with pid, the identity of a process */
	__u64 cgroup_id;  /* cgroup v2 */
	__u64 labels;     /* bit n: the process holds asset n */
	char comm[MOAT_COMM_LEN];
};

#endif
