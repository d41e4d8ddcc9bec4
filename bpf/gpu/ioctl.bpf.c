/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ioctls of accelerator devices: counted per (process, device, command, detail) in the kernel. An event is a first sight, a configured
 * command, a call with a meaning (lib/gpu.bpf.h), memory that is allocated or freed, and a failure that is not that of the call before. The
 * rest, of which an inference server makes 10^4 to 10^6 a second, is one look-up and a sum.
 *
 * Recognised by the device number behind the descriptor, so it does not matter where the descriptor came from (dup, fork,
 * SCM_RIGHTS). Not seen: io_uring commands.
 */
#include <linux/errno.h>
#include "../lib/emit.bpf.h"
#include "../lib/scope.bpf.h"
#include "../lib/syscall.bpf.h"
#include "copy.bpf.h"
#include "learn.bpf.h"

#define MOAT_FMODE_PATH 0x4000u /* include/linux/fs.h: opened with O_PATH, an ioctl on it never reaches the driver */
#define MOAT_GPU_URGENT 16u         /* calls with a meaning, of one (process, device, command, detail) */
#define MOAT_PAGE 4096u         /* the smallest page of any kernel: a larger one only makes the second try shorter */

/* Commands of which every call is an event. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct moat_watch_key);
	__type(value, __u32);
} moat_watch SEC(".maps");

/* Entries of processes that are gone are removed by user space, which reads the map each second anyway. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct moat_gpu_key);
	__type(value, struct moat_gpu_val);
} moat_gpu_calls SEC(".maps");

static __always_inline int watch_has(__u32 class_id, __u32 cmd, __u32 whole)
{
	struct moat_watch_key key = {.class_id = class_id, .cmd = cmd, .whole = whole};

	return bpf_map_lookup_elem(&moat_watch, &key) != NULL;
}

/* NVIDIA's driver looks at the number alone and ignores magic and direction: a match on the number must be possible. */
static __always_inline __u32 is_watched(const struct moat_gpu_call *call, __u32 cmd)
{
	__u32 class_id = MOAT_GPU_CLASS(call->class_id);

	return watch_has(class_id, call->number & 0xff, 0) || watch_has(class_id, cmd, 1) || watch_has(0, cmd, 1) ||
	       watch_has(0, call->number & 0xff, 0);
}

/*
 * Up to want bytes from the caller's memory, 0 to max (256 at most); returns how many. A program cannot wait for a page to come in: when the
 * read fails, the part up to the end of the first page is tried once, the rest of that page cannot be absent.
 */
static __always_inline __u32 read_params(__u8 *to, __u64 arg, __u32 want, const __u32 max)
{
	__u32 page = MOAT_PAGE - (arg & (MOAT_PAGE - 1));

	barrier_var(want);
	if (want > max) /* it is not: told to the verifiers of 5.10 and 6.1, which lose sight of it on the stack */
		return 0;
	if (bpf_probe_read_user(to, want, (void *)arg) == 0)
		return want;
	if (page >= want)
		return 0;
	barrier_var(page);
	if (page > max)
		return 0;
	return bpf_probe_read_user(to, page, (void *)arg) == 0 ? page : 0;
}

/* What came of it. */
struct moat_ioctl {
	__s64 result;
	__u32 hdr_flags; /* MOAT_F_NO_RESULT: it is not carried out yet */
	__u32 status;    /* the driver's, where MOAT_IOCTL_STATUS is told */
	__s32 outcome;   /* 0, a negative error, or the status */
	__u32 pad;
};

/* The same from the driver's copy, of which there are has bytes. */
static __always_inline __u32 take_copy(__u8 *to, const __u8 *from, __u32 want, __u32 has, const __u32 max)
{
	if (want > has)
		want = has;
	barrier_var(want);
	if (want > max)
		return 0;
	return bpf_probe_read_kernel(to, want, from) == 0 ? want : 0;
}

static __always_inline void note_unreadable(struct moat_gpu_ioctl *e)
{
	struct moat_stat *stat = moat_stat(MOAT_KIND_GPU_IOCTL);

	if (!(e->hdr.flags & MOAT_F_UNREADABLE) && stat)
		__sync_fetch_and_add(&stat->unreadable, 1);
	e->hdr.flags |= MOAT_F_UNREADABLE;
}

