/* SPDX-License-Identifier: Apache-2.0
 *
 * The schedule: what one rank does, as operations on tiles of named buffers.
 * Built by a strategy, completed by schedule_freeze(), then read-only; run,
 * checked, simulated and printed by interpreters.  doc/DESIGN.md, section 2.
 *
 * Everything that ranks have in common (row sets, operand tuples, segment
 * lists, labels, groups, position maps) is interned once in a struct pool, so
 * that an op is 32 bytes and all ranks of a large group fit in memory. */
#ifndef SPAR_SCHEDULE_H
#define SPAR_SCHEDULE_H

#include "base/base.h"
#include "base/rows.h"
#include "base/segment.h"
#include "job/job.h"
#include "job/position.h"

/* ---- Words ------------------------------------------------------------------ */

enum op_kind {
    OP_ATTEND,              /* q k v -> o lse */
    OP_ATTEND_BACKWARD,     /* q k v do lse delta (o) -> dq dk dv */
    OP_DELTA,               /* o do -> delta = rowsum(do * o), fp32 */
    OP_MERGE,               /* (o lse) += k partials (o lse), k <= 8 */
    OP_SUM,                 /* dst = sum of k <= 8 sources; none: zeros; casts */
    OP_COPY,                /* dst = src; casts, permutes; copy lane */
    /* Parts of a merge that a reduction does: with m = max of lse over ranks */
    OP_RESCALE,             /* o lse m -> num = o exp(lse-m), den = exp(lse-m) */
    OP_NORMALIZE,           /* num den m -> o = num/den, lse = m + ln den */
    /* Attention with materialised scores, [rows, heads, keys] */
    OP_SCORES,              /* x y -> x yT; -inf where nothing is visible */
    OP_SOFTMAX,             /* blocks of a row, in place: p; and lse */
    OP_SOFTMAX_BACKWARD,    /* ds = p * (dp - delta) * scale, in place of dp */
    OP_WEIGH,               /* p v -> p v */
    OP_WEIGH_TRANSPOSED,    /* p x -> pT x, summed over the query heads */
    /* Linear attention; a state is [1, heads, D * E] fp32, see below */
    OP_STATE,               /* k v -> state; backward: q do -> state */
    OP_STATE_SCAN,          /* sum of states, each decayed by its span */
    OP_LINEAR_INTRA,        /* q k v -> o of one chunk's own tokens */
    OP_LINEAR_INTER,        /* q state -> o += what was before the chunk */
    OP_LINEAR_INTRA_BACKWARD,       /* q k v do -> dq dk dv */
    OP_LINEAR_INTER_DQ,     /* q do state -> dq */
    OP_LINEAR_INTER_DKV,    /* k v state -> dk dv */
    OP_SEND,
    OP_RECV,
    OP_COLLECTIVE,
    /* In lowered schedules only (lower.h) */
    OP_STAGE_OUT,           /* dst = src, from the device to the host */
    OP_STAGE_IN,            /* dst = src, from the host to the device */
    OP_KINDS
};

enum collective {
    COLLECTIVE_NONE,
    ALL_GATHER,             /* own tiles -> every member's tiles */
    ALL_TO_ALL,             /* a slice for each member -> a slice from each */
    REDUCE_SCATTER,         /* a slice for each member, summed at the member */
    ALL_REDUCE_MAX,         /* own tiles -> their reduction, on every member */
    ALL_REDUCE_SUM,
    ALL_REDUCE_MERGE,       /* of (o, lse): the merge of partial results */
    EXCLUSIVE_SCAN,         /* states of the members before me, decayed */
    COLLECTIVES
};

enum channel {
    CHANNEL_NONE, CHANNEL_KV, CHANNEL_DKV, CHANNEL_Q, CHANNEL_OUT,
    CHANNEL_INTRA, CHANNEL_INTER, CHANNELS
};

/* Lanes run in order, one op at a time.  A collective holds both lanes of its
 * channel.  In a lowered schedule a channel has two more, for what is copied
 * from and to the host. */
