/* SPDX-License-Identifier: Apache-2.0
 *
 * A view is all that a builder may know: a group of ranks and my place in it,
 * every member's position map, the heads, the tiles to read and write.  The
 * root view covers the whole job; composition makes child views in which a
 * strategy runs unchanged. */
#ifndef SPAR_VIEW_H
#define SPAR_VIEW_H

#include "schedule/schedule.h"

/* Which neighbours of a mesh are neighbouring ranks. */
enum placement { HEAD_FIRST, CONTEXT_FIRST, PLACEMENTS };
extern const char *const placement_names[];     /* NULL last */

/* What circulates in a ring's backward: K, V, dK, dV, or Q, dO, lse, delta, dQ
 * (BurstAttention, arXiv:2403.09347). */
enum circulate { CIRCULATE_KV, CIRCULATE_Q, CIRCULATES };
extern const char *const circulate_names[];     /* NULL last */

/* How partial results of a decode step become one. */
enum reduction { REDUCE_ALLREDUCE3, REDUCE_PACKED, REDUCE_USEROP,
                 REDUCE_GATHER, REDUCE_TWO_LEVEL, REDUCTIONS };
extern const char *const reduction_names[];     /* NULL last */

/* Options of a strategy (interface.md, section 1).  A strategy names those
 * that it takes; defaults work for every rank count. */
struct strategy_options {
    enum layout layout;
    int64_t block;              /* striped: tokens per stripe, 0 as 1; star:
                                   tokens per block, 0 chosen */
    int64_t window;             /* ranks per inner ring or node; 0: chosen */
    int64_t head;               /* head-parallel degree; 0: chosen */
    enum placement placement;   /* of head x context */
    int interleaved;            /* inner rings of every other context rank */
    enum circulate backward;    /* ring */
    int reverse;                /* ring: blocks go to me - 1 (direction -1) */
    int needed;                 /* ring: only the hops that the mask needs */
    int64_t head_group;         /* allgather: KV heads a gather; 0: all */
    enum reduction reduce;      /* tree */
    int64_t anchor;             /* star: tokens; 0 chosen */
    int64_t turns;              /* rings: buffers that take what comes, in turn;
                                   0 as 2; no key: the plan chooses */
};

struct view {
    const struct job *job;
    struct pool *pool;
    const struct strategy_options *options;
    int32_t members, me;
    const int32_t *ranks;                       /* [members] global ranks */
    const int32_t *maps;                        /* [members] pool maps: the
                                                   rows that each holds */
    int32_t q_map;                              /* of my queries: maps[me], but
                                                   in decode */
    int32_t layer;                              /* of job->pattern; else 0 */
    int64_t head_first, heads;                  /* query heads of this view */
    int64_t kv_first, kv_heads;                 /* KV heads of this view */
    /* Tiles of my rows; backward ones only if the job's pass has backward. */
    struct tile q, k, v, d_o;                   /* inputs, in job dtype */
    struct tile o, dq, dk, dv;                  /* results, see below */
    struct tile lse;            /* made by the strategy that attends: view_lse */
    void *state;        /* what forward leaves for backward; schedule_alloc */
};

/* Tokens that a member holds; all members. */
int64_t view_rows(const struct view *v, int64_t member);
int64_t view_rows_all(const struct view *v);
int64_t view_rows_most(const struct view *v);
/* Global rank of the member `distance` places on, cyclically. */
int32_t view_neighbour(const struct view *v, int64_t distance);
/* Bytes of K and V of one token in `dtype`. */
int64_t view_kv_bytes(const struct view *v, enum dtype dtype);
int view_has_backward(const struct view *v);
/* My query rows. */
int64_t view_queries(const struct view *v);

/* A tensor of the job in the rows of a pool map, all heads of the view, in the
 * job's dtype (lse: fp32). role: input or output. */
struct tile view_tensor(struct schedule *s, const struct view *v,
                        enum role role, enum tensor_name tensor, int32_t map);

/* Results are written in the dtype of the tile's buffer.  A strategy that
 * accumulates asks view_accumulator() for an fp32 tile of the same shape: the
 * result itself where it is fp32, else a scratch buffer that view_finish()
 * casts into the result. */
struct tile view_accumulator(struct schedule *s, const char *label,
                             struct tile result);
void view_finish(struct schedule *s, const char *label, struct tile acc,
                 struct tile result);

/* Make the lse output of my query rows and heads; sets v->lse. */
void view_lse(struct schedule *s, struct view *v);

/* Memory that lives as long as the schedule is being built. Zeroed. */
void *schedule_alloc(struct schedule *s, size_t bytes);

/* A buffer of `rows` tokens of the view's KV heads, or query heads, as a
 * tile. */
struct tile view_kv_tile(struct schedule *s, const struct view *v,
                         const char *label, enum role role, enum dtype dtype,
                         int64_t rows, int64_t width);
struct tile view_q_tile(struct schedule *s, const struct view *v,
                        const char *label, enum role role, enum dtype dtype,
                        int64_t rows, int64_t width);

/* Segments of an attend of my query rows on keys of pool map `keys`. */
int64_t view_segments(const struct view *v, int32_t keys,
                      struct segment **list);

/* K and V, or dK and dV, that travel together. */
struct pair {
    struct tile k, v;
};
struct pair view_pair(struct schedule *s, const struct view *v,
                      const char *k_label, const char *v_label, enum role role,
                      enum dtype dtype, int64_t rows);
/* Its first `rows` rows. */
struct pair pair_rows(const struct schedule *s, struct pair p, int64_t rows);

/* All tokens of the members in one buffer.  `sorted`: in packed order, which
 * makes few segments; else member by member.  rows[i]: where member i's tokens
 * are (pool row set). Returns the pool map of the gathered rows. */
int32_t view_gathered(const struct view *v, int sorted, int32_t *rows);
/* Packed order suits the masks of these shards: no strides. */
int view_sorts_well(const struct view *v);

#endif
