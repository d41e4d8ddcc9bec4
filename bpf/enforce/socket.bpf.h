/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a socket is remembered by. A socket outlives the call that opened it, is handed on, and sends from soft-irq, where the current task
 * is anyone: so it carries who used it last, every label of all who did, and the last answer.
 */
#ifndef MOAT_ENFORCE_SOCKET_BPF_H
#define MOAT_ENFORCE_SOCKET_BPF_H

#include "tell.bpf.h"

static __always_inline void moat_pol_used_by(struct moat_pol_sock *socket, const struct moat_pol_who *who)
{
	struct task_struct *task = moat_current();

	if ((socket->labels & who->labels) != who->labels)
		moat_fetch_or(&socket->labels, who->labels);
	socket->pid = moat_self_pid();
	socket->start_ns = moat_self_start();
	socket->cgroup_id = moat_get(task, cgroups, dfl_cgrp, kn, id);
	socket->uid = moat_get(task, cred, uid.val);
	socket->profile = who->profile;
	socket->subject = who->subject;
	socket->used_generation = who->generation;
}

static __always_inline int moat_pol_same(const __u8 *a, const __u8 *b)
{
	const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;

	return x[0] == y[0] && x[1] == y[1];
}

/*
 * Whether the answer that the socket keeps is to this question. To be relied on only of TCP, whose sends and connects come one after the
 * other under the socket's lock: two threads that send datagrams on one socket may write parts of two answers, so of others it only says
 * whether this was told.
 */
static __always_inline int moat_pol_known(const struct moat_pol_sock *socket, const struct moat_pol_who *who,
					  const struct moat_pol_to *to)
{
	return socket->flags & MOAT_POL_SOCK_ASKED && socket->generation == who->generation &&
	       socket->asked_profile == who->profile && socket->asked_labels == who->labels && socket->port == to->port &&
	       socket->protocol == to->protocol && socket->asked_by == moat_pol_phase_class(socket->phase) &&
	       moat_pol_same(socket->address, to->address);
}

static __always_inline void moat_pol_keep(struct moat_pol_sock *socket, const struct moat_pol_who *who,
					  const struct moat_pol_to *to, __u32 rule)
{
	socket->flags &= ~MOAT_POL_SOCK_ASKED; /* another processor that reads meanwhile asks for itself */
	__builtin_memcpy(socket->address, to->address, sizeof(socket->address));
	socket->generation = who->generation;
	socket->asked_profile = who->profile;
	socket->asked_labels = who->labels;
	socket->port = to->port;
	socket->protocol = to->protocol;
	socket->asked_by = moat_pol_phase_class(socket->phase);
	socket->rule = rule;
	barrier();
	socket->flags |= MOAT_POL_SOCK_ASKED;
}

static __always_inline void moat_pol_to_of(struct moat_pol_to *to, const struct moat_endpoints *ep)
{
	__builtin_memset(to, 0, sizeof(*to));
	__builtin_memcpy(to->address, ep->remote, sizeof(to->address));
	to->port = ep->remote_port;
	to->protocol = moat_pol_protocol_of(ep->protocol);
	to->v6 = ep->family == AF_INET6;
	if (to->protocol == MOAT_POL_ICMP)
		to->port = 0;
}

#endif
