/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * connect() and sends that name their destination. 0 makes the call fail with EPERM. Attached to the scope cgroup: the kernel runs it for
 * sockets made in that cgroup or below; whose policies apply says the process that calls.
 */
#include "../lib/destination.bpf.h"
#include "budget.bpf.h"
#include "socket.bpf.h"

/* The names that the address was learnt from, for whoever calls. */
static __always_inline void moat_pol_name_call(struct moat_pol_to *to, __u32 generation)
{
	struct task_struct *task = moat_current();

	if (to->protocol == MOAT_POL_UDP && to->port == 443)
		to->why = MOAT_WHY_NOT_TCP; /* QUIC hides its name */
	else
		moat_pol_learnt_names(to, moat_get(task, cgroups, dfl_cgrp, kn, id), bpf_ktime_get_ns(), generation);
}

static __always_inline int moat_pol_calling(struct bpf_sock_addr *ctx, int v6, __u32 operation)
{
	__u32 generation = moat_pol_generation();
	struct moat_pol_sock *socket = NULL;
	struct moat_pol_answer answer;
	struct moat_endpoints ep;
	struct moat_pol_who who;
	struct moat_pol_to to;
	struct moat_verdict *e;
	int told = 0, names;

	if (!generation)
		return 1;
	moat_pol_who_acts(&who, generation);
	moat_destination(ctx, &ep, v6);
	moat_forget(ep);
	moat_pol_to_of(&to, &ep);
	moat_forget(to);
	names = moat_pol_speaks_of_names(&who);
	if (names) {
		moat_pol_name_call(&to, generation);
		moat_forget(to);
	}
	if (ctx->sk)
		socket = bpf_sk_storage_get(&moat_pol_socks, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (socket) {
		moat_pol_used_by(socket, &who);
		who.labels |= socket->labels;
		told = operation == MOAT_VERDICT_SEND && moat_pol_known(socket, &who, &to);
		if (operation == MOAT_VERDICT_CONNECT) {
			socket->flags = (socket->flags & ~MOAT_POL_SOCK_PASSIVE) | MOAT_POL_SOCK_ACTIVE;
			socket->opened_ns = bpf_ktime_get_ns();
			socket->budget = 0;
			socket->phase = names && to.protocol == MOAT_POL_TCP ? MOAT_POL_OPENING : MOAT_POL_UNSEEN;
		}
	}
	moat_pol_decide(&who, &to, &answer);
	if (socket && told && socket->rule == answer.rule) { /* to the same peer as the one before: only counted */
		if (moat_pol_deciding(&answer))
			moat_pol_count(moat_pol_deciding(&answer), moat_pol_action(&answer));
		return !(answer.rule & MOAT_RULE_DENY);
	}
	if (socket)
		moat_pol_keep(socket, &who, &to, answer.rule);
	e = moat_pol_tell(&answer, &who, operation);
	if (e) {
		e->cookie = bpf_get_socket_cookie(ctx);
		e->ep = ep;
		if (e->action != MOAT_VERDICT_ALLOW)
			e->why = to.why;
		moat_submit(moat_get_control(), e);
	}
	return !(answer.rule & MOAT_RULE_DENY);
}

/* Before anything else is asked: who has sent all that may be sent makes no new connection. 0: denied. */
static __always_inline int moat_pol_may_spend(struct bpf_sock_addr *ctx, int v6)
{
	struct moat_pol_answer answer;
	struct moat_pol_sock *socket;
	struct moat_pol_who who;
	struct moat_verdict *e;
	__u32 generation;

	generation = *(volatile __u32 *)&moat_control.policy_budgets ? moat_pol_generation() : 0;
	if (!generation)
		return 1;
	moat_pol_who_acts(&who, generation);
	socket = ctx->sk ? bpf_sk_storage_get(&moat_pol_socks, ctx->sk, 0, 0) : NULL;
	if (socket)
		who.labels |= socket->labels;
	if (!who.labels)
		return 1;
	moat_pol_spend(&who, 0, &answer);
	if (!moat_pol_deciding(&answer))
		return 1;
	e = moat_pol_tell(&answer, &who, MOAT_VERDICT_CONNECT);
	if (e) {
		e->why = MOAT_WHY_BUDGET;
		e->cookie = bpf_get_socket_cookie(ctx);
		moat_destination(ctx, &e->ep, v6);
		moat_submit(moat_get_control(), e);
	}
	return !answer.rule;
}

/* Functions of their own: their stacks are not to lie on top of that of the program. */
MOAT_FUNCTION int moat_pol_may_spend4(struct bpf_sock_addr *ctx)
{
	return moat_pol_may_spend(ctx, 0);
}

MOAT_FUNCTION int moat_pol_may_spend6(struct bpf_sock_addr *ctx)
{
	return moat_pol_may_spend(ctx, 1);
}

MOAT_HOOK("cgroup/connect4", moat_pol_connect4)
int moat_pol_connect4(struct bpf_sock_addr *ctx)
{
	moat_ran(moat_pol_connect4);
	return moat_pol_may_spend4(ctx) && moat_pol_calling(ctx, 0, MOAT_VERDICT_CONNECT);
}

MOAT_HOOK("cgroup/connect6", moat_pol_connect6)
int moat_pol_connect6(struct bpf_sock_addr *ctx)
{
	moat_ran(moat_pol_connect6);
	return moat_pol_may_spend6(ctx) && moat_pol_calling(ctx, 1, MOAT_VERDICT_CONNECT);
}

MOAT_HOOK("cgroup/sendmsg4", moat_pol_sendmsg4)
int moat_pol_sendmsg4(struct bpf_sock_addr *ctx)
{
	moat_ran(moat_pol_sendmsg4);
	return moat_pol_calling(ctx, 0, MOAT_VERDICT_SEND);
}

MOAT_HOOK("cgroup/sendmsg6", moat_pol_sendmsg6)
int moat_pol_sendmsg6(struct bpf_sock_addr *ctx)
{
	moat_ran(moat_pol_sendmsg6);
	return moat_pol_calling(ctx, 1, MOAT_VERDICT_SEND);
}
