/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ioctls of accelerator devices: counted per (process, device, command) in the kernel; a first sight and every call of a
 * configured command is an event. An inference server makes 10^4 to 10^6 of them a second, so a counted call is one look-up.
 *
 * Recognised by the device number behind the descriptor, so it does not matter where the descriptor came from (dup, fork,
 * SCM_RIGHTS). Not seen: io_uring commands.
 */
#include <linux/errno.h>
#include "../lib/emit.bpf.h"
#include "../lib/scope.bpf.h"
#include "../lib/syscall.bpf.h"
#include "../lib/device.bpf.h"

#define MOAT_IOC_SIZE(cmd) ((cmd) >> 16 & 0x3fff)
#define MOAT_IOC_NR(cmd) ((cmd) & 0xff)
#define MOAT_FMODE_PATH 0x4000u /* include/linux/fs.h: opened with O_PATH, an ioctl on it never reaches the driver */
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
static __always_inline __u32 is_watched(__u32 class_id, __u32 cmd)
{
	return watch_has(class_id, cmd, 1) || watch_has(0, cmd, 1) || watch_has(class_id, MOAT_IOC_NR(cmd), 0) ||
	       watch_has(0, MOAT_IOC_NR(cmd), 0);
}

/*
 * Up to want bytes from the caller's memory, 0 to 128; returns how many. A program cannot wait for a page to come in: when the
 * read fails, the part up to the end of the first page is tried once, the rest of that page cannot be absent.
 */
static __always_inline __u32 read_params(__u8 *to, __u64 arg, __u32 want)
{
	__u32 page = MOAT_PAGE - (arg & (MOAT_PAGE - 1));

	barrier_var(want);
	if (want >
	    MOAT_GPU_PARAMS_LEN) /* it is not: told to the verifiers of 5.10 and 6.1, which lose sight of it on the stack */
		return 0;
	if (bpf_probe_read_user(to, want, (void *)arg) == 0)
		return want;
	if (page >= MOAT_GPU_PARAMS_LEN || page >= want)
		return 0;
	return bpf_probe_read_user(to, page, (void *)arg) == 0 ? page : 0;
}

/* One ioctl, before it is carried out or after. */
struct moat_ioctl {
	__u64 arg;
	__s64 result;
	__u32 hdr_flags; /* MOAT_F_NO_RESULT: before */
};

static __always_inline void emit_ioctl(struct moat_control *control, const struct task_struct *self,
				       const struct moat_ioctl *call, const struct moat_gpu_key *key, __u32 class_id, __u64 count,
				       __u32 why)
{
	__u32 kind = MOAT_KIND_GPU_IOCTL, want = MOAT_IOC_SIZE(key->cmd);
	struct moat_gpu_ioctl *e;
	struct moat_stat *stat;

	e = MOAT_RESERVE(moat_ring_bulk, kind, struct moat_gpu_ioctl);
	if (!e)
		return;
	moat_fill_hot(&e->hdr, kind, sizeof(*e), self);
	e->hdr.flags = call->hdr_flags;
	e->arg = call->arg;
	e->result = call->result;
	e->count = count;
	e->rdev = key->rdev;
	e->class_id = class_id;
	e->cmd = key->cmd;
	e->size = want;
	e->why = why;
	if (want > MOAT_GPU_PARAMS_LEN)
		e->hdr.flags |= MOAT_F_TRUNCATED;
	/* Commands without a size (older drivers') may pass a pointer all the same, or a number, or nothing. */
	if (want == 0 || want > MOAT_GPU_PARAMS_LEN)
		want = MOAT_GPU_PARAMS_LEN;
	if (e->size == 0 && e->arg == 0)
		want = 0;
	e->params_len = want ? read_params(e->params, e->arg, want) : 0;
	if (e->params_len != want) {
		e->hdr.flags |= MOAT_F_UNREADABLE;
		stat = moat_stat(kind);
		if (stat)
			__sync_fetch_and_add(&stat->unreadable, 1);
	}
	moat_submit(control, e);
}

/*
 * The entry of a command that the table does not have yet; NULL: no room. *why: whether this call is the first.
 */
