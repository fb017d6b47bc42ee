/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the check*.c files only.
 *
 * The checker gives every row and head of every buffer a meaning: which tensor,
 * which token, which head, and for what is summed up a history: the set of
 * (query, key, head) triples in it.  Ops move and join meanings; at the end
 * every output must mean what it should. */
#ifndef SPAR_CHECK_INTERNAL_H
#define SPAR_CHECK_INTERNAL_H

#include "schedule/check.h"
#include "schedule/internal.h"

/* ---- Meanings (check_spans.c) -------------------------------------------- */

/* What a row may hold besides a tensor of the job. */
enum {
    WHAT_DELTA = TENSORS,       /* rowsum(do * o) */
    WHAT_ZERO,                  /* a gradient of any token, or a state, to which
                                   nothing was added yet */
    WHAT_MAX,                   /* of lse, over a history */
    WHAT_NUM, WHAT_DEN,         /* o and 1, times exp(lse - max) */
    WHAT_SCORES,                /* of queries on keys; the history is a leaf */
    WHAT_WEIGHTS,               /* softmax of scores whose rows are complete */
    WHAT_DP,                    /* do on v: the gradient of weights */
    WHAT_DS,                    /* the gradient of scores */
    WHAT_STATE_K,               /* sum of f(k) (x) v, see `struct span` */
    WHAT_STATE_Q,               /* sum of f(q) (x) do */
    WHATS
};
const char *what_name(int what);

/* Rows x heads of a buffer or of a tile, one meaning: row `row + i`, head `head
 * + h` hold token `token + i * step`, head `of_head + h` of `what`.
 * The token of a state is the one to which its decay refers (schedule.h,
 * "States"); without decay it means nothing. */
struct span {
    int64_t row, rows;
    int64_t token, step;
    int32_t head, heads, of_head;
    int32_t what;
    int32_t node;               /* of the history; 0: nothing summed up.  Of a
                                   state: its tokens, a list */
    int32_t max;                /* num, den: history of the max they are
                                   relative to; else 0 */
};

/* Disjoint; in the order of their first rows. */
struct spans {
    struct span *list;
    int64_t n, cap;
};

void spans_push(struct spans *s, struct span x);
void spans_swap(struct spans *a, struct spans *b);
int64_t spans_area(const struct spans *s);          /* rows x heads */
/* Rows that a buffer should hold by its position map. */
void spans_of_map(const struct schedule *s, const struct buffer *b,
                  struct spans *out);

/* A column: heads head .. *end that no span splits. */
int32_t spans_column(const struct spans *s, int32_t head, int32_t heads);
/* Tokens of the rows of a column, interned in `tokens`. */
int32_t spans_tokens(struct pool *tokens, const struct spans *s, int32_t head);
/* Two lists of tokens are the same sequence. */
int tokens_equal(const struct pool *tokens, int32_t a, int32_t b);
/* Tokens of both, sorted by first of the runs; what is in both is there
 * twice. */
int32_t tokens_join(struct pool *tokens, int32_t a, int32_t b);

/* ---- Buffers (check_contents.c) ------------------------------------------ */

/* Rows written with a stride wait in `strided`, all of one stride and apart
 * from each other, until someone reads: together they are often dense. */
struct contents {
    struct spans dense, strided;
    int64_t stride;
    int64_t end;                /* no dense row from here on */
};

/* What a tile holds, in rows and heads of the tile; less than all of it where
 * nothing was written. */
void contents_read(const struct schedule *s, struct contents *buffers,
                   struct tile t, struct spans *out);
/* Replace what a tile holds; other buffers that share its memory are lost. */
void contents_write(const struct schedule *s, struct contents *buffers,
                    struct tile t, const struct spans *in);
/* The same of one buffer, whatever shares its memory. */
void contents_get(const struct pool *pool, struct contents *c, struct tile t,
                  struct spans *out);
void contents_put(const struct pool *pool, struct contents *c, struct tile t,
                  const struct spans *in);
void contents_clear(struct contents *c);
/* Two scratch buffers lie on each other in the arena. */
int buffers_share(const struct schedule *s, int32_t a, int32_t b);

/* ---- Histories (check_history.c) ----------------------------------------- */

/* One attend: segments of rows of `q` and `k` (token lists) under query heads
 * head .. head + heads; `linear` attention or softmax. */
struct leaf {
    int32_t q, k, segments, head, heads, linear;
};

/* Leaves and sums of two nodes; node 0 is the empty sum. */
struct history {
    struct node {
        int32_t a, b;           /* a < 0: leaf -1 - a */
    } *nodes;
    int64_t n, nodes_cap;
    struct leaf *leaves;
    int64_t n_leaves, leaves_cap;
    struct join {
        int32_t a, b, node;
    } *recent;                  /* so that equal sums are often one node */
    int32_t *stack;             /* history_leaves() */
    int64_t stack_cap;
};

void history_create(struct history *h);
void history_clear(struct history *h);
int32_t history_leaf(struct history *h, struct leaf leaf);
int32_t history_join(struct history *h, int32_t a, int32_t b);
/* Append the numbers of all leaves under `node`, as often as they are in it.
 * -1: more than `most`. */
