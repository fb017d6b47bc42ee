/* SPDX-License-Identifier: Apache-2.0
 *
 * Strategies: pure functions that append operations to a schedule.  Adding one
 * touches one new file, one line of the table in strategy.c, one line of
 * Makefile.mk and one golden file. */
#ifndef SPAR_STRATEGY_H
#define SPAR_STRATEGY_H

#include "schedule/view.h"

struct strategy {
    const char *name;
    const char *family;         /* softmax | linear | decode | star | hybrid */
    const char *summary;        /* one line */
    const char *const *options; /* keys it takes besides name; NULL last */
    int turns;                  /* it receives into buffers in turn: the plan
                                   sets options.turns */
    /* 0, or -1 with the reason in *e (one sentence, no prefix). Pure. NULL:
     * always. */
    int (*applies)(const struct job *job, const struct strategy_options *o,
                   int64_t ranks, struct error *e);
    /* The job as this strategy understands it (star: its mask), in place of a
     * shallow copy of the job; NULL: as it is. */
    void (*job)(struct job *job, const struct strategy_options *o,
                int64_t ranks);
    /* The queries of a rank, in any pass; NULL: its tokens, and it does not
     * decode. */
    struct position_map *(*queries)(const struct job *job,
                                    const struct strategy_options *o,
                                    int64_t ranks, int64_t rank);
    /* The tokens of a rank; NULL: position_map_shard() of the layout. */
    struct position_map *(*shard)(const struct job *job,
                                  const struct strategy_options *o,
                                  int64_t ranks, int64_t rank);
    void (*forward)(struct schedule *s, struct view *v);
    void (*backward)(struct schedule *s, struct view *v);
    /* Closed form, from the papers' cost sheets: payload bytes that
     * `v->me` sends in forward, and in backward, from shard sizes and wire
     * dtypes only. */
    int64_t (*bytes_forward)(const struct view *v);
    int64_t (*bytes_backward)(const struct view *v);
    /* Where all shards are alike: ranks r and r + that do the same, to ranks as
     * far from them.  0: no two need to.  NULL: never. */
    int64_t (*period)(const struct job *job, const struct strategy_options *o,
                      int64_t ranks);
};

extern const struct strategy strategy_ring, strategy_allgather,
    strategy_ulysses, strategy_double_ring, strategy_usp, strategy_2d,
    strategy_token_ring, strategy_rsa, strategy_tree, strategy_star,
    strategy_lasp, strategy_lasp2, strategy_lasp2_scan, strategy_lasp2h;
extern const struct strategy *const strategies[];   /* NULL-terminated */
const struct strategy *strategy_find(const char *name);
/* Periods: 1 with a full mask, else 0. */
int64_t period_full_mask(const struct job *job,
                         const struct strategy_options *o, int64_t ranks);

/* 0, or -1 and *e: why the strategy does not apply. */
int plan_applies(const struct job *job, const struct strategy *st,
                 const struct strategy_options *o, int64_t ranks,
                 struct error *e);

/* A strategy asked of a job on some ranks: position maps made once, schedules
 * built rank by rank. */
struct plan;
struct plan *plan_create(const struct job *job, const struct strategy *st,
                         const struct strategy_options *o, int32_t ranks,
                         struct error *e);      /* NULL: does not apply */
void plan_destroy(struct plan *p);
struct pool *plan_pool(struct plan *p);
/* How K and V are dealt: as the options say, but the pages of a decode session
 * go round the ranks. */
enum layout plan_layout(const struct plan *p);
/* The job that the schedules are of: what results are verified against.  In a
 * decode session, the job of its last step: sequence + decode_steps tokens. */
const struct job *plan_job(const struct plan *p);
int32_t plan_ranks(const struct plan *p);
/* The ranks of a plan that are enough to know all: what rank r does rank
 * r + that does, to ranks (modulo their number) as far from it, with as many
 * bytes and pairs.  As the strategy says; where the last period, which is built
 * beside the first, is not so, or nothing is known: the number of ranks. */
int64_t plan_period(struct plan *p);
/* The frozen schedule of one rank (forward, and backward if the pass has it);
 * the caller destroys it before the plan. */
struct schedule *plan_build(struct plan *p, int32_t rank);
/* Closed form, forward plus backward. */
int64_t plan_bytes_expected(const struct plan *p, int32_t rank);

#endif