MOAT_FUNCTION int moat_gpu_emit_params(struct moat_gpu_ioctl *e, const struct moat_gpu_call *call, const struct moat_gpu_row *row,
				       const struct moat_gpu_copy *copy)
{
	__u32 want;

	if (!e || !call || !row)
		return 0;
	want = call->size;
	if (!want && copy) /* what lies behind them in the kernel is nobody's business */
		want = row->params_len;
	if (want > MOAT_GPU_PARAMS_LEN)
		e->hdr.flags |= MOAT_F_TRUNCATED;
	/* Commands without a size (older drivers', UVM's) may pass a pointer all the same, or a number, or nothing. */
	if (want == 0 || want > MOAT_GPU_PARAMS_LEN)
		want = MOAT_GPU_PARAMS_LEN;
	if (call->size == 0 && call->arg == 0)
		want = 0;
	if (copy && (call->size || row->params_len))
		e->params_len = take_copy(e->params, copy->params, want, copy->params_len, MOAT_GPU_PARAMS_LEN);
	else {
		e->params_len = want ? read_params(e->params, call->arg, want, MOAT_GPU_PARAMS_LEN) : 0;
		e->why &= ~MOAT_IOCTL_COPIED; /* how long the driver's is, is not known */
	}
	if (e->params_len != want)
		note_unreadable(e);
	moat_forget(want);
	e->nested_len = 0;
	e->nested_size = call->nested_size ? call->nested_size : row->nested_len;
	if (!call->nested)
		return 0;
	want = e->nested_size;
	if (want > MOAT_GPU_NESTED_LEN)
		e->hdr.flags |= MOAT_F_TRUNCATED;
	if (want == 0 || want > MOAT_GPU_NESTED_LEN)
		want = MOAT_GPU_NESTED_LEN;
	if (copy && copy->nested_len)
		e->nested_len = take_copy(e->nested, copy->nested, want, copy->nested_len, MOAT_GPU_NESTED_LEN);
	else {
		e->nested_len = read_params(e->nested, call->nested, want, MOAT_GPU_NESTED_LEN);
		e->why &= ~MOAT_IOCTL_COPIED; /* the driver did not get that far, or was not seen to */
	}
	if (e->nested_size && e->nested_len != want)
		note_unreadable(e);
	return 0;
}

static __always_inline void emit_ioctl(struct moat_control *control, const struct task_struct *self,
				       const struct moat_gpu_call *call, const struct moat_ioctl *came,
				       const struct moat_gpu_val *val, __u32 rdev, __u32 cmd, const struct moat_gpu_owner *target,
				       __u32 categories, __u64 count, __u32 why, const struct moat_gpu_copy *copy)
{
	__u32 kind = MOAT_KIND_GPU_IOCTL;
	struct moat_gpu_ioctl *e;

	/* Who makes the same call again and again must not push verdicts out of their ring. */
	e = categories && count && count <= MOAT_GPU_URGENT ? MOAT_RESERVE(moat_ring_urgent, kind, struct moat_gpu_ioctl)
							    : MOAT_RESERVE(moat_ring_bulk, kind, struct moat_gpu_ioctl);
	if (!e)
		return;
	moat_fill_hot(&e->hdr, kind, sizeof(*e), self);
	e->hdr.flags = came->hdr_flags;
	e->arg = call->arg;
	e->result = came->result;
	e->count = count;
	e->errors = val->errors;
	e->target = *target;
	e->rdev = rdev;
	e->class_id = call->class_id;
	e->cmd = cmd;
	e->number = call->number;
	e->size = call->size;
	e->detail = call->detail;
	e->why = why | call->why;
	e->status = came->status;
	e->categories = categories;
	e->driver_version = moat_gpu_is_nvidia(call)                                ? control->gpu_version[0]
			    : MOAT_GPU_CLASS(call->class_id) == MOAT_GPU_NVIDIA_UVM ? control->gpu_version[1]
										    : 0;
	e->client = call->client;
	e->object = call->object;
	e->pad = 0;
	moat_gpu_emit_params(e, call, &val->row, copy);
	moat_submit(control, e);
}

/* The entry of a command that the table does not have yet; NULL: no room. *why: whether this call is the first. */
static __always_inline struct moat_gpu_val *first_call(struct moat_control *control, const struct moat_gpu_key *key,
						       struct moat_gpu_val *fresh, __u32 *why)
{
	struct moat_gpu_val *val;

	/* Another thread may have been first: then this call is not. */
	*why = (int)bpf_map_update_elem(&moat_gpu_calls, key, fresh, BPF_NOEXIST) == -EEXIST ? 0 : MOAT_IOCTL_FIRST;
	moat_note_rows(MOAT_ROWS_GPU);
	val = bpf_map_lookup_elem(&moat_gpu_calls, key);
	if (!val) {
		moat_count_table_full(MOAT_TABLE_GPU);
		*why = MOAT_IOCTL_FIRST;
	}
	return val;
}

