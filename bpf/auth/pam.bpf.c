/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What PAM answers those who let people in: probes on functions of the host's libpam.so.0, which cost nobody who does not call them. The
 * functions are its interface and take the handle first; the result is theirs.
 */
#include "../lib/emit.bpf.h"
#include "../lib/scope.bpf.h"
#include "../abi/login.h"
#include <bpf/bpf_tracing.h>

/*
 * libpam/pam_private.h struct pam_handle, whose first fields have been these in this order since 2001, up to Linux-PAM 1.7.2 (2026).
 * Read from the handle and not gathered from pam_start() and pam_set_item(): sshd authenticates in a child of the process that started.
 */
struct moat_pam_handle {
	__u64 authtok;
	__u64 caller_is;
	__u64 conversation;
	__u64 oldauthtok;
	__u64 prompt;
	__u64 service_name;
	__u64 user;
	__u64 rhost;
	__u64 ruser;
	__u64 tty;
};

struct moat_pam_key {
	__u64 thread;
	__u32 step;
	__u32 pad;
};

/* Calls that have begun: the handle. LRU: who is killed in the middle leaves his. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct moat_pam_key);
	__type(value, __u64);
} moat_pam_calls SEC(".maps");

static __always_inline __u32 moat_pam_string(char *to, __u32 size, __u64 from)
{
	long n;

	if (!from)
		return 0;
	n = bpf_probe_read_user_str(to, size, (const void *)from);
	if (n < 0)
		*to = 0;
	return n < 0 ? MOAT_F_UNREADABLE : n == size ? MOAT_F_TRUNCATED : 0; /* or exactly as long */
}

static __always_inline void moat_pam_begins(__u32 step, __u64 handle)
{
	struct moat_pam_key key = {.thread = bpf_get_current_pid_tgid(), .step = step};

	if (moat_in_scope(moat_get_control()))
		bpf_map_update_elem(&moat_pam_calls, &key, &handle, BPF_ANY);
}

/* Looked at once, not in each hook. */
MOAT_FUNCTION int moat_pam_ends(__u32 step, int result)
{
	struct moat_pam_key key = {.thread = bpf_get_current_pid_tgid(), .step = step};
	__u64 *began = bpf_map_lookup_elem(&moat_pam_calls, &key);
	struct moat_pam_handle pam = {};
	struct moat_login *e;
	__u32 flags = 0;

	if (!began) /* not in scope, or begun before the agent came */
		return 0;
	if (bpf_probe_read_user(&pam, sizeof(pam), (const void *)*began))
		flags = MOAT_F_UNREADABLE;
	bpf_map_delete_elem(&moat_pam_calls, &key);
	/* Anybody may ask PAM in vain in a loop: not where it could push a verdict out. */
	e = result ? MOAT_RESERVE(moat_ring_bulk, MOAT_KIND_LOGIN, struct moat_login)
		   : MOAT_RESERVE(moat_ring_urgent, MOAT_KIND_LOGIN, struct moat_login);
	if (!e)
		return 0;
	moat_fill(&e->hdr, MOAT_KIND_LOGIN, sizeof(*e), moat_current());
	e->hdr.labels = moat_labels(e->hdr.pid, e->hdr.start_ns);
	e->step = step;
	e->result = result;
	__builtin_memset((__u64 *)e->service, 0, sizeof(*e) - __builtin_offsetof(struct moat_login, service));
	flags |= moat_pam_string(e->service, sizeof(e->service), pam.service_name);
	moat_forget(flags);
	flags |= moat_pam_string(e->user, sizeof(e->user), pam.user);
	moat_forget(flags);
	flags |= moat_pam_string(e->remote, sizeof(e->remote), pam.rhost);
	moat_forget(flags);
	flags |= moat_pam_string(e->by, sizeof(e->by), pam.ruser);
	moat_forget(flags);
	flags |= moat_pam_string(e->terminal, sizeof(e->terminal), pam.tty);
	e->hdr.flags = flags;
	moat_submit(moat_get_control(), e);
	return 0;
}

/* NAME when a function of libpam begins, NAME_ended when it returns. */
#define MOAT_PAM(name, step_number)                          \
	MOAT_HOOK("uprobe", name)                            \
	int BPF_KPROBE(name, const void *handle)             \
	{                                                    \
		moat_ran(name);                              \
		moat_pam_begins(step_number, (__u64)handle); \
		return 0;                                    \
	}                                                    \
	MOAT_HOOK("uretprobe", name##_ended)                 \
	int BPF_KRETPROBE(name##_ended, int result)          \
	{                                                    \
		moat_ran(name##_ended);                      \
		moat_pam_ends(step_number, result);          \
		return 0;                                    \
	}

MOAT_PAM(moat_auth_authenticate, MOAT_LOGIN_AUTHENTICATE)
MOAT_PAM(moat_auth_account, MOAT_LOGIN_ACCOUNT)
MOAT_PAM(moat_auth_session, MOAT_LOGIN_SESSION)