static __always_inline struct moat_gpu_val *first_call(struct moat_control *control, const struct moat_gpu_key *key,
						       __u32 class_id, __u32 *why)
{
	struct moat_gpu_val *val,
		fresh = {.watch_epoch = control->watch_epoch, .watched = is_watched(class_id, key->cmd), .class_id = class_id};

	/* Another thread may have been first: then this call is not. */
	*why = (int)bpf_map_update_elem(&moat_gpu_calls, key, &fresh, BPF_NOEXIST) == -EEXIST ? 0 : MOAT_IOCTL_FIRST;
	moat_note_rows(MOAT_ROWS_GPU);
	val = bpf_map_lookup_elem(&moat_gpu_calls, key);
	if (!val) {
		moat_count_table_full(MOAT_TABLE_GPU);
		*why = MOAT_IOCTL_FIRST;
	}
	return val;
}

static __always_inline void moat_ioctl_of(const struct file *file, __u32 cmd, const struct moat_ioctl *call)
{
	const struct task_struct *self = moat_task_now();
	__u32 class_id = MOAT_GPU_NONE, why = 0;
	struct moat_gpu_key key = {};
	struct moat_major_val *major;
	struct moat_control *control;
	struct moat_gpu_val *val;
	__u64 count = 0;

	major = moat_major_of(file, &key.rdev);
	if (!major || moat_get(file, f_mode) & MOAT_FMODE_PATH)
		return;
	control = moat_get_control();
	if (!moat_scope_has(control, self))
		return;
	key.start_ns = moat_get(self, group_leader, start_boottime);
	key.pid = moat_get(self, tgid);
	key.cmd = cmd;

	/* Only accelerators have entries: the exact device number, another look-up, is asked once per entry. */
	val = bpf_map_lookup_elem(&moat_gpu_calls, &key);
	if (!val) {
		class_id = moat_class_of(major, key.rdev);
		if (class_id == MOAT_GPU_NONE)
			return;
		val = first_call(control, &key, class_id, &why);
	} else if (val->watch_epoch != control->watch_epoch) {
		val->watch_epoch = control->watch_epoch;
		val->class_id = moat_class_of(major, key.rdev);
		val->watched = is_watched(val->class_id, key.cmd);
	}
	if (val) {
		class_id = val->class_id;
		if (call->result < 0)
			__sync_fetch_and_add(&val->errors, 1);
		if (!why && !val->watched) { /* the usual call; a sum without fetching is cheaper */
			__sync_fetch_and_add(&val->count, 1);
			return;
		}
		count = moat_fetch_add(&val->count, 1) + 1;
		if (val->watched)
			why |= MOAT_IOCTL_WATCHED;
	}
	if (why) /* no room in the table: rather too many events than silence */
		emit_ioctl(control, self, call, &key, class_id, count, why);
}

/*
 * On its way to the driver. The kernel has looked the file up already: a second thread that puts another one under the descriptor
 * meanwhile changes nothing, as it would on the way back. The parameters are those that the caller wrote, the result is not known yet.
 */
static __always_inline void moat_ioctl_begins(const struct file *file, __u32 cmd, unsigned long params)
{
	const struct moat_ioctl call = {.arg = params, .hdr_flags = MOAT_F_NO_RESULT};

	moat_ioctl_of(file, cmd, &call);
}

MOAT_SECURITY(moat_gpu_ioctl, file_ioctl, moat_ioctl_begins(moat_arg(struct file, file), cmd, arg), struct file *file,
	      unsigned int cmd, unsigned long arg)

/* Calls of 32-bit programs, and by int 0x80: a check of their own (6.8, and in the stable series of 5.10 and 6.1). */
MOAT_SECURITY(moat_gpu_compat, file_ioctl_compat, moat_ioctl_begins(moat_arg(struct file, file), cmd, (__u32)arg),
	      struct file *file, unsigned int cmd, unsigned long arg)

MOAT_HOOK("tp_btf/sys_exit", moat_gpu_ioctl)
int moat_gpu_ioctl(struct moat_sys_exit *ctx)
{
	struct task_struct *task = moat_caller();
	struct moat_ioctl call = {};
	struct file *file;

	moat_ran(moat_gpu_ioctl);
	file = task ? moat_fd_file(task, moat_syscall_arg(ctx, 0)) : NULL;
	if (!file)
		return 0;
	call.arg = moat_syscall_arg(ctx, 2);
	call.result = ctx->ret;
	moat_ioctl_of(file, moat_syscall_arg(ctx, 1), &call);
	return 0;
}