enum { LANE_COMPUTE, LANE_COPY, LANE_FIRST_CHANNEL };
#define LANE_SEND(c) (LANE_FIRST_CHANNEL + 2 * ((c) - 1))
#define LANE_RECV(c) (LANE_FIRST_CHANNEL + 2 * ((c) - 1) + 1)
#define LANE_FIRST_STAGE    (LANE_FIRST_CHANNEL + 2 * (CHANNELS - 1))
#define LANE_STAGE_OUT(c)   (LANE_FIRST_STAGE + 2 * ((c) - 1))
#define LANE_STAGE_IN(c)    (LANE_FIRST_STAGE + 2 * ((c) - 1) + 1)
#define LANES               (LANE_FIRST_STAGE + 2 * (CHANNELS - 1))

/* Staging is of the host, where the device copies at full speed; the others are
 * where the kernels work. */
enum role { ROLE_INPUT, ROLE_OUTPUT, ROLE_SAVED, ROLE_SCRATCH, ROLE_STAGING,
            ROLES };

/* What a buffer holds, where a tensor of the job enters or leaves. */
enum tensor_name {
    TENSOR_NONE, TENSOR_Q, TENSOR_K, TENSOR_V, TENSOR_DO,
    TENSOR_O, TENSOR_LSE, TENSOR_DQ, TENSOR_DK, TENSOR_DV, TENSORS
};

extern const char *const op_names[];          /* by enum op_kind; NULL last */
extern const char *const collective_names[];
extern const char *const channel_names[];
extern const char *const role_names[];
extern const char *const tensor_names[];
const char *lane_name(int lane);              /* "compute", "kv.send", ... */

/* ---- Data ------------------------------------------------------------------- */

/* A tensor of rows x heads x width elements, row-major (rows outermost).
 * `head_first` is the global number of its first head (a KV head for K, V, dK,
 * dV and what carries them; a query head for the others). `map` (pool index,
 * -1: none) says which token each row is, for inputs, outputs, and gathered
 * tensors.  `replicated`: an output that several ranks hold whole; counted
 * once.  `layer`: of a pattern; else 0. */
struct buffer {
    int32_t label;              /* pool label */
    int32_t map;
    enum role role;
    enum tensor_name tensor;         /* inputs and outputs; else TENSOR_NONE */
    enum dtype dtype;
    int32_t heads, head_first, width;
    int32_t layer, replicated;
    int64_t rows;
    size_t offset;              /* scratch: in the arena; set by freeze */
};

/* Rows `rows` (pool row set) and heads head_first .. +head_count (counted from
 * the buffer's first head) of a buffer. */
struct tile {
    int32_t buffer, rows, head_first, head_count;
};

enum access { ACCESS_READ, ACCESS_WRITE, ACCESS_UPDATE };   /* r w x */