int history_leaves(struct history *h, int32_t node, int64_t most,
                   int32_t **list, int64_t *n, int64_t *cap);
/* One of the leaves under a node that is not 0. */
const struct leaf *history_any(const struct history *h, int32_t node);
/* Every leaf under `part` is under `whole`. */
int history_covers(struct history *h, int32_t whole, int32_t part);

/* ---- Geometry (check_rect.c) --------------------------------------------- */

/* Pairs (x, y) of runs of tokens with low <= x - y <= high. */
struct rect {
    struct run x, y;
    int64_t low, high;
};

int64_t run_last(struct run r);
/* Common elements; empty (count 0) if none. */
struct run run_meet(struct run a, struct run b);
int64_t rect_pairs(struct rect r);
struct rect rect_meet(struct rect a, struct rect b);
/* No two of them have a pair in common; else *a, *b are two that have. Sorts
 * the list; fast where the y of most are apart. */
int rects_disjoint(struct rect *list, int64_t n, struct rect *a,
                   struct rect *b);

/* ---- Masks (check_mask.c) ------------------------------------------------ */

/* Visible pairs of a rect whose x are queries and y are keys. */
int64_t mask_pairs(const struct job *job, struct rect r);
/* All of its pairs are, without counting; 0: count. */
int mask_covers(const struct job *job, const struct rect *r);
/* Sequence of a packed token; empty sequences hold none. */
int64_t mask_sequence(const struct job *job, int64_t token);

/* ---- Proof of exactly once (check_prove.c) ------------------------------- */

enum side { SIDE_QUERY, SIDE_KEY };     /* whose rows are asked about */

struct claim {
    int32_t node, tokens, side, head, heads, linear;
};

struct prover {
    struct rect *rects;
    int64_t n, cap;
    int32_t *leaves, *active;
    int64_t n_leaves, leaves_cap;
    int64_t n_active, active_cap;
    struct known {
        struct claim claim;
        int32_t answer;         /* 0 unused slot, 1 holds, -1 does not */
    } *known;
    int64_t n_known, slots;
    char text[256];             /* why the last claim does not hold */
};

/* ---- Everything ---------------------------------------------------------- */

/* Ops in the order in which they ran.  An event is one op, a send and its
 * receive, or the ops of a collective: entries first[e] .. first[e + 1]. */
struct events {
    struct entry {
        int32_t rank, op;
    } *entries;
    int64_t n_entries, entries_cap;
    int64_t *first;
    int64_t n, first_cap;
    int32_t *of;                /* by op, see checker.base; -1: not yet */
};

struct checker {
    const struct schedule *const *schedules;
    int64_t ranks;
    const struct job *job;
    struct pool *pool;          /* of the schedules */
    struct pool *tokens;        /* token lists */
    int64_t *base;              /* [ranks + 1] ops of all ranks, end to end */
    struct contents **contents; /* [ranks][buffers] */
    struct history history;
    struct prover prover;
    struct events events;
    struct spans scratch[16];
    int32_t good_group;         /* checked last */
    int timing_only;            /* ops run, what buffers hold is not asked */
    struct check_report *report;
};

/* The first finding stays; returns -1.  op < 0: none, rank < 0: none. */
int check_fail(struct checker *c, int64_t rank, int64_t op, const char *fmt,
               ...) __attribute__((format(printf, 4, 5)));

