/* SPDX-License-Identifier: GPL-2.0-only */
/* What changes the world that a process lives in, or the kernel below it. What it comes to is known when the call returns. */
#include "../lib/call.bpf.h"
#include "../lib/emit.bpf.h"
#include "../lib/path.bpf.h"
#include "../lib/scope.bpf.h"
#include "../abi/privilege.h"
#include <bpf/bpf_tracing.h>

/* include/uapi/linux/sched.h: CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET */
#define MOAT_CLONE_NEW 0x7e020080ull
#define MOAT_OPEN_TREE_CLONE 1ull

/* What a call was passed. Addresses in user memory, 0: none. */
struct moat_privilege_call {
	__s64 result;
	__u64 flags;
	__u64 target, source, type;
	__u32 operation;
	__u32 fd;
	__u64 has_fd;
};

static __always_inline __u32 moat_user_string(char *to, __u32 size, __u64 from)
{
	long n;

	if (!from)
		return 0;
	n = bpf_probe_read_user_str(to, size, (const void *)from);
	if (n < 0)
		*to = 0;
	return n < 0 ? MOAT_F_UNREADABLE : n == size ? MOAT_F_TRUNCATED : 0; /* or exactly as long */
}

static __always_inline void moat_fill_namespaces(struct moat_privilege *e, const struct task_struct *task)
{
	e->mount_ns = moat_get(task, nsproxy, mnt_ns, ns.inum);
	e->pid_ns = moat_get(task, nsproxy, pid_ns_for_children, ns.inum);
	e->net_ns = moat_get(task, nsproxy, net_ns, ns.inum);
	e->user_ns = moat_get(task, cred, user_ns, ns.inum);
}

static __always_inline int moat_is_rare(__u32 operation)
{
	return operation == MOAT_PRIVILEGE_SETNS ||
	       (operation >= MOAT_PRIVILEGE_INIT_MODULE && operation <= MOAT_PRIVILEGE_KEXEC_FILE_LOAD);
}

MOAT_FUNCTION int moat_privileged(const struct moat_privilege_call *call)
{
	struct moat_control *control = moat_get_control();
	struct task_struct *task = moat_current();
	struct moat_privilege *e;
	struct file *file;
	__u32 flags = 0;

	if (!call || !moat_in_scope(control))
		return 0;
	/*
	 * What was refused, and what a container may do in a loop (chroot, mounts in a namespace of its own), may come by the million: not where
	 * it could push a verdict out.
	 */
	e = call->result >= 0 && moat_is_rare(call->operation)
		    ? MOAT_RESERVE(moat_ring_urgent, MOAT_KIND_PRIVILEGE, struct moat_privilege)
		    : MOAT_RESERVE(moat_ring_bulk, MOAT_KIND_PRIVILEGE, struct moat_privilege);
	if (!e)
		return 0;
	moat_fill(&e->hdr, MOAT_KIND_PRIVILEGE, sizeof(*e), task);
	e->hdr.labels = moat_labels(e->hdr.pid, e->hdr.start_ns);
	e->result = call->result;
	e->flags = call->flags;
	e->inode = 0;
	e->operation = call->operation;
	e->pad = 0;
	moat_fill_namespaces(e, task);
	__builtin_memset((__u64 *)e->target, 0, sizeof(e->target));
	__builtin_memset((__u64 *)e->source, 0, sizeof(e->source));
	__builtin_memset((__u64 *)e->type, 0, sizeof(e->type));
	flags |= moat_user_string(e->target, sizeof(e->target), call->target);
	moat_forget(flags);
	flags |= moat_user_string(e->source, sizeof(e->source), call->source);
	moat_forget(flags);
	flags |= moat_user_string(e->type, sizeof(e->type), call->type);
	moat_forget(flags);
	file = call->has_fd ? moat_fd_file(task, call->fd) : NULL;
	if (file) {
		e->inode = moat_get(file, f_inode, i_ino);
		if (call->operation != MOAT_PRIVILEGE_SETNS)
			flags |= moat_last_name(e->target, moat_get(file, f_path.dentry));
	}
	e->hdr.flags = flags;
	moat_submit(control, e);
	return 0;
}

/* moat_asks(operation, .member = value, ...): what is not given is none. */
#define moat_asks(what, given...)                                                                                             \
	({                                                                                                                    \
		struct moat_privilege_call call_ = {.result = moat_call_result, .operation = MOAT_PRIVILEGE_##what, ##given}; \
		moat_privileged(&call_);                                                                                      \
	})

MOAT_CALL(moat_process_setns, setns, moat_asks(SETNS, .flags = moat_call_arg(1), .has_fd = 1, .fd = moat_call_arg(0)))
MOAT_CALL(moat_process_unshare, unshare, if (moat_call_arg(0) & MOAT_CLONE_NEW) moat_asks(UNSHARE, .flags = moat_call_arg(0)))
MOAT_CALL(moat_process_mount, mount,
	  moat_asks(MOUNT, .flags = moat_call_arg(3), .target = moat_call_arg(1), .source = moat_call_arg(0),
		    .type = moat_call_arg(2)))
MOAT_CALL(moat_process_pivot_root, pivot_root, moat_asks(PIVOT_ROOT, .target = moat_call_arg(0), .source = moat_call_arg(1)))
MOAT_CALL(moat_process_open_tree, open_tree,
	  if (moat_call_arg(2) & MOAT_OPEN_TREE_CLONE)
		  moat_asks(OPEN_TREE, .flags = moat_call_arg(2), .target = moat_call_arg(1)))
MOAT_CALL(moat_process_move_mount, move_mount,
	  moat_asks(MOVE_MOUNT, .flags = moat_call_arg(4), .target = moat_call_arg(3), .source = moat_call_arg(1)))
MOAT_CALL(moat_process_fsopen, fsopen, moat_asks(FSOPEN, .flags = moat_call_arg(1), .type = moat_call_arg(0)))
MOAT_CALL(moat_process_chroot, chroot, moat_asks(CHROOT, .target = moat_call_arg(0)))
MOAT_CALL(moat_process_init_module, init_module, moat_asks(INIT_MODULE, .flags = moat_call_arg(1)))
MOAT_CALL(moat_process_finit_module, finit_module,
	  moat_asks(FINIT_MODULE, .flags = moat_call_arg(2), .has_fd = 1, .fd = moat_call_arg(0)))
MOAT_CALL(moat_process_kexec_load, kexec_load, moat_asks(KEXEC_LOAD, .flags = moat_call_arg(3)))
MOAT_CALL(moat_process_kexec_file_load, kexec_file_load,
	  moat_asks(KEXEC_FILE_LOAD, .flags = moat_call_arg(4), .has_fd = 1, .fd = moat_call_arg(0)))