/* An operand: a tile and what the op does to it.  UPDATE reads and writes: the
 * op accumulates; WRITE: it stores, and every row of the tile is defined
 * afterwards ((0, -inf) or 0 where nothing is visible).
 *
 * Operands by kind, in this order:
 *   attend           q r, k r, v r, o w|x, lse w|x
 *   attend_backward  q r, k r, v r, do r, lse r, delta r, dq w|x, dk w|x, dv w|x,
 *                    and o r, where it is at hand: some kernels take it for delta
 *   delta            o r, do r, delta w
 *   merge            o w|x, lse w|x, then (o r, lse r) for each partial
 *   sum              dst w|x, then each source r
 *   copy             dst w, src r      (stage_out, stage_in: alike)
 *   rescale          o r, lse r, m r, num w, den w     (all fp32)
 *   normalize        num r, den r, m r, o w, lse w
 *   (scores, weigh*: `segments` are the visible pairs)
 *   scores           x r [q, H, W], y r [k, Hk, W], s w [q, H, k] fp32
 *   softmax          lse w, then each block s w (in place, "x")
 *   softmax_backward ds x, p r, delta r
 *   weigh            out w|x [q, H, W], p r [q, H, k], v r [k, Hk, W]
 *   weigh_transposed out w|x [k, Hk, W], p r [q, H, k], x r [q, H, W]
 *   state            k r, v r, state w; in backward q r, do r, state w
 *   state_scan       dst w|x, then each source r; `segments` is a pool list of
 *                    numbers: with x the span of dst first, then one a source;
 *                    dst = sum of lambda^span source
 *   linear_intra     q r, k r, v r, o w|x              (one chunk of tokens)
 *   linear_inter     q r, state r, o w|x
 *   linear_intra_backward    q r, k r, v r, do r, dq w|x, dk w|x, dv w|x
 *   linear_inter_dq  q r, do r, state r, dq w|x
 *   linear_inter_dkv k r, v r, state r, dk w|x, dv w|x
 *   send             tiles r            recv   tiles w     (one message)
 *   all-gather       T own tiles r, then T tiles w for each member in order
 *   all-to-all       T tiles r for each member, then T tiles w from each member
 *   reduce-scatter   T tiles r for each member, T result tiles w, then T
 *                    staging tiles w for each member (own: empty)
 *   all-reduce       T tiles r, T result tiles w, a staging tile w; all fp32,
 *                    of the same rows and heads; the staging tile holds, of
 *                    each row and head, the T tiles' elements in a record
 *   exclusive scan   a state r, the result w, staging w [1, H, D E + 1]: the
 *                    state and its factor; `segments` is a pool list of one
 *                    number, the span of my tokens (-1: the states before end
 *                    at me, factor 0).  Member t gets the sum over i < t of
 *                    lambda^(spans of the members between i and t) state_i;
 *                    the first member zeros
 * Tiles of zero elements stand where a member has nothing to send.
 *
 * States (Lightning Attention-2, arXiv:2401.04658; LASP, arXiv:2404.02882), f
 * the feature map.  A chunk is n consecutive tokens of one sequence, i = 0 ..
 * n-1 its row.  Forward states refer to the token after their last:
 *   state    M = sum_i lambda^(n-i) f(k_i) (x) v_i         [D, E] of a q head
 *   inter    o_i += lambda^i f(q_i) P,      P: of all before the chunk
 * Backward ones to their first token:
 *   state    W = sum_i lambda^i f(q_i) (x) do_i
 *   dq       dq_i += lambda^i f'(q_i) * (P do_i)
 *   dkv      dk_i += lambda^(n-i) f'(k_i) * (R v_i),
 *            dv_i += lambda^(n-i) f(k_i) R, R: of all queries after the chunk
 * Without decay lambda is 1, and P, R may be of the whole sequence.
 * inter and its backwards carry one segment, all q rows x all keys (dkv: all q
 * of the state x all k rows), so that visible pairs can be counted. */
struct operand {
    struct tile tile;
    enum access access;
};

enum dep_kind { DEP_READ_AFTER_WRITE, DEP_WRITE_AFTER_READ,
                DEP_WRITE_AFTER_WRITE };

/* 32 bytes.  The op's number is its index in schedule.ops. */
struct op {
    uint8_t kind;               /* enum op_kind */
    uint8_t channel;            /* enum channel */
    uint8_t collective;         /* enum collective */
    uint8_t backward;           /* 0 forward, 1 backward */
    int32_t peer;               /* send, recv: rank; collective: pool group */
    int32_t operands;           /* pool tuple */
    int32_t segments;           /* pool segment list, or list of numbers
                                   (state_scan, exclusive scan); -1: none */
    int32_t label;              /* pool label: what, "kv", "dkv", "own" */
    int32_t step;               /* hop or step of the strategy; -1: none */
    int32_t dep_first;          /* into schedule.deps */
    int32_t dep_count;
};

/* An inferred dependency on an earlier op of the same rank in another lane
 * (order within a lane goes without saying). */
struct dep {
    int32_t op;
    int32_t kind;               /* enum dep_kind */
};

struct pool;                    /* interned parts, shared by all ranks */

struct schedule {
    struct pool *pool;          /* borrowed; must outlive the schedule */
    const struct job *job;      /* borrowed */
    int32_t rank, ranks;
    int64_t n_buffers, n_ops, n_deps;
    struct buffer *buffers;
    struct op *ops;
    struct dep *deps;
    /* Set by schedule_freeze(). */
    uint64_t hash;
    size_t role_bytes[ROLES];   /* scratch: size of the arena */
    size_t peak_bytes;          /* sum of role_bytes but staging */
    int32_t *parents;           /* [n_ops] lowered: ops of the logical schedule
                                   that they are of; else NULL */
    struct builder *builder;    /* while building; NULL once frozen */
};

/* ---- Pool ------------------------------------------------------------------- */

struct pool *pool_create(void);
void pool_destroy(struct pool *pool);