/* An op at hand. */
struct task {
    struct checker *c;
    int64_t rank, number;
    const struct schedule *s;
    const struct op *op;
    const struct operand *o;
    int64_t n;
};
struct task task_at(struct checker *c, int64_t rank, int64_t op);
int task_fail(const struct task *t, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- Tiles of an op (check_task.c) --------------------------------------- */

const char *task_label(const struct task *t, int64_t operand);
/* What a tile holds; a finding if rows of it are undefined. */
int task_read(const struct task *t, struct tile x, struct spans *out);
void task_write(const struct task *t, struct tile x, const struct spans *in);

/* Turns *a into what comes of a and b, which lie on each other; -1: they do not
 * go together. */
typedef int (*pair_fn)(const struct task *t, struct span *a,
                       const struct span *b);
/* a and b cover the same tile: fn on every part where a span of the one lies on
 * one of the other. `out`: what became of them; may be NULL. */
int task_zip(const struct task *t, const struct spans *a,
             const struct spans *b, pair_fn fn, struct spans *out);
int pair_token(const struct task *t, struct span *a, const struct span *b);
/* o with its lse: they were summed up together. */
int pair_partial(const struct task *t, struct span *a, const struct span *b);
/* The same token and head. */
int pair_meaning(const struct task *t, struct span *a, const struct span *b);
/* Two partials, or two gradients, make one. */
int pair_add(const struct task *t, struct span *a, const struct span *b);
/* May a sum be taken?  Not of o and lse of softmax, not of inputs. */
int task_only_sums(const struct task *t, const struct spans *s);

/* ---- Operands (check_op.c) ----------------------------------------------- */

/* What operand i holds: all of it `what`, of the heads that its buffer says. */
int operand_read(const struct task *t, int64_t i, int what,
                 struct spans *out);
/* The same, of states of either side, and zeros. */
int operand_state(const struct task *t, struct tile x, struct spans *out);
/* Its tokens, which must be the same in all heads; -1: a finding. */
int32_t operand_tokens(const struct task *t, int64_t i,
                       const struct spans *s);
/* Add the new spans to what operand i holds, or store them. */
int operand_put(const struct task *t, int64_t i, struct spans *new);
/* o or lse is of all keys that its tokens see. */
int operand_complete(const struct task *t, int64_t i, const struct spans *s);
/* The same rows and heads as `what`, with this history. */
void spans_as(const struct spans *from, int what, int32_t node,
              struct spans *out);
/* One meaning for all rows and heads of a tile of zeros. */
void spans_zero(const struct task *t, struct tile x, struct spans *out);

/* ---- Steps of the checker ------------------------------------------------ */

/* Operands are of the number, shape and access that the op wants
 * (check_shape.c, of ops that compute: check_shape_op.c). 0 or -1. */
int check_shapes(struct checker *c);
int check_compute_shape(const struct task *t);
/* One message's tiles agree on both sides; so do slices. */
int check_same_shape(const struct task *a, struct tile from,
                     const struct task *b, struct tile to);

struct shape {
    int64_t rows;
    int32_t heads, width, first;        /* first: global head */
    enum dtype dtype;
};
struct shape task_shape(const struct task *t, int64_t i);
/* Findings of one op: operand i has these rows, heads, width (below 0: any); is
 * fp32; their number; their access: 'r', 'w', 'u' update, or 'x' for write or
 * update, one letter an operand, the last for all that follow. */
int check_size(const struct task *t, int64_t i, int64_t rows, int64_t heads,
               int64_t width);
int check_fp32(const struct task *t, int64_t i);
int check_count(const struct task *t, int64_t n);
int check_access(const struct task *t, const char *letters);

/* Conflicting uses of memory are ordered (check_order.c). 0 or -1. */
int check_order(struct checker *c);

/* Run all ops; 0, or -1: a finding (check_run.c). */
int check_run(struct checker *c);
/* What ops mean. 0 or -1.  check_op.c, of scores check_scores.c, of linear
 * attention check_linear.c, of parts of a merge check_reduce.c. */
int check_compute(const struct task *t);
int compute_scores(const struct task *t);
int compute_softmax(const struct task *t);
int compute_softmax_backward(const struct task *t);
int compute_weigh(const struct task *t);
int compute_weigh_transposed(const struct task *t);
int compute_state(const struct task *t);
int compute_state_scan(const struct task *t);
int compute_linear_intra(const struct task *t);
int compute_linear_inter(const struct task *t);
int compute_linear_intra_backward(const struct task *t);
int compute_linear_inter_dq(const struct task *t);
int compute_linear_inter_dkv(const struct task *t);
int compute_rescale(const struct task *t);
int compute_normalize(const struct task *t);

/* Messages and collectives (check_move.c). */
int check_message(const struct task *send, const struct task *recv);
int check_collective(struct checker *c, const struct entry *members,
                     int64_t n);
/* A member of a collective. */
struct member {
    struct task task;
    struct collective_shape shape;
};
/* All-reduces and the scan (check_reduce.c). */
int check_reduction(const struct member *m, int64_t n);
/* States move on: their decay is lambda^span more. */
void states_carry(struct spans *s, int64_t span);

/* Is the history of these tokens all that is visible to (of) them under these
 * query heads, once each?  If not, prover.text says why (check_prove.c). */
int check_claim(struct checker *c, struct claim claim);
/* check_claim() for spans in a tile of `heads` heads. */
int check_complete(struct checker *c, const struct spans *s, int32_t heads,
                   enum side side, int linear);
void prover_clear(struct prover *p);
/* Pairs of n leaves under one head, each visible and there only once; -1: not
 * sure (check_rows.c). */
int64_t rows_pairs(struct checker *c, const struct claim *claim,
                   const int32_t *leaves, int64_t n);

/* Outputs of all ranks (check_cover.c). 0 or -1. */
int check_outputs(struct checker *c);

/* The same by counting every triple, for small jobs (check_bitmap.c): `spans`
 * of an output of `tensor`, known to hold the tokens that it should. */
struct bitmap;
struct bitmap *bitmap_create(struct checker *c, enum tensor_name tensor,
                             int linear);
void bitmap_add(struct bitmap *m, const struct spans *spans);
int bitmap_complete(const struct bitmap *m);
void bitmap_destroy(struct bitmap *m);
int bitmap_fits(const struct checker *c);

/* Write-after-read edges on every critical path (check_stall.c). */
int64_t check_stalls(struct checker *c);

static inline enum side tensor_side(enum tensor_name t)
{
    return t == TENSOR_DK || t == TENSOR_DV ? SIDE_KEY : SIDE_QUERY;
}

#endif