/* What the driver answered beside the result of the system call; 0: it has no such word, or it could not be read. */
MOAT_FUNCTION int moat_gpu_read_status(const struct moat_gpu_call *call, const struct moat_gpu_row *row,
				       const struct moat_gpu_copy *copy, __u32 *status)
{
	__u32 at;

	if (!call || !row || !status)
		return 0;
	at = row->status_at;
	if (copy && copy->status_known) {
		*status = copy->status;
		return 1;
	}
	if (at == MOAT_GPU_NO_STATUS)
		return 0;
	if (copy && !copy->ended) { /* what the caller had there when it began */
		copy = NULL;
	} else if (at == MOAT_NV_CONTROL_STATUS && call->number == MOAT_NV_CONTROL && moat_gpu_is_nvidia(call) &&
		   !(call->why & MOAT_IOCTL_UNREAD)) {
		*status = call->status;
		return 1;
	}
	if (copy && at + sizeof(*status) <= copy->params_len) {
		barrier_var(at);
		if (at > MOAT_GPU_PARAMS_LEN - sizeof(*status))
			return 0;
		__builtin_memcpy(status, copy->params + at, sizeof(*status));
		return 1;
	}
	return bpf_probe_read_user(status, sizeof(*status), (void *)(call->arg + at)) == 0;
}

/* What came of a call that returned; MOAT_IOCTL_FAILED if that is a failure, and another than that of the one before. */
MOAT_FUNCTION int moat_gpu_came(struct moat_gpu_call *call, struct moat_gpu_val *val, struct moat_ioctl *came,
				const struct moat_gpu_copy *copy)
{
	__s32 outcome;

	if (!call || !val || !came)
		return 0;
	outcome = came->result < 0 ? came->result : 0;
	if (came->result >= 0 && moat_gpu_read_status(call, &val->row, copy, &came->status)) {
		call->why |= MOAT_IOCTL_STATUS;
		outcome = came->status;
	}
	came->outcome = outcome;
	if (outcome)
		__sync_fetch_and_add(&val->errors, 1);
	if (val->outcome == outcome)
		return 0;
	val->outcome = outcome;
	return outcome ? MOAT_IOCTL_FAILED : 0;
}

static __always_inline void moat_ioctl_of(const struct file *file, __u32 cmd, __u64 arg, __s64 result, __u32 hdr_flags)
{
	const struct task_struct *self = moat_task_now();
	struct moat_gpu_call made, *call = &made;
	const struct moat_gpu_copy *copy = NULL;
	struct moat_ioctl came;
	struct moat_gpu_owner target;
	struct moat_gpu_val fresh, *val;
	struct moat_gpu_key key;
	struct moat_major_val *major;
	struct moat_control *control;
	__u32 rdev, class_id, categories, why = 0;
	__s32 outcome;
	__u64 count = 0;

	major = moat_major_of(file, &rdev);
	if (!major || moat_get(file, f_mode) & MOAT_FMODE_PATH)
		return;
	control = moat_get_control();
	if (!moat_scope_has(control, self))
		return;
	class_id = moat_class_of(major, rdev);
	if (class_id == MOAT_GPU_NONE)
		return;
	/* Not before: calls of other files, which most are, do not pay for it. */
	__builtin_memset(&target, 0, sizeof(target));
	__builtin_memset(&fresh, 0, sizeof(fresh));
	__builtin_memset(&key, 0, sizeof(key));
	__builtin_memset(&made, 0, sizeof(made));
	made.file = file;
	made.arg = arg;
	made.class_id = class_id;
	came.result = result;
	came.hdr_flags = hdr_flags;
	came.status = 0;
	came.outcome = 0;
	came.pad = 0;
	if (!(hdr_flags & MOAT_F_NO_RESULT))
		copy = moat_gpu_copy_of(class_id, cmd);
	moat_gpu_unwrap(call, cmd, copy);
	moat_forget_all(call);
	key.start_ns = moat_get(self, group_leader, start_boottime);
	key.pid = moat_get(self, tgid);
	key.rdev = rdev;
	key.cmd = call->why & MOAT_IOCTL_WRAPPED ? call->number : cmd;
	key.detail = call->detail;

	val = bpf_map_lookup_elem(&moat_gpu_calls, &key);
	if (!val || val->watch_epoch != control->watch_epoch) {
		moat_gpu_row_of(call, &fresh.row);
		fresh.watch_epoch = control->watch_epoch;
		fresh.watched = is_watched(call, cmd);
		fresh.class_id = call->class_id;
		if (val) {
			val->row = fresh.row;
			val->watched = fresh.watched;
			val->class_id = fresh.class_id;
			val->watch_epoch = fresh.watch_epoch;
		} else {
			val = first_call(control, &key, &fresh, &why);
		}
	}
	if (!val) /* no room in the table: rather too many events than silence */
		val = &fresh;
	if (!(hdr_flags & MOAT_F_NO_RESULT))
		why |= moat_gpu_came(call, val, &came, copy);
	outcome = came.outcome;
	categories = 0;
	if (val->row.categories) {
		fresh.row = val->row;
		categories = moat_gpu_means(call, &fresh.row, &target, copy);
	}
	if (call->client != val->client) {
		val->foreign = moat_gpu_foreign(call, &target);
		val->client = call->client;
	}
	if (val->foreign)
		categories |= moat_gpu_foreign(call, &target);
	if (categories)
		why |= MOAT_IOCTL_MEANS;
	if (target.pid)
		call->why |= MOAT_IOCTL_TARGET;
	if (val->row.flags & MOAT_GPU_ROW_ALWAYS && !outcome)
		why |= MOAT_IOCTL_MEMORY;
	if (val->watched)
		why |= MOAT_IOCTL_WATCHED;
	moat_forget(why);
	if (!why) { /* the usual call; a sum without fetching is cheaper */
		__sync_fetch_and_add(&val->count, 1);
		return;
	}
	count = val == &fresh ? 0 : moat_fetch_add(&val->count, 1) + 1;
	emit_ioctl(control, self, call, &came, val, rdev, cmd, &target, categories, count, why, copy);
	if (!outcome && !(hdr_flags & MOAT_F_NO_RESULT))
		moat_gpu_learn(call, &target, categories, copy);
}

