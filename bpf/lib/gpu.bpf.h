/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a call of an accelerator's driver is and means, by the number that the driver goes by and what stands in its parameters.
 *
 * NVIDIA's driver (kernel-open/nvidia/nv.c nvidia_ioctl) looks at number and size alone; magic and direction are the caller's whim. Number
 * 211 carries another call: its number, size and parameters. UVM goes by the whole word, which has no size. The others go by the number.
 * The parameters are in the caller's memory, where another of its threads can change them between this reading and the driver's; where the
 * driver's own copy can be had (gpu/copy.bpf.c), it is read instead.
 */
#ifndef MOAT_LIB_GPU_BPF_H
#define MOAT_LIB_GPU_BPF_H

#include <linux/errno.h>
#include "device.bpf.h"
#include "maps.bpf.h"
#include "stats.bpf.h"

#define MOAT_IOC_SIZE(cmd) ((cmd) >> 16 & 0x3fff)
#define MOAT_IOC_NR(cmd) ((cmd) & 0xff)

/* src/nvidia/arch/nvalloc/unix/include/nv_escape.h; the same numbers in all drivers from 515 on */
#define MOAT_NV_FIRST 0x27u /* of the resource manager: each begins with a client */
#define MOAT_NV_FREE 0x29u
#define MOAT_NV_CONTROL 0x2au
#define MOAT_NV_CONTROL_STATUS 28u /* NVOS54 */
#define MOAT_NV_ALLOC 0x2bu
#define MOAT_NV_LAST 0x5fu
#define MOAT_NV_XFER 211u
/* src/common/sdk/nvidia/inc: class and control numbers */
#define MOAT_NV_CLIENT 0x41u
#define MOAT_NV_DEBUGGER 0x83deu
#define MOAT_NV_EXPORT_OBJECT 0x3d05u
#define MOAT_NV_EXPORT_OBJECTS 0x3d0bu
#define MOAT_UVM_INITIALIZE 0x30000001u /* kernel-open/nvidia-uvm/uvm_linux_ioctl.h */
#define MOAT_NV_GSS 0x8000u /* a control that only the firmware knows */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct moat_gpu_row_key);
	__type(value, struct moat_gpu_row);
} moat_gpu_rows SEC(".maps") __weak;

/* Handles of clients are unique on a host. Entries of processes that are gone are removed by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct moat_gpu_owner);
} moat_gpu_clients SEC(".maps") __weak;

/* Whom a debugger debugs. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct moat_gpu_object);
	__type(value, struct moat_gpu_owner);
} moat_gpu_debuggers SEC(".maps") __weak;

/*
 * By the address of the struct file: who set up its address space (UVM), or put memory into it (an export). Whoever is given another file at
 * the same address later must set it up first, and then is the one that stands here.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct moat_gpu_owner);
} moat_gpu_files SEC(".maps") __weak;

struct moat_gpu_call {
	const struct file *file;
	__u64 arg;    /* the parameters */
	__u64 nested; /* what they point to; 0: nothing */
	__u32 class_id;
	__u32 number;
	__u32 size;
	__u32 detail;
	__u32 client; /* of the resource manager; 0: not one of its calls */
	__u32 object; /* of a control: the one it is for. Of an allocation: the new one, after the call */
	__u32 nested_size;
	__u32 why; /* MOAT_IOCTL_WRAPPED, _NESTED, _UNREAD, _COPIED */
	__u32 status; /* of a control, once it returned: read with the rest */
};

/* What the driver took over from the caller's memory, of one call (gpu/copy.bpf.c). */
struct moat_gpu_copy {
	const void *data; /* its parameters, while it is at work */
	const void *to;   /* where it is about to put what they point to */
	__u64 nested_at;  /* where that lies in the caller's memory */
	__u32 class_id;
	__u32 number;
	__u32 size; /* of the parameters; 0: not told */
	__u32 status;
	__u32 params_len;
	__u32 nested_len;
	__u32 to_len;
	__u8 live;   /* of a call that has not been looked at yet */
	__u8 ended;  /* with what the driver wrote into it */
	__u8 status_known;
	__u8 pad;
	__u8 params[MOAT_GPU_PARAMS_LEN];
	__u8 nested[MOAT_GPU_NESTED_LEN];
};

static __always_inline int moat_gpu_is_nvidia(const struct moat_gpu_call *call)
{
	return MOAT_GPU_CLASS(call->class_id) == MOAT_GPU_NVIDIA;
}

/* The beginning of the parameters, of the driver's copy or, without one, of the caller's memory. */
static __always_inline long moat_gpu_head(const struct moat_gpu_copy *copy, void *to, const __u32 size, __u64 from)
{
	if (!copy)
		return bpf_probe_read_user(to, size, (void *)from);
	if (copy->params_len < size)
		return -EFAULT;
	__builtin_memcpy(to, copy->params, size);
	return 0;
}

