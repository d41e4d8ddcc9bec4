/* SPDX-License-Identifier: GPL-2.0-only */
/* What calls that succeed make known: whose a client, an address space, an exported file is, and whom a debugger debugs. */
#ifndef MOAT_GPU_LEARN_BPF_H
#define MOAT_GPU_LEARN_BPF_H

#include <linux/errno.h>
#include "../lib/gpu.bpf.h"

static __always_inline void moat_gpu_learn_owner(void *map, const void *key, __u32 rows, const struct moat_gpu_owner *owner,
						 __u64 flags)
{
	int err = bpf_map_update_elem(map, key, owner, flags);

	if (err && err != -EEXIST)
		moat_count_table_full(MOAT_TABLE_GPU_OWNERS);
	moat_note_rows(rows);
}

/* What a call that succeeded made known. Of such calls every one must be asked: they are rows with MOAT_GPU_ROW_ALWAYS. */
MOAT_FUNCTION int moat_gpu_learn(const struct moat_gpu_call *call, const struct moat_gpu_owner *target, __u32 categories,
				 const struct moat_gpu_copy *copy)
{
	struct moat_gpu_owner self = {};
	struct moat_gpu_object object = {};
	const struct file *file = NULL;
	struct moat_gpu_owner *owner;
	__u32 fd;

	if (!call || !target)
		return 0;
	object.client = call->client;
	object.object = call->object;
	self.pid = moat_self_pid();
	self.start_ns = moat_self_start();
	self.cgroup_id = bpf_get_current_cgroup_id();
	if (MOAT_GPU_CLASS(call->class_id) == MOAT_GPU_NVIDIA_UVM) {
		if (call->number == MOAT_UVM_INITIALIZE)
			file = call->file;
	} else if (!moat_gpu_is_nvidia(call)) {
		return 0;
	} else if (call->number == MOAT_NV_ALLOC) {
		/*
		 * The first who is seen to make a client has it until it is freed or the process ends: the status is in the caller's
		 * memory, where one of its threads can turn the driver's refusal into a success.
		 */
		if (call->detail <= 1 || call->detail == MOAT_NV_CLIENT)
			moat_gpu_learn_owner(&moat_gpu_clients, &object.object, MOAT_ROWS_GPU_CLIENTS, &self, BPF_NOEXIST);
		else if (call->detail == MOAT_NV_DEBUGGER && categories)
			moat_gpu_learn_owner(&moat_gpu_debuggers, &object, MOAT_ROWS_GPU_DEBUGGERS, target, BPF_ANY);
		return 0;
	} else if (call->number == MOAT_NV_FREE) {
		owner = bpf_map_lookup_elem(&moat_gpu_clients, &object.client);
		if (owner && (owner->pid != self.pid || owner->start_ns != self.start_ns))
			return 0; /* for the same reason: nobody forgets for others */
		if (call->object == call->client)
			bpf_map_delete_elem(&moat_gpu_clients, &object.client);
		else
			bpf_map_delete_elem(&moat_gpu_debuggers, &object);
		return 0;
	} else if (call->number == MOAT_NV_CONTROL &&
		   (call->detail == MOAT_NV_EXPORT_OBJECT || call->detail == MOAT_NV_EXPORT_OBJECTS)) {
		/* Into a control file that the caller opened for it. */
		if (moat_gpu_word(call, copy, 1, call->detail == MOAT_NV_EXPORT_OBJECT ? 16 : 0, &fd) == 0)
			file = moat_fd_file(moat_current(), fd);
	}
	if (file) {
		__u64 key = (__u64)file;

		moat_gpu_learn_owner(&moat_gpu_files, &key, MOAT_ROWS_GPU_FILES, &self, BPF_ANY);
	}
	return 0;
}

#endif
