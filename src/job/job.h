/* SPDX-License-Identifier: Apache-2.0
 *
 * What is asked: the attention problem, free of ranks, strategy and machine.
 * Plain numbers, filled by the scenario reader or by a test; immutable once
 * job_finish() has accepted it. */
#ifndef SPAR_JOB_H
#define SPAR_JOB_H

#include "base/base.h"

enum pass { PASS_FORWARD, PASS_FORWARD_BACKWARD, PASS_DECODE, PASSES };
enum mask_kind { MASK_FULL, MASK_CAUSAL, MASK_WINDOW, MASK_STAR, MASKS };

extern const char *const pass_names[];      /* NULL-terminated, by enum pass */
extern const char *const mask_names[];      /* by enum mask_kind */

/* Query i sees key j of its own sequence iff i - left <= j <= i + right; -1 is
 * no bound.  Full is (-1, -1), causal (-1, 0): job_finish() sets these.
 * Star (Star Attention, arXiv:2411.17116; made by that strategy, never asked
 * for) is causal, and a query i < context sees of the keys only those of its
 * own block, i / block == j / block, and the anchor, j < anchor. */
struct mask {
    enum mask_kind kind;
    int64_t left, right;
};

/* With MASK_STAR; tokens. */
struct star {
    int64_t block, anchor, context;
};

/* Linear attention: o_i = sum_j lambda^|i-j| (f(q_i) . f(k_j)) v_j over visible
 * j, lambda = exp(-slope) of the query head; no scale, normaliser or lse. */
enum attention { ATTENTION_SOFTMAX, ATTENTION_LINEAR, ATTENTIONS };
enum feature { FEATURE_IDENTITY, FEATURE_ELU1, FEATURE_RELU, FEATURES };
extern const char *const attention_names[];     /* by enum attention */
extern const char *const feature_names[];       /* by enum feature */

struct linear {
    enum feature feature;       /* f, elementwise: x, elu(x) + 1, max(x, 0) */
    double *slopes;             /* [heads] >= 0, owned; NULL: no decay */
};

/* Shape of a transformer layer; counts, not bytes.  Only the first four enter
 * attention; the others are 0 where unknown. */
struct transformer {
    char name[64];
    int64_t heads, kv_heads, head_dim, value_dim;
    int64_t layers, hidden, ffn, vocab;
};

struct job {
    struct transformer transformer;
    int64_t sequences;          /* packed sequences, >= 1 */
    int64_t *lengths;           /* [sequences] tokens, owned */
    int64_t *offsets;           /* [sequences + 1] packed axis, owned */
    int64_t tokens;             /* offsets[sequences] */
    struct mask mask;
    struct star star;
    enum pass pass;
    enum dtype dtype;           /* of Q, K, V, O, dO and final gradients */
    enum dtype wire_grad;       /* of travelling gradients */
    enum dtype wire_partial;    /* of travelling partial O */
    double scale;               /* softmax scale; 0 = 1/sqrt(head_dim) */
    enum attention attention;   /* without a pattern: of the only layer */
    struct linear linear;
    char *pattern;              /* hybrid: 'L' or 'S' for each layer, owned;
                                   NULL: one layer of `attention` */
    int64_t queries;            /* decode, star: newest tokens; 0 = 1 */
    int64_t decode_steps, decode_page;  /* session: tokens appended, tokens a
                                           page; 0 steps: no session */
};

enum { MAX_QUERIES = 16 };      /* of a decode step */

/* Take the lengths (copied), set what follows from other fields (offsets,
 * tokens, mask bounds, scale, value_dim, kv_heads) and refuse what makes no
 * sense: heads not a multiple of kv_heads, sizes < 1 or absurd (> 2^40 tokens,
 * > 2^20 heads or head size), bad window, queries.  0 or -1. */
int job_finish(struct job *job, const int64_t *lengths, int64_t sequences,
               struct error *e);
void job_clear(struct job *job);            /* frees what job_finish made */

/* Layers of one job: those of the pattern, or one; attention of a layer. */
int64_t job_layers(const struct job *job);
enum attention job_attention(const struct job *job, int64_t layer);

/* First query token: 0, or tokens - queries in decode.  Queries of a decode
 * step are the last tokens of the only sequence. */
int64_t job_first_query(const struct job *job);

/* ALiBi slopes of any number of heads (Press et al., arXiv:2108.12409): 2^(-8
 * (h+1)/H), else interleaved from the next powers of two. slopes: [heads] */
void alibi_slopes(int64_t heads, double *slopes);

static inline int job_has_backward(const struct job *job)
{
    return job->pass == PASS_FORWARD_BACKWARD;
}

/* Query heads per KV head. */
static inline int64_t job_group(const struct job *job)
{
    return job->transformer.heads / job->transformer.kv_heads;
}

/* Visible (query, key) pairs of one head and layer, all sequences. */
int64_t job_pairs(const struct job *job);

#endif
