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

/* Kernel 6.2. What is behind a context: a struct sock for cgroup socket programs, bpf_sock_addr_kern for connect. */
extern void *bpf_cast_to_kern_ctx(void *ctx) __ksym;

#define moat_cast(type, ptr) ((type *)bpf_rdonly_cast((ptr), bpf_core_type_id_kernel(type)))

/*
 * A task that came as a trusted pointer, made a read-only one. The loads cost the same, the verifier does not: for each pointer
 * loaded through a trusted one it searches all of the kernel's BTF by name, twice (type_is_rcu and its kin), about 1 ms a load.
 * Measured: moat_file_exit 1,171 ms trusted, 44 ms so; all hooks together 2.4 s and 0.3 s.
 */
static __always_inline struct task_struct *moat_task(const struct task_struct *task)
{
	return moat_cast(struct task_struct, task);
}

static __always_inline struct task_struct *moat_current(void)
{
	return moat_task((struct task_struct *)bpf_get_current_task_btf());
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

/* Context of a program on tracepoint/syscalls/sys_exit_*: struct syscall_tp_t (kernel/trace/trace_syscalls.c). */
struct moat_syscall_exit {
	__u64 regs;
	__s32 nr;
	__u32 pad;
	__s64 ret;
};

/*
 * The registers saved when the current task entered the kernel lie at one distance from the start of its stack, the same for all
 * tasks. Asked of the kernel once, because the helper costs 40 ns of the 310 that a counted ioctl may add. (The address in the
 * first eight bytes of the context is no way round: it is of made-up registers without arguments.)
 */
static volatile __u64 moat_regs_distance;

static __always_inline void *moat_saved_regs(struct task_struct *task)
{
	__u64 distance = moat_regs_distance;
	void *stack = moat_cast(struct list_head, task->stack); /* a pointer again, so that the verifier lets us subtract it */

	if (!distance) {
		distance = (char *)bpf_task_pt_regs(bpf_get_current_task_btf()) - (char *)stack;
		moat_regs_distance = distance;
	}
	return (void *)((__u64)task->stack + distance);
}

/* Argument 0..5 of the system call from which the current task is returning. n must be a constant. */
static __always_inline __u64 moat_syscall_arg(struct task_struct *task, int n)
{
#if defined(__TARGET_ARCH_x86)
	struct pt_regs___x86 *regs = moat_cast(struct pt_regs___x86, moat_saved_regs(task));

	switch (n) {
	case 0:
		return regs->di;
	case 1:
		return regs->si;
	case 2:
		return regs->dx;
	case 3:
		return regs->r10;
	case 4:
		return regs->r8;
	default:
		return regs->r9;
	}
#elif defined(__TARGET_ARCH_arm64)
	struct pt_regs___arm64 *regs = moat_cast(struct pt_regs___arm64, moat_saved_regs(task));

	return n ? regs->regs[n] : regs->orig_x0;
#else
#error "moat_syscall_arg: no system call registers known for this architecture"
#endif
}

/*
 * The flags an open variant was called with: file->f_flags has O_CREAT, O_EXCL and O_TRUNC removed (fs/open.c do_dentry_open).
 * Those of openat2 lie in user memory, which another thread may have changed since; 0 when it cannot be read.
 */
#define MOAT_O_CREAT 00000100
#define MOAT_O_EXCL 00000200
#define MOAT_O_TRUNC 00001000
#define MOAT_O_PATH 010000000

static __always_inline __u32 moat_open_flags(struct task_struct *task, int nr)
{
	__u64 how = 0;

	if (nr == 437) { /* openat2, the same number everywhere */
		bpf_probe_read_user(&how, sizeof(how), (void *)moat_syscall_arg(task, 2));
		return how;
	}
#if defined(__TARGET_ARCH_x86)
	if (nr == 2) /* open */
		return moat_syscall_arg(task, 1);
	if (nr == 85) /* creat */
		return MOAT_O_CREAT | MOAT_O_TRUNC;
#endif
	return moat_syscall_arg(task, 2); /* openat, open_by_handle_at */
}

/* The mount that holds a vfsmount. */
static __always_inline struct mount *moat_mount_of(const struct vfsmount *mnt)
{
	return moat_cast(struct mount, (const char *)mnt - bpf_core_field_offset(struct mount, mnt));
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
