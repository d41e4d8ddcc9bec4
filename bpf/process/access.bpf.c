/* SPDX-License-Identifier: GPL-2.0-only */
/* One process reaches into another. That its labels go with what it read there is ptrace.bpf.c's. */
#include "../lib/call.bpf.h"
#include "../lib/emit.bpf.h"
#include "../lib/scope.bpf.h"
#include "../lib/task.bpf.h"
#include "../abi/access.h"
#include <bpf/bpf_tracing.h>

/* Calls by who, whom, what and with which outcome. LRU: of an entry that gave way the next call is told as the first. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct moat_access_key);
	__type(value, __u64);
} moat_accesses SEC(".maps");

/* include/uapi/linux/ptrace.h; 12 to 15 of x86, which arm64 has not */
#define MOAT_PTRACE_POKETEXT 4
#define MOAT_PTRACE_POKEDATA 5
#define MOAT_PTRACE_POKEUSR 6
#define MOAT_PTRACE_SETREGS 13
#define MOAT_PTRACE_SETFPREGS 15
#define MOAT_PTRACE_ATTACH 16
#define MOAT_PTRACE_SETREGSET 0x4205
#define MOAT_PTRACE_SEIZE 0x4206

static __always_inline __u32 moat_ptrace_op(__u64 request)
{
	switch (request) {
	case MOAT_PTRACE_ATTACH:
	case MOAT_PTRACE_SEIZE:
		return MOAT_ACCESS_ATTACH;
	case MOAT_PTRACE_POKETEXT:
	case MOAT_PTRACE_POKEDATA:
	case MOAT_PTRACE_POKEUSR:
		return MOAT_ACCESS_POKE;
	case MOAT_PTRACE_SETREGS:
	case MOAT_PTRACE_SETFPREGS:
	case MOAT_PTRACE_SETREGSET:
		return MOAT_ACCESS_REGISTERS;
	default:
		return 0;
	}
}

/* A call more; which one it is of its kind. */
static __always_inline __u64 moat_count_access(const struct moat_access_key *key)
{
	__u64 one = 1, *count = bpf_map_lookup_elem(&moat_accesses, key);

	if (!count && bpf_map_update_elem(&moat_accesses, key, &one, BPF_NOEXIST) == 0)
		return 1;
	if (!count)
		count = bpf_map_lookup_elem(&moat_accesses, key); /* another thread was first */
	return count ? moat_fetch_add(count, 1) + 1 : 1;
}

static __always_inline void moat_accessed_by(struct task_struct *self, struct task_struct *target, __u32 op, __u32 request,
					     __s64 result)
{
	struct moat_control *control = moat_get_control();
	struct moat_access_key key = {};
	struct moat_access *e;
	__u64 count;

	if (!target || moat_get(target, tgid) == moat_get(self, tgid) || !moat_in_scope(control))
		return;
	key.start_ns = moat_get(self, group_leader, start_boottime);
	key.target_start_ns = moat_get(target, group_leader, start_boottime);
	key.pid = moat_get(self, tgid);
	key.target_pid = moat_get(target, tgid);
	key.operation = op;
	key.failed = result < 0;
	count = moat_count_access(&key);
	if (count & (count - 1))
		return;
	/* What was refused costs its caller nothing: not where it could push a verdict out. */
	e = result < 0 ? MOAT_RESERVE(moat_ring_bulk, MOAT_KIND_PROCESS_ACCESS, struct moat_access)
		       : MOAT_RESERVE(moat_ring_urgent, MOAT_KIND_PROCESS_ACCESS, struct moat_access);
	if (!e)
		return;
	moat_fill(&e->hdr, MOAT_KIND_PROCESS_ACCESS, sizeof(*e), self);
	e->hdr.labels = moat_labels(e->hdr.pid, e->hdr.start_ns);
	e->result = result;
	e->count = count;
	e->target_start_ns = key.target_start_ns;
	e->target_labels = moat_labels(key.target_pid, key.target_start_ns);
	e->target_pid = key.target_pid;
	e->target_uid = moat_get(target, cred, uid.val);
	e->operation = op;
	e->request = request;
	bpf_probe_read_kernel(e->target_comm, sizeof(e->target_comm), (const void *)&target->comm);
	moat_submit(control, e);
}

/* By the number that the caller passed. Looked at once, not in each hook. */
MOAT_FUNCTION int moat_accessed(__u32 number, __u32 op, __u32 request, __s64 result)
{
	struct task_struct *self = moat_current();

	moat_accessed_by(self, moat_task_by_number(self, number), op, request, result);
	return 0;
}

static __always_inline void moat_ptraced(__u64 request, __u32 number, __s64 result)
{
	__u32 op = moat_ptrace_op(request);

	if (op)
		moat_accessed(number, op, request, result);
}

MOAT_CALL(moat_process_ptrace_call, ptrace, moat_ptraced(moat_call_arg(0), moat_call_arg(1), moat_call_result))
MOAT_CALL(moat_process_vm_write, process_vm_writev, moat_accessed(moat_call_arg(0), MOAT_ACCESS_VM_WRITE, 0, moat_call_result))
MOAT_CALL(moat_process_vm_read, process_vm_readv, moat_accessed(moat_call_arg(0), MOAT_ACCESS_VM_READ, 0, moat_call_result))

/* /proc/PID/mem and /proc/PID/task/TID/mem (fs/proc/base.c). */
static __always_inline void moat_memory_opened(const void *at, const void *opened, __s64 result)
{
	const struct proc_inode *of =
		moat_cast(struct proc_inode, (const char *)at - bpf_core_field_offset(struct proc_inode, vfs_inode));
	const struct file *file = moat_cast(struct file, opened);
	struct task_struct *self = moat_current();

	moat_accessed_by(self, moat_pid_task(moat_get(of, pid)),
			 (moat_get(file, f_flags) & MOAT_O_ACCMODE) ? MOAT_ACCESS_MEM_WRITE : MOAT_ACCESS_MEM_READ, 0, result);
}

MOAT_TRACE("fexit/mem_open", moat_process_memory_fexit, struct inode *inode, struct file *file, long ret)
{
	moat_memory_opened(inode, file, (int)ret);
	return 0;
}