/*
 * A word of the parameters, or of what they point to. What the driver has not taken over, or lies behind what is kept of it, comes from the
 * caller's memory.
 */
static __always_inline long moat_gpu_word(const struct moat_gpu_call *call, const struct moat_gpu_copy *copy, int nested,
					  __u32 at, __u32 *value)
{
	if (copy && nested && copy->to) /* it was copied, and its end passed unseen: what the driver got is not known */
		return -EFAULT;
	if (copy && at + sizeof(*value) <= (nested ? copy->nested_len : copy->params_len)) {
		const __u8 *from = nested ? copy->nested : copy->params;

		barrier_var(at);
		if (at > MOAT_GPU_NESTED_LEN - sizeof(*value)) /* no condition lies so far behind: held by a test of the rows */
			return -EFAULT;
		__builtin_memcpy(value, from + at, sizeof(*value));
		return 0;
	}
	return bpf_probe_read_user(value, sizeof(*value), (void *)((nested ? call->nested : call->arg) + at));
}

/*
 * Fills all but file, arg and class_id. copy: NULL, or what the driver took over of this call. A page that is not there now is no reason for the driver to fail: it waits for it, which a program
 * cannot. So what could not be read is told, and has no detail.
 */
MOAT_FUNCTION int moat_gpu_unwrap(struct moat_gpu_call *call, __u32 cmd, const struct moat_gpu_copy *copy)
{
	struct {
		__u32 cmd, size;
		__u64 ptr;
	} wrapped;
	__u32 head[8] = {}; /* handles and numbers: what all of these structures begin with */

	if (!call)
		return 0;
	call->nested = call->detail = call->client = call->object = call->nested_size = call->why = call->status = 0;
	call->number = MOAT_GPU_CLASS(call->class_id) == MOAT_GPU_NVIDIA_UVM ? cmd : MOAT_IOC_NR(cmd);
	call->size = call->number == cmd ? 0 : MOAT_IOC_SIZE(cmd);
	if (copy)
		call->why = MOAT_IOCTL_COPIED;
	if (!moat_gpu_is_nvidia(call))
		return 0;
	if (call->number == MOAT_NV_XFER) {
		if (bpf_probe_read_user(&wrapped, sizeof(wrapped), (void *)call->arg)) {
			if (!copy) {
				call->why = MOAT_IOCTL_UNREAD;
				return 0;
			}
			wrapped.ptr = 0;
		}
		call->why |= MOAT_IOCTL_WRAPPED;
		call->number = copy ? copy->number : wrapped.cmd;
		call->size = copy ? copy->size : wrapped.size;
		call->arg = wrapped.ptr;
	}
	if (call->number < MOAT_NV_FIRST || call->number > MOAT_NV_LAST)
		return 0;
	if (call->number == MOAT_NV_CONTROL || call->number == MOAT_NV_ALLOC) {
		if (moat_gpu_head(copy, head, 32, call->arg)) {
			call->why |= MOAT_IOCTL_UNREAD;
			return 0;
		}
		call->nested = (__u64)head[5] << 32 | head[4];
		call->why |= call->nested ? MOAT_IOCTL_NESTED : 0;
		if (call->number == MOAT_NV_CONTROL) { /* NVOS54: client, object, command, flags, parameters, their size */
			call->object = head[1];
			call->detail = head[2];
			call->nested_size = head[6];
			call->status = head[7];
		} else { /* NVOS21, NVOS64: client, parent, new object, class, parameters */
			call->object = head[2];
			call->detail = head[3];
		}
	} else {
		if (moat_gpu_head(copy, head, 16, call->arg)) {
			call->why |= MOAT_IOCTL_UNREAD;
			return 0;
		}
		call->object = head[2]; /* NVOS00, which frees: client, parent, object */
	}
	call->client = head[0];
	return 0;
}

/* Its rows, as one. */
MOAT_FUNCTION int moat_gpu_row_of(const struct moat_gpu_call *call, struct moat_gpu_row *row)
{
	struct moat_gpu_row_key key = {.size = MOAT_GPU_BY_DETAIL};
	struct moat_gpu_row *found;

	if (!call || !row)
		return 0;
	key.class_id = call->class_id;
	key.number = call->number;
	key.detail = call->detail;
	found = bpf_map_lookup_elem(&moat_gpu_rows, &key);
	if (!found && moat_gpu_is_nvidia(call) && call->number == MOAT_NV_CONTROL && call->detail & MOAT_NV_GSS) {
		key.detail &= ~0xffu;
		key.size = MOAT_GPU_BY_PATTERN;
		found = bpf_map_lookup_elem(&moat_gpu_rows, &key);
	}
	if (!found && MOAT_GPU_DRIVER(call->class_id)) { /* what all DRM drivers share */
		key.class_id = MOAT_GPU_CLASS(key.class_id);
		found = bpf_map_lookup_elem(&moat_gpu_rows, &key);
	}
	if (found)
		*row = *found;
	else
		__builtin_memset(row, 0, sizeof(*row));
	key.class_id = call->class_id;
	key.detail = 0;
	key.size = call->size;
	found = bpf_map_lookup_elem(&moat_gpu_rows, &key);
	row->status_at = found ? found->status_at : MOAT_GPU_NO_STATUS;
	row->flags |= found ? found->flags : 0;
	return 0;
}

