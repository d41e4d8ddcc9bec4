/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every CO-RE branch lives here: how to reach a kernel object, on whatever kernel this is.
 *
 * Each domain is compiled twice from the same sources, and the loader takes the image that its kernel can run (probe/domain.h):
 * - here, for kernels with bpf_rdonly_cast (6.2): pointers are read by plain loads (1 to 2 ns; a fault reads 0);
 * - with MOAT_LEGACY, for older ones from 5.8 on: each load is a bpf_probe_read_kernel() (31 ns), and nothing is used that 5.8 lacks:
 *   no atomic that fetches (5.12), no bpf_loop (5.17), no kfunc, no bpf_get_current_task_btf (5.11).
 */
#ifndef MOAT_KERNEL_READ_BPF_H
#define MOAT_KERNEL_READ_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "types.h"

/*
 * moat_get(p, a, b.c): p->a->b.c of kernel objects. p is the name of a variable, nothing more.
 * moat_cast(type, p): p, from wherever it came, as a pointer for moat_get.
 * moat_copy(to, size, from): an array inside a kernel object.
 * moat_loop(n, step, ctx): step(i, ctx) until it returns 1, at most n times.
 * moat_fetch_add(p, n), moat_fetch_or(p, bits): what was there before.
 * moat_forget(x): makes the verifier forget what it knows of a variable, so that the ways by which it came to its value become one. Where
 * functions are looked at once it is not worth its copy. moat_forget_all(ptr): the same of a struct on the stack.
 * MOAT_FUNCTION: of a function that the verifier is to look at once, by itself, not at each call. It sees pointers to structs as memory that
 * may be NULL, which the function must ask first (5.12).
 */
#ifndef MOAT_LEGACY

/* Kernel 6.2. Turns any pointer into one that plain loads may follow, read-only. */
extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym;

/* Kernel 6.2. What is behind a context: a struct sock for cgroup socket programs, bpf_sock_addr_kern for connect. */
extern void *bpf_cast_to_kern_ctx(void *ctx) __ksym;

#define moat_cast(type, ptr) ((type *)bpf_rdonly_cast((ptr), bpf_core_type_id_kernel(type)))
#define moat_get(...) ___arrow(__VA_ARGS__)
#define moat_copy(to, size, from) __builtin_memcpy((to), (from), (size))
#define moat_loop(n, step, ctx) bpf_loop((n), (step), (ctx), 0)
#define moat_fetch_add(ptr, n) __sync_fetch_and_add((ptr), (n))
#define moat_fetch_or(ptr, bits) __sync_fetch_and_or((ptr), (bits))
#define MOAT_OR_MAY_LOSE 0
#define MOAT_FUNCTION __noinline
#define moat_forget(x) (void)0
#define moat_forget_all(ptr) (void)0
#define moat_kern_ctx(ctx) bpf_cast_to_kern_ctx(ctx)
#define moat_task_now() ((struct task_struct *)bpf_get_current_task_btf())

#else

#define moat_cast(type, ptr) ((type *)(ptr))
#define moat_get(...) BPF_CORE_READ(__VA_ARGS__)
#define moat_copy(to, size, from) bpf_probe_read_kernel((to), (size), (from))
#define moat_loop(n, step, ctx)                    \
	({                                         \
		for (__u32 i_ = 0; i_ < (n); i_++) \
			if (step(i_, (ctx)))       \
				break;             \
	})
/*
 * 5.10 has the atomic addition but not its result. Two threads may both take themselves for the first: told twice, never not at all.
 */
#define moat_fetch_add(ptr, n)                            \
	({                                                \
		__u64 before_ = *(volatile __u64 *)(ptr); \
		__sync_fetch_and_add((ptr), (n));         \
		before_;                                  \
	})
/* No atomic "or" at all: of two threads that set different bits at once one may be undone. Callers set theirs again and again. */
#define MOAT_OR_MAY_LOSE 1
#define moat_fetch_or(ptr, bits)                                            \
	({                                                                  \
		typeof(*(ptr)) before_ = *(volatile typeof(*(ptr)) *)(ptr); \
		*(volatile typeof(*(ptr)) *)(ptr) = before_ | (bits);       \
		before_;                                                    \
	})
#define MOAT_FUNCTION static __noinline
#define moat_forget(x)                                           \
	do {                                                     \
		typeof(x) known_ = (x);                          \
		bpf_probe_read_kernel(&(x), sizeof(x), &known_); \
	} while (0)
