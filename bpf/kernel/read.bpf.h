/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every CO-RE branch lives here: how to reach a kernel object, on whatever kernel this is.
 *
 * Pointers from bpf_get_current_task_btf() and bpf_rdonly_cast() are read by plain loads (1 to 2 ns; a fault reads 0) instead
 * of bpf_probe_read_kernel() (31 ns).
 */
#ifndef MOAT_KERNEL_READ_BPF_H
#define MOAT_KERNEL_READ_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "types.h"
#include "flavors.h"

/* Kernel 6.2. Turns any pointer into one that plain loads may follow, read-only. */
extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym;

#define moat_cast(type, ptr) ((type *)bpf_rdonly_cast((ptr), bpf_core_type_id_kernel(type)))

static __always_inline struct task_struct *moat_current(void)
{
	return (struct task_struct *)bpf_get_current_task_btf();
}

/* The slot of an array of pointers, read through the one kernel struct that starts with a pointer: list_head. */
static __always_inline void *moat_load_ptr(const void *slot)
{
	return moat_cast(struct list_head, slot)->next;
}

/* The file behind a descriptor of the current task, or NULL. No reference is taken: valid only inside the program. */
static __always_inline struct file *moat_fd_file(struct task_struct *task, __u32 fd)
{
	struct files_struct *files = task->files;
	struct fdtable *table;
	void *file;

	if (!files)
		return NULL;
	table = files->fdt;
	if (!table || fd >= table->max_fds)
		return NULL;
	file = moat_load_ptr(table->fd + fd);
	return file ? moat_cast(struct file, file) : NULL;
}

/* Arguments of the system call that is returning, from the saved registers. */
static __always_inline struct pt_regs_x86 *moat_syscall_regs(struct task_struct *task)
{
	return (struct pt_regs_x86 *)bpf_task_pt_regs(task);
}

static __always_inline __u64 moat_cap_permitted(const struct cred *cred)
{
	if (bpf_core_type_exists(struct kernel_cap_struct___old)) {
		const struct cred___old *old = (const void *)cred;
		__u64 low = 0, high = 0;

		bpf_core_read(&low, 4, &old->cap_permitted.cap[0]);
		bpf_core_read(&high, 4, &old->cap_permitted.cap[1]);
		return high << 32 | low;
	}
	return cred->cap_permitted.val;
}

static __always_inline __u64 moat_cap_effective(const struct cred *cred)
{
	if (bpf_core_type_exists(struct kernel_cap_struct___old)) {
		const struct cred___old *old = (const void *)cred;
		__u64 low = 0, high = 0;

		bpf_core_read(&low, 4, &old->cap_effective.cap[0]);
		bpf_core_read(&high, 4, &old->cap_effective.cap[1]);
		return high << 32 | low;
	}
	return cred->cap_effective.val;
}

#endif
