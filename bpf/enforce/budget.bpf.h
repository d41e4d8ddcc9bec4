/* SPDX-License-Identifier: GPL-2.0-only */
/* Budgets: what those who hold an asset may send in a time (abi/policy.h). */
#ifndef MOAT_ENFORCE_BUDGET_BPF_H
#define MOAT_ENFORCE_BUDGET_BPF_H

#include "../lib/stats.bpf.h"
#include "decide.bpf.h"

/*
 * MOAT_POL_HELD_BUDGETS: how many assets with budgets a process may hold. Of more nothing is sent: old verifiers follow each step of a loop.
 * They keep few states in one to compare others with, so that theirs is written out, with instructions of its own for each step.
 */
#ifdef MOAT_LEGACY
#define MOAT_POL_HELD_BUDGETS 4
#define MOAT_POL_STEP static __always_inline
#define moat_pol_each_budget(step, ctx)                                                           \
	_Pragma("unroll") for (__u32 i_ = 0; i_ < MOAT_POL_HELD_BUDGETS * MOAT_POL_BUDGETS; i_++) \
	{                                                                                         \
		if (step(i_, ctx))                                                                \
			break;                                                                    \
	}
#else
#define MOAT_POL_HELD_BUDGETS 64
#define MOAT_POL_STEP static __noinline
#define moat_pol_each_budget(step, ctx) moat_loop(MOAT_POL_HELD_BUDGETS *MOAT_POL_BUDGETS, step, ctx)
#endif

static const __u8 moat_pol_nothing_sent[sizeof(struct moat_pol_sent)] = {};

enum moat_pol_spend {
	MOAT_POL_CHARGE, /* if it fits */
	MOAT_POL_TALLY,  /* in any case: policies in dry-run let it pass */
	MOAT_POL_REFUND, /* it was not sent after all */
};

/* What changes from step to step. */
struct moat_pol_spent {
	__u64 labels; /* whose budgets are still to be asked */
	__u32 rule; /* the first that denies; 0: none */
	__u32 step; /* at which it was */
};

struct moat_pol_spending {
	struct moat_pol_holding_key holding;
	struct moat_pol_sent_key sent;
	struct moat_pol_spent spent;
	__u64 now_ns;
	__u32 bytes;
	__u32 how;
};

/*
 * Adds to the bucket at hand. Returns 0 when it is within the limit; of MOAT_POL_CHARGE nothing is added when it is not, and of 0 bytes a
 * budget that is used up to its last byte is not, either. Limit and sum are below 2^63.
 *
 * Without a branch, and in a straight line: between lock and unlock the verifier takes no two states for one, and would follow each way to
 * the end. The compiler is kept from loading all buckets first: there is no room for them on the stack.
 */
static __noinline __u64 moat_pol_add(struct moat_pol_sent *sent, __u64 limit, struct moat_pol_spending *spending)
{
	__u32 bucket = moat_pol_bucket(spending->now_ns, spending->sent.per_seconds), slot = bucket % MOAT_POL_BUCKETS;
	__u64 n = spending->bytes, sum = n + ((n - 1) >> 63), over, kept;
	__u64 refund = -(__u64)(spending->how == MOAT_POL_REFUND), tally = -(__u64)(spending->how == MOAT_POL_TALLY);

	bpf_spin_lock(&sent->lock);
#pragma unroll
	for (__u32 i = 0; i < MOAT_POL_BUCKETS; i++) {
		sum += *(volatile __u64 *)&sent->bytes[i] &
		       -(((__u64)((bucket - *(volatile __u32 *)&sent->stamp[i]) / MOAT_POL_BUCKETS) - 1) >> 63);
		asm volatile("" : "+r"(sum));
	}
	over = (limit - sum) >> 63;
	kept = -(((__u64)(bucket ^ sent->stamp[slot]) - 1) >> 63); /* all ones: the slot is of this bucket */
	sent->bytes[slot] = (sent->bytes[slot] & kept) + (n & ~refund & (tally | (over - 1))) - (n & refund & kept);
	sent->stamp[slot] = bucket;
	bpf_spin_unlock(&sent->lock);
	return over;
}