#define moat_forget_all(ptr) bpf_probe_read_kernel((ptr), sizeof(*(ptr)), (ptr))
/* Contexts are the kernel's own pointers, which only a helper may follow here. */
#define moat_kern_ctx(ctx) ((void *)(ctx))
#define moat_task_now() ((struct task_struct *)bpf_get_current_task())

#endif

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
	return moat_task(moat_task_now());
}

/*
 * Which process this is: thread group id and start time of its leader. A number straight from the trusted pointer is one instruction,
 * after a moat_cast nine (the JIT tests the address); a pointer is not worth its verification (above: 100 ms of all programs' loading).
 */
static __always_inline __u32 moat_self_pid(void)
{
	const struct task_struct *self = moat_task_now();

	return moat_get(self, tgid);
}

static __always_inline __u64 moat_self_start(void)
{
	const struct task_struct *self = moat_current();

	return moat_get(self, group_leader, start_boottime);
}

/* The slot of an array of pointers, read through the one kernel struct that starts with a pointer: list_head. */
static __always_inline void *moat_load_ptr(const void *slot)
{
	return moat_get(moat_cast(struct list_head, slot), next);
}

/* The name of a thread, 16 bytes. */
static __always_inline void moat_copy_comm(char *to, const struct task_struct *task)
{
#ifndef MOAT_LEGACY
	const __u64 *from = (const __u64 *)&task->comm;

	((__u64 *)to)[0] = from[0]; /* a copy by memcpy would be of four bytes a time */
	((__u64 *)to)[1] = from[1];
#else
	moat_copy(to, sizeof(task->comm), task->comm);
#endif
}

#ifndef MOAT_LEGACY
/* Eight bytes anywhere, as a number, read through the one kernel struct that starts with one. */
static __always_inline __u64 moat_load_word(const void *at)
{
	return moat_get(moat_cast(struct timespec64, at), tv_sec);
}
#endif

/* The file behind a descriptor of the current task, or NULL. No reference is taken: valid only inside the program. */
static __always_inline struct file *moat_fd_file(struct task_struct *task, __u32 fd)
{
	struct files_struct *files = moat_get(task, files);
	struct fdtable *table;
	void *file;

	if (!files)
		return NULL;
	table = moat_get(files, fdt);
	if (!table || fd >= moat_get(table, max_fds))
		return NULL;
	file = moat_load_ptr(moat_get(table, fd) + fd);
	return file ? moat_cast(struct file, file) : NULL;
}

#if defined(__TARGET_ARCH_x86)
#define moat_pt_regs pt_regs___x86
#elif defined(__TARGET_ARCH_arm64)
#define moat_pt_regs pt_regs___arm64
#else
#error "no system call registers known for this architecture"
#endif

/*
 * Context of a program on tp_btf/sys_exit: the two arguments of the tracepoint. The registers are those saved at entry; on
 * return only ax (x86-64), regs[0] (arm64) has changed. Not cast: the pointer is trusted, its loads plain.
 */
struct moat_sys_exit {
	const struct moat_pt_regs *regs;
	__s64 ret;
};

#if defined(__TARGET_ARCH_x86)

static __always_inline __u32 moat_syscall_nr(const struct moat_sys_exit *ctx)
{
	return ctx->regs->orig_ax;
}

/* A call by int 0x80 or from a 32-bit program has the numbers and registers of another architecture. */
static __always_inline int moat_is_compat(const struct task_struct *task)
{
	return (moat_get(task, thread_info.status) & MOAT_TS_COMPAT) != 0;
}

/* Argument 0..5 of the system call that returns. n must be a constant. */
static __always_inline __u64 moat_syscall_arg(const struct moat_sys_exit *ctx, int n)
{
	const struct pt_regs___x86 *regs = ctx->regs;

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
}

/* Argument 0..2, and where it is no compat call 0..4, of a system call by the registers that its own function is handed. */
static __always_inline __u64 moat_regs_arg(const void *at, int n, int compat)
{
	const struct pt_regs___x86 *regs = moat_cast(struct pt_regs___x86, at);

	switch (n) {
	case 0:
		return compat ? moat_get(regs, bx) : moat_get(regs, di);
	case 1:
		return compat ? moat_get(regs, cx) : moat_get(regs, si);
	case 3:
		return moat_get(regs, r10);
	case 4:
		return moat_get(regs, r8);
	default:
		return moat_get(regs, dx);
	}
}

#elif defined(__TARGET_ARCH_arm64)

