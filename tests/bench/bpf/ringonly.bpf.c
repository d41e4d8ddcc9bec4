/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The floor for an event: on each hook where moat sends one, reserve and submit a record of 128 bytes and nothing else; no
 * wake-up, no header, no clock. Only for the bench's cgroup: three loads from the task; cgroup programs are scoped by where
 * they are attached.
 */
#include "bpf/kernel/read.bpf.h"
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} ring SEC(".maps");

struct record {
	__u64 words[16];
};

const volatile __u64 scope_id = 0;
__u64 lost = 0;

static __always_inline int send_record(void)
{
	struct record *r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);

	if (!r) {
		__sync_fetch_and_add(&lost, 1);
		return 0;
	}
	r->words[0] = 1;
	bpf_ringbuf_submit(r, BPF_RB_NO_WAKEUP);
	return 0;
}

static __always_inline int send_if_in_scope(void)
{
	return moat_current()->cgroups->dfl_cgrp->kn->id == scope_id ? send_record() : 0;
}

SEC("tp_btf/sys_exit")
int ring_syscall(struct moat_sys_exit *ctx)
{
	switch (moat_syscall_nr(ctx)) {
	case 16: /* ioctl */
	case 257: /* openat */
	case 288: /* accept4 */
		return send_if_in_scope();
	}
	return 0;
}

SEC("tp_btf/sched_process_fork")
int ring_fork(void *ctx)
{
	return send_if_in_scope();
}

SEC("tp_btf/sched_process_exec")
int ring_exec(void *ctx)
{
	return send_if_in_scope();
}

SEC("tp_btf/sched_process_exit")
int ring_exit(void *ctx)
{
	return send_if_in_scope();
}

SEC("cgroup/connect4")
int ring_connect(struct bpf_sock_addr *ctx)
{
	send_record();
	return 1;
}

SEC("cgroup/sock_release")
int ring_release(struct bpf_sock *ctx)
{
	send_record();
	return 1;
}