/* One budget of one label. Of what went before it forgets all: the verifier is to take all of it for one. */
MOAT_POL_STEP int moat_pol_spend_step(__u32 i, struct moat_pol_spending *spending)
{
	struct moat_pol_holding *holding;
	struct moat_pol_budget *budget;
	struct moat_pol_sent *sent;
	__u64 over = 1;
	__u32 rule;

	moat_forget(spending->spent);
	if (!spending->spent.labels || (spending->how == MOAT_POL_REFUND && i >= spending->spent.step))
		return 1;
	spending->holding.label = moat_pol_first(spending->spent.labels);
	spending->spent.labels &= spending->spent.labels - (i % MOAT_POL_BUDGETS == MOAT_POL_BUDGETS - 1);
	holding = bpf_map_lookup_elem(&moat_pol_holdings, &spending->holding);
	if (!holding)
		return 0;
	budget = &holding->budgets[i % MOAT_POL_BUDGETS];
	rule = budget->rule;
	if (!rule)
		return 0;
	spending->sent.label = spending->holding.label;
	spending->sent.per_seconds = budget->per_seconds;
	sent = bpf_map_lookup_elem(&moat_pol_sent, &spending->sent);
	if (!sent) {
		bpf_map_update_elem(&moat_pol_sent, &spending->sent, moat_pol_nothing_sent, BPF_NOEXIST);
		sent = bpf_map_lookup_elem(&moat_pol_sent, &spending->sent);
	}
	if (sent)
		over = moat_pol_add(sent, budget->bytes, spending);
	else
		moat_count_table_full(MOAT_TABLE_SENT);
	moat_forget(spending->spent);
	if (!over || spending->how == MOAT_POL_REFUND)
		return 0;
	if (!spending->spent.rule) {
		spending->spent.rule = rule | MOAT_RULE_DENY;
		spending->spent.step = i;
	}
	return spending->how == MOAT_POL_CHARGE;
}

/* Of each asset that is held, until one denies. */
static __always_inline int moat_pol_spend_all(struct moat_pol_spending *spending)
{
	struct moat_pol_holding *holding;

	moat_pol_each_budget(moat_pol_spend_step, spending);
	if (!spending->spent.labels || spending->spent.rule || spending->how == MOAT_POL_REFUND)
		return 0;
	spending->holding.label = moat_pol_first(spending->spent.labels);
	holding = bpf_map_lookup_elem(&moat_pol_holdings, &spending->holding);
	spending->spent.rule = (holding ? holding->budgets[0].rule : 0) | MOAT_RULE_DENY;
	spending->spent.step = MOAT_POL_HELD_BUDGETS * MOAT_POL_BUDGETS;
	return 0;
}

/*
 * bytes are about to be sent; 0: a connection is about to be made. answer->rule: of the budget that denies it, answer->would: the same of
 * policies in dry-run; 0: none.
 */
MOAT_FUNCTION int moat_pol_spend(const struct moat_pol_who *who, __u32 bytes, struct moat_pol_answer *answer)
{
	struct moat_pol_spending spending = {.bytes = bytes};
	struct moat_pol_profile *profile;
	__u64 labels;

	if (!who || !answer)
		return 0;
	answer->rule = 0;
	answer->would = 0;
	profile = moat_pol_profile_of(who);
	if (!profile || !(profile->flags & MOAT_POL_SPENDS))
		return 0;
	spending.now_ns = bpf_ktime_get_ns();
	spending.holding.generation = who->generation;
	spending.holding.profile = who->profile;
	spending.sent.subject = who->subject;
	labels = who->labels & profile->egress[MOAT_POL_ENFORCED].budgeted;
	if (labels) {
		spending.spent.labels = labels;
		moat_pol_spend_all(&spending);
		answer->rule = spending.spent.rule;
		if (spending.spent.rule) { /* those before it were charged for what is not sent */
			spending.how = MOAT_POL_REFUND;
			spending.spent.labels = labels;
			moat_pol_spend_all(&spending);
			return 0;
		}
	}
	labels = who->labels & profile->egress[MOAT_POL_WOULD].budgeted;
	if (labels) {
		spending.how = MOAT_POL_TALLY;
		spending.spent.rule = 0;
		spending.spent.labels = labels;
		spending.holding.part = MOAT_POL_WOULD;
		spending.sent.part = MOAT_POL_WOULD;
		moat_pol_spend_all(&spending);
		answer->would = spending.spent.rule;
	}
	return 0;
}

#endif