static __always_inline __u64 moat_regs_arg(const void *at, int n, int compat __attribute__((unused)))
{
	const struct pt_regs___arm64 *regs = moat_cast(struct pt_regs___arm64, at);

	switch (n) {
	case 0:
		return moat_get(regs, orig_x0);
	case 1:
		return moat_get(regs, regs[1]);
	case 3:
		return moat_get(regs, regs[3]);
	case 4:
		return moat_get(regs, regs[4]);
	default:
		return moat_get(regs, regs[2]);
	}
}

static __always_inline __u32 moat_syscall_nr(const struct moat_sys_exit *ctx)
{
	return ctx->regs->syscallno;
}

static __always_inline int moat_is_compat(const struct task_struct *task)
{
	return (moat_get(task, thread_info.flags) & MOAT_TIF_32BIT) != 0;
}

static __always_inline __u64 moat_syscall_arg(const struct moat_sys_exit *ctx, int n)
{
	const struct pt_regs___arm64 *regs = ctx->regs;

	return n ? regs->regs[n] : regs->orig_x0;
}

#endif

/*
 * The task that returns from the call of a hook, or NULL: a 32-bit call, whose number means another call and whose arguments are in
 * other registers. The first thing in every hook.
 */
static __always_inline struct task_struct *moat_caller(void)
{
	struct task_struct *task = moat_current();

	return moat_is_compat(task) ? NULL : task;
}

/*
 * The flags an open variant was called with: file->f_flags has O_CREAT, O_EXCL and O_TRUNC removed (fs/open.c do_dentry_open).
 * Those of openat2 lie in user memory, which another thread may have changed since; 0 when it cannot be read.
 */
#define MOAT_O_ACCMODE 3
#define MOAT_O_WRONLY 1
#define MOAT_O_CREAT 00000100
#define MOAT_O_EXCL 00000200
#define MOAT_O_TRUNC 00001000
#define MOAT_O_PATH 010000000

static __always_inline __u32 moat_open_flags(const struct moat_sys_exit *ctx)
{
	__u32 nr = moat_syscall_nr(ctx);
	__u64 how = 0;

	if (nr == 437) { /* openat2, the same number everywhere */
		bpf_probe_read_user(&how, sizeof(how), (void *)moat_syscall_arg(ctx, 2));
		return how;
	}
#if defined(__TARGET_ARCH_x86)
	if (nr == 2) /* open */
		return moat_syscall_arg(ctx, 1);
	if (nr == 85) /* creat */
		return MOAT_O_CREAT | MOAT_O_TRUNC;
#endif
	return moat_syscall_arg(ctx, 2); /* openat, open_by_handle_at */
}

/* The mount that holds a vfsmount. */
static __always_inline struct mount *moat_mount_of(const struct vfsmount *mnt)
{
	return moat_cast(struct mount, (const char *)mnt - bpf_core_field_offset(struct mount, mnt));
}

/* The cgroup that a socket was made in, as a number; 0: not told (net_cls took its place, until 5.14). */
static __always_inline __u64 moat_sock_cgroup(const struct sock *sk)
{
	__u64 data = 0;

	bpf_probe_read_kernel(&data, sizeof(data), (const char *)sk + bpf_core_field_offset(struct sock, sk_cgrp_data));
	return data & 1 ? 0 : data & ~3ull;
}

/* The id of the cgroup above this one at a level, which must not be below its own. */
static __always_inline __u64 moat_ancestor_id(const struct cgroup *cgroup, __u32 level)
{
	const struct cgroup *above;

#ifdef MOAT_LEGACY
	if (bpf_core_field_exists(cgroup->ancestor_ids))
		return (__u64)moat_load_ptr((const char *)cgroup + bpf_core_field_offset(struct cgroup, ancestor_ids) +
					    level * 8);
#endif
	above = moat_load_ptr((const char *)cgroup + bpf_core_field_offset(struct cgroup, ancestors) + level * 8);
	if (!above)
		return 0;
	above = moat_cast(struct cgroup, above);
	return moat_get(above, kn, id);
}

/*
 * A set of capabilities. Since 6.3 a __u64, before it an array of two __u32, the lower half first: on little-endian machines the
 * same eight bytes. Not by a flavor of the struct: a type that the kernel lacks makes libbpf search the BTF of all modules, which
 * costs 20 ms and CAP_SYS_ADMIN.
 */
#define moat_caps(cred, field) ((__u64)moat_load_ptr((const char *)(cred) + bpf_core_field_offset(struct cred, field)))

#endif