static __always_inline struct moat_gpu_owner *moat_gpu_owner_of_file(const struct file *file)
{
	__u64 key = (__u64)file;

	return file ? bpf_map_lookup_elem(&moat_gpu_files, &key) : NULL;
}

/* The caller's process id as it is told itself. */
static __always_inline __u32 moat_gpu_own_pid(void)
{
	struct task_struct *task = moat_current();
	struct pid *pid = moat_get(task, group_leader, thread_pid);
	struct upid number = {};

	pid = moat_cast(struct pid, pid);
	/* Of variable length: the last is of the process's own namespace. */
	bpf_probe_read_kernel(&number.nr, sizeof(number.nr),
			      (char *)pid + bpf_core_field_offset(struct pid, numbers) +
				      (moat_get(pid, level) & 31) * bpf_core_type_size(struct upid));
	return number.nr;
}

/*
 * Calls for a client that another process made come by its file, which was passed on or taken: the driver goes by the file (RM checks that
 * calls for a client come by the one that made it). Who is seen to make a client has it; of one that nobody saw made nothing is said.
 */
MOAT_FUNCTION int moat_gpu_foreign(const struct moat_gpu_call *call, struct moat_gpu_owner *target)
{
	struct moat_gpu_owner *owner;
	__u32 client;

	if (!call || !target)
		return 0;
	client = call->client;
	if (!client || (call->number == MOAT_NV_ALLOC && call->object == client)) /* that is the making of it */
		return 0;
	owner = bpf_map_lookup_elem(&moat_gpu_clients, &client);
	if (!owner || (owner->pid == moat_self_pid() && owner->start_ns == moat_self_start()))
		return 0;
	*target = *owner;
	return MOAT_GPU_FOREIGN;
}

/*
 * The categories of a call, if its condition holds; whom it is about, where that is known. What would be of others, and nobody was seen to
 * make it (before the agent, or where a table was full), counts as of others.
 */
MOAT_FUNCTION int moat_gpu_means(const struct moat_gpu_call *call, const struct moat_gpu_row *row, struct moat_gpu_owner *target,
				 const struct moat_gpu_copy *copy)
{
	struct moat_gpu_owner *owner = NULL;
	__u32 when, value = 0;
	int nested;

	if (!call || !row || !target)
		return 0;
	when = row->when;
	nested = when == MOAT_GPU_NESTED_CLIENT || when == MOAT_GPU_NESTED_HALF || when == MOAT_GPU_NESTED_FD_WORKLOAD;

	target->pid = 0;
	if (!row->categories || when == MOAT_GPU_ALWAYS)
		return row->categories;
	if (when == MOAT_GPU_DEBUGGER) {
		struct moat_gpu_object key = {.client = call->client, .object = call->object};

		owner = bpf_map_lookup_elem(&moat_gpu_debuggers, &key);
		if (!owner)
			return 0;
	} else if (when == MOAT_GPU_OTHER_OWNER) {
		owner = moat_gpu_owner_of_file(call->file);
	} else {
		/* What cannot be read may be what the condition is about: the driver waits for the page, we cannot. */
		if (moat_gpu_word(call, copy, nested, row->at, &value))
			return row->categories;
		if (when == MOAT_GPU_HALF || when == MOAT_GPU_NESTED_HALF)
			return (value & 0xffff) == row->value ? row->categories : 0;
		if (when == MOAT_GPU_WORD)
			return value == row->value ? row->categories : 0;
		if (when == MOAT_GPU_OTHER_PID)
			return value && value != moat_gpu_own_pid() ? row->categories : 0;
		if (when == MOAT_GPU_FD_OWNER || when == MOAT_GPU_NESTED_FD_WORKLOAD) {
			owner = moat_gpu_owner_of_file(moat_fd_file(moat_current(), value));
		} else {
			if (!value || value == call->client)
				return 0;
			owner = bpf_map_lookup_elem(&moat_gpu_clients, &value);
		}
	}
	if (!owner)
		return row->categories;
	if (when == MOAT_GPU_NESTED_FD_WORKLOAD ? owner->cgroup_id == bpf_get_current_cgroup_id()
						: owner->pid == moat_self_pid() && owner->start_ns == moat_self_start())
		return 0;
	*target = *owner;
	return row->categories;
}

#endif