/*
 * On its way to the driver. The kernel has looked the file up already: a second thread that puts another one under the descriptor
 * meanwhile changes nothing, as it would on the way back. The parameters are those that the caller wrote, the result is not known yet.
 */
static __always_inline void moat_ioctl_begins(const struct file *file, __u32 cmd, unsigned long params)
{
	moat_ioctl_of(file, cmd, params, 0, MOAT_F_NO_RESULT);
}

MOAT_SECURITY(moat_gpu_ioctl, file_ioctl, moat_ioctl_begins(moat_arg(struct file, file), cmd, arg), struct file *file,
	      unsigned int cmd, unsigned long arg)

/* Calls of 32-bit programs, and by int 0x80: a check of their own (6.8, and in the stable series of 5.10 and 6.1). */
MOAT_SECURITY(moat_gpu_compat, file_ioctl_compat, moat_ioctl_begins(moat_arg(struct file, file), cmd, (__u32)arg),
	      struct file *file, unsigned int cmd, unsigned long arg)

/* By the caller's descriptor, on the way back. */
static __always_inline void moat_ioctl_ended(__u32 fd, __u32 cmd, __u64 params, __s64 result)
{
	const struct file *file = moat_fd_file(moat_current(), fd);

	if (file)
		moat_ioctl_of(file, cmd, params, result, 0);
}

/* The kernel's own function for the system call: nobody but who calls it pays. */
MOAT_TRACE("fexit/__x64_sys_ioctl", moat_gpu_ioctl_fexit, const void *regs, long ret)
{
	moat_ioctl_ended(moat_regs_arg(regs, 0, 0), moat_regs_arg(regs, 1, 0), moat_regs_arg(regs, 2, 0), ret);
	return 0;
}

MOAT_TRACE("fexit/__ia32_compat_sys_ioctl", moat_gpu_compat_fexit, const void *regs, long ret)
{
	moat_ioctl_ended(moat_regs_arg(regs, 0, 1), moat_regs_arg(regs, 1, 1), (__u32)moat_regs_arg(regs, 2, 1), ret);
	return 0;
}

MOAT_HOOK("tp_btf/sys_exit", moat_gpu_ioctl)
int moat_gpu_ioctl(struct moat_sys_exit *ctx)
{
	struct task_struct *task = moat_caller();

	moat_ran(moat_gpu_ioctl);
	if (task)
		moat_ioctl_ended(moat_syscall_arg(ctx, 0), moat_syscall_arg(ctx, 1), moat_syscall_arg(ctx, 2), ctx->ret);
	return 0;
}