/* Intern; equal content gives the equal index. */
int32_t pool_rows(struct pool *p, const struct run *runs, int64_t n);
int32_t pool_segments(struct pool *p, const struct segment *s, int64_t n);
int32_t pool_operands(struct pool *p, const struct operand *o, int64_t n);
int32_t pool_group(struct pool *p, const int32_t *ranks, int64_t n);
int32_t pool_numbers(struct pool *p, const int64_t *numbers, int64_t n);
int32_t pool_label(struct pool *p, const char *text);
/* Takes ownership of `map`; an equal one already there replaces it. */
int32_t pool_map(struct pool *p, struct position_map *map);

/* Read back; the pointer is valid until the next interning. *n: the count. */
const struct run *pool_rows_get(const struct pool *p, int32_t i, int64_t *n);
const struct segment *pool_segments_get(const struct pool *p, int32_t i,
                                        int64_t *n);
const struct operand *pool_operands_get(const struct pool *p, int32_t i,
                                        int64_t *n);
const int32_t *pool_group_get(const struct pool *p, int32_t i, int64_t *n);
const int64_t *pool_numbers_get(const struct pool *p, int32_t i, int64_t *n);
const char *pool_label_get(const struct pool *p, int32_t i);
const struct position_map *pool_map_get(const struct pool *p, int32_t i);

/* ---- Building (strategies, tests) -------------------------------------------- */

/* An empty schedule of one rank. */
struct schedule *schedule_create(struct pool *pool, const struct job *job,
                                 int32_t ranks, int32_t rank);
void schedule_destroy(struct schedule *s);
/* Of another rank, whose ops may read and write the same as those of `pattern`
 * (frozen; it must outlive the building): then it is built sooner. */
struct schedule *schedule_create_like(const struct schedule *pattern,
                                      int32_t rank);
/* Of a frozen one. */
struct schedule *schedule_clone(const struct schedule *s);

/* Add a buffer; returns its index.  b->label is set from `label`. */
int32_t schedule_buffer(struct schedule *s, const char *label,
                        struct buffer b);
/* `buffer` is written only after all that was done to `before` up to then, so
 * that it can have its memory: other heads, say, in the same place. */
void schedule_follow(struct schedule *s, int32_t buffer, int32_t before);
/* The whole buffer; rows first .. first+count of it; some heads of a tile. */
struct tile tile_whole(const struct schedule *s, int32_t buffer);
struct tile tile_rows(const struct schedule *s, int32_t buffer, int64_t first,
                      int64_t count);
struct tile tile_heads(struct tile t, int32_t head_first, int32_t head_count);
/* Bytes that a buffer takes in memory: rounded up to 64. */
size_t buffer_bytes(const struct schedule *s, int32_t buffer);
/* Elements and bytes of a tile. */
int64_t tile_elements(const struct schedule *s, struct tile t);
size_t tile_bytes(const struct schedule *s, struct tile t);
int64_t tile_row_count(const struct schedule *s, struct tile t);

/* Ops emitted from here on are of the backward pass / carry this step. */
void schedule_backward(struct schedule *s);
void schedule_step(struct schedule *s, int32_t step);

/* Buffers and ops made from here on are of this layer of a pattern. */
void schedule_layer(struct schedule *s, int32_t layer);

/* Append an op.  Its dependencies are inferred here.  Sends and
 * receives that move nothing are left out (both sides know it), and so are
 * attends of an empty segment list that update, and ops on empty tiles. Label:
 * see struct op. */
void schedule_attend(struct schedule *s, const char *label, struct tile q,
                     struct tile k, struct tile v, struct tile o,
                     struct tile lse, enum access access,
                     const struct segment *segments, int64_t n);
void schedule_attend_backward(struct schedule *s, const char *label,
                              const struct tile in[6], /* q k v do lse delta */
                              const struct tile *o,    /* NULL: not at hand */
                              const struct tile out[3],       /* dq dk dv */
                              const enum access access[3],
                              const struct segment *segments, int64_t n);
void schedule_delta(struct schedule *s, const char *label, struct tile o,
                    struct tile d_o, struct tile delta);
void schedule_merge(struct schedule *s, const char *label, struct tile o,
                    struct tile lse, enum access access,
                    const struct tile (*partials)[2], int64_t n);
void schedule_sum(struct schedule *s, const char *label, struct tile dst,
                  enum access access, const struct tile *sources, int64_t n);
void schedule_copy(struct schedule *s, const char *label, struct tile dst,
                   struct tile src);
/* The others that compute: operands as under struct operand.  `detail`: what
 * op.segments is, -1 none.  Left out if what it writes is empty. */
void schedule_compute(struct schedule *s, enum op_kind kind,
                      const char *label, const struct operand *o, int64_t n,
                      int32_t detail);
void schedule_send(struct schedule *s, const char *label, enum channel c,
                   int32_t peer, const struct tile *tiles, int64_t n);
void schedule_recv(struct schedule *s, const char *label, enum channel c,
                   int32_t peer, const struct tile *tiles, int64_t n);
/* tiles: laid out as under struct operand; n: their number. */
void schedule_collective(struct schedule *s, const char *label,
                         enum channel c, enum collective what,
                         const int32_t *group, int64_t members,
                         int64_t tiles_per_message, const struct tile *tiles,
                         int64_t n);

/* All-reduce of n tiles into n results, or exclusive scan of a state (n 1;
 * `span`: see struct operand; else ignored).  Makes its staging. */
void schedule_reduce(struct schedule *s, const char *label, enum channel c,
                     enum collective what, const int32_t *group,
                     int64_t members, const struct tile *in,
                     const struct tile *out, int64_t n, int64_t span);

/* Append an op as it is (tests, mutations): operands are interned,
 * dependencies inferred. */
void schedule_op(struct schedule *s, struct op op, const struct operand *o,
                 int64_t n);

/* Plan the arena, add up bytes, hash, drop the builder.  After it the schedule
 * is read-only.  1: it was like its pattern. */
int schedule_freeze(struct schedule *s);

/* ---- Reading ---------------------------------------------------------------- */

/* Flops counted within a chunk of linear attention: causal pairs inside of
 * blocks of so many rows, and a running state between the blocks. */
enum { LINEAR_BLOCK = 64 };

/* Work of an op: flops of visible pairs (2 (D + E) forward, 6 D + 4 E backward,
 * D = head_dim, E = value_dim; products of linear attention: two a
 * multiplication, see LINEAR_BLOCK; of other ops that compute one per 4 bytes
 * they touch), visible (q, k, head) triples, bytes read and
 * written in memory, payload bytes that leave the rank and that arrive (a
 * collective: as in interface.md section 4; own slices do not count). */
struct work {
    double flops;
    int64_t pairs;
    int64_t memory_bytes;
    int64_t sent_bytes, received_bytes;
};
struct work op_work(const struct schedule *s, const struct op *op);
/* Does it multiply matrices?  The flops of the others are memory traffic. */
int op_is_product(const struct op *op);
/* What a member sends in an all-reduce of `bytes`. */
int64_t all_reduce_bytes(int64_t members, int64_t bytes);

/* Lanes that an op holds: one, or two for a collective (then lane[1] >= 0). */
void op_lanes(const struct op *op, int lane[2]);

/* A message of a lowered schedule that leaves from the host's memory, or
 * arrives in it; the other messages are of the device. */
int op_is_host(const struct schedule *s, const struct op *op);

/* "forward.step2.kv.send": the name under which an op is traced. */
void op_name(const struct schedule *s, const struct op *op, char *text,
             size_t size);

/* Shape of the messages of a collective op. */
struct collective_shape {
    const int32_t *ranks;       /* members in order */
    int64_t members, me;        /* my place */
    int64_t tiles;              /* per message, T */
    const struct operand *send; /* all-gather: T; else members x T */
    const struct operand *recv; /* members x T; reduce-scatter: staging */
    const struct operand *result;   /* reduce-scatter, reductions: T; or NULL */
    const struct operand *staging;  /* reductions: 1; else NULL */
};
/* One of the all-reduces, or the exclusive scan: recv is NULL. */
int collective_reduces(enum collective what);
struct collective_shape op_collective(const struct schedule *s,
                                      const struct op *op);

/* Bytes that the rank sends to others: sum of sent_bytes over its ops. */
int64_t schedule_sent_bytes(const struct schedule *s);
int64_t schedule_pairs(const struct schedule *s);   /* forward only */
double schedule_flops(const struct schedule *s);    /* of products */

/* Hash of all ranks' schedules, in rank order. */
uint64_t schedule_hash_all(const uint64_t *hashes, int64_t ranks);

#endif
