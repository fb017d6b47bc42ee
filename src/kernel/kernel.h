/* SPDX-License-Identifier: Apache-2.0
 *
 * Kernels: what computes.  A backend is a table of functions on strided
 * tensors; it knows no schedule, no rank, no MPI.
 * Mathematics: FlashAttention-2 (arXiv:2307.08691) with natural-log lse. */
#ifndef SPAR_KERNEL_H
#define SPAR_KERNEL_H

#include "base/base.h"
#include "base/segment.h"
#include "kernel/device.h"

/* rows x heads x width elements; element (r, h, x) at
 * data[r * row_stride + h * width + x].  A tensor without elements has rows or
 * heads 0; data may then be NULL. */
struct tensor {
    void *data;
    enum dtype dtype;
    int64_t rows, row_stride;   /* row_stride in elements */
    int32_t heads, width;
    int32_t head_first;         /* global number of the first head */
};

/* Called by kernels between tiles, at least every ~200 us of work, so that the
 * executor can progress communication. May be NULL. */
struct poll {
    void (*fn)(void *arg);
    void *arg;
};

struct attend_args {
    struct tensor q;            /* [nq, H, D] job dtype */
    struct tensor k;            /* [nk, Hk, D] */
    struct tensor v;            /* [nk, Hk, E] */
    struct tensor o;            /* [nq, H, E] fp32 or job dtype */
    struct tensor lse;          /* [nq, H, 1] fp32, natural log */
    int store;      /* 1: overwrite every row of o, lse ((0, -inf) where nothing
                       is visible); 0: merge into (o, lse), o fp32 */
    /* attend_backward: o, if its data is not NULL, is the global output [nq, H,
     * E] job dtype, of which delta is the row sums: a backend may use either.
     * delta, do, d*: attend_backward only */
    struct tensor d_o;          /* [nq, H, E] */
    struct tensor delta;        /* [nq, H, 1] fp32, rowsum(do * o) */
    struct tensor dq;           /* [nq, H, D] fp32 or job dtype (store) */
    struct tensor dk;           /* [nk, Hk, D] fp32 or job dtype (store) */
    struct tensor dv;           /* [nk, Hk, E] fp32 or job dtype (store) */
    int store_dq, store_dk, store_dv;   /* 1: overwrite every row (0 where
                                           nothing is visible); 0: add */
    /* Global query head h uses global KV head h / group. */
    int64_t group;
    float scale;
    const struct segment *segments;     /* of rows of q and k; may overlap in
                                           rows, never in pairs */
    int64_t n_segments;
    struct poll poll;
};

/* Attention with materialised scores (RSA, Li et al., arXiv:2105.13120).
 * Scores of a block: [nq, H, nk] fp32, nk the width; -inf where nothing is
 * visible, 0 once they are weights. */
struct scores_args {
    struct tensor x;            /* [nq, H, W]: q, or do; weigh*: p or ds */
    struct tensor y;            /* [nk, Hk, W]: k, or v; weigh_transposed: q or
                                   do, [nq, H, W] */
    struct tensor out;          /* scores [nq, H, nk]; weigh: [nq, H, W];
                                   weigh_transposed: [nk, Hk, W] */
    int store;                  /* weigh*: 1: overwrite every row of out; 0: add,
                                   out fp32; scores overwrite */
    int64_t group;
    const struct segment *segments;
    int64_t n_segments;
    struct poll poll;
};

/* Linear attention on one chunk (schedule.h, "States"): n rows that are
 * consecutive tokens. A state is [1, H, D * E] fp32, row-major D x E. */
struct linear_args {
    struct tensor q;            /* [n, H, D] job dtype */
    struct tensor k;            /* [n, Hk, D] */
    struct tensor v;            /* [n, Hk, E] */
    struct tensor d_o;          /* [n, H, E] */
    struct tensor o;            /* [n, H, E] fp32 or job dtype (store) */
    struct tensor dq;           /* [n, H, D] fp32 or job dtype (store) */
    struct tensor dk;           /* [n, Hk, D] fp32 or job dtype (store) */
    struct tensor dv;           /* [n, Hk, E] fp32 or job dtype (store) */
    struct tensor state;        /* [1, H, D * E] */
    int store_o, store_dq, store_dk, store_dv;  /* 0: add, fp32 */
    int64_t group;
    int feature;                /* enum feature, as numbered below */
    const double *slopes;       /* by global query head; NULL: no decay */
    struct poll poll;
};
/* x, elu(x) + 1, max(x, 0): on load of q and k; dq and dk carry their
 * derivative. */
enum { FEATURE_MAP_IDENTITY, FEATURE_MAP_ELU1, FEATURE_MAP_RELU };

struct kernel_backend {
    const char *name, *summary;
    const struct device *device;        /* of its tensors; NULL: the host */
    /* 0, or -1 with the reason why it cannot run here. */
    int (*available)(struct error *e);
    /* Same inputs, same bits: all functions but attend_backward of a backend
     * that has a `repeatable`, which is the same one with another. */
    const struct kernel_backend *repeatable;
    /* Why the call is done by another backend's kernels; NULL: it is not. */
    const char *(*leaves)(const struct attend_args *a, int backward);
    void (*attend)(const struct attend_args *a);
    void (*attend_backward)(const struct attend_args *a);
    void (*delta)(struct tensor o, struct tensor d_o, struct tensor delta);
    /* (o, lse) = merge of itself (unless store) and n <= 8 partials. */
    void (*merge)(struct tensor o, struct tensor lse, int store,
                  const struct tensor *po, const struct tensor *plse,
                  int64_t n);
    /* dst = (store ? 0 : dst) + sum of n sources, converted. */
    void (*sum)(struct tensor dst, int store, const struct tensor *src,
                int64_t n);
    /* num = o exp(lse - m), den = exp(lse - m); 0 where lse is -inf. */
    void (*rescale)(struct tensor o, struct tensor lse, struct tensor m,
                    struct tensor num, struct tensor den);
    /* o = num / den, lse = m + ln den; (0, -inf) where den is 0. */
    void (*normalize)(struct tensor num, struct tensor den, struct tensor m,
                      struct tensor o, struct tensor lse);
    /* out = x yT; out = x y; out = xT y (summed over the query heads of a KV
     * head). */
    void (*scores)(const struct scores_args *a);
    void (*weigh)(const struct scores_args *a);
    void (*weigh_transposed)(const struct scores_args *a);
    /* Of n blocks of the same rows, in place: p = softmax(scale * s) over all
     * of them; lse [nq, H, 1].  A row without visible key: p 0, lse -inf. */
    void (*softmax)(const struct tensor *s, int64_t n, struct tensor lse,
                    float scale);
    /* ds = p * (dp - delta) * scale in place of dp; 0 where p is 0. */
    void (*softmax_backward)(struct tensor dp, struct tensor p,
                             struct tensor delta, float scale);
    /* Linear attention. state: a->state is overwritten, from k, v; or
     * (backward) from q, d_o. */
    void (*state)(const struct linear_args *a, int backward);
    /* dst = (store ? 0 : lambda^spans[0] dst) + sum of lambda^span src[i]; spans
     * one more than n unless `store`. */
    void (*state_scan)(struct tensor dst, int store, const struct tensor *src,
                       int64_t n, const int64_t *spans, const double *slopes);
    void (*linear_intra)(const struct linear_args *a);
    void (*linear_inter)(const struct linear_args *a);
    void (*linear_intra_backward)(const struct linear_args *a);
    void (*linear_inter_dq)(const struct linear_args *a);
    void (*linear_inter_dkv)(const struct linear_args *a);
};

extern const struct kernel_backend *const kernel_backends[];  /* NULL last */
/* "auto": the fastest available. NULL and *e if unknown or unavailable. */
const struct kernel_backend *kernel_find(const char *name, struct error *e);
/* The backend in the form that gives the same bits in every pass. */
static inline const struct kernel_backend *kernel_repeatable(
    const struct kernel_backend *k)
{
    return k->repeatable ? k->repeatable : k;
}

/* Element access and conversion (round to nearest even), any dtype. */
float element_load(const void *data, enum dtype t, int64_t i);
void element_store(void *data, enum dtype t, int64_t i, float value);
void convert(void *dst, enum dtype to, const void *src, enum dtype from,
             int64_t n);

/* ---- The oracle: dense attention in fp64 (oracle.c) -------------------------
 * Query i sees key j, both counted in their sequence, iff i - left <= j <= i +
 * right (-1: no bound) and, with block > 0 (star attention), i is a query, i >=
 * context, or j is of its block, i / block == j / block, or of the anchor, j <
 * anchor. */
struct oracle_mask {
    int64_t left, right;
    int64_t block, anchor, context;
};

static inline int oracle_sees(const struct oracle_mask *m, int64_t i, int64_t j)
{
    return (m->left < 0 || i - j <= m->left) &&
           (m->right < 0 || j - i <= m->right) &&
           (m->block == 0 || i >= m->context || j < m->anchor ||
            i / m->block == j / m->block);
}

/* All tensors fp64, row-major: q [S, H, D], k [S, Hk, D], v [S, Hk, E],
 * d_o [S, H, E].  `offsets` [sequences + 1].  Built without sanitizers. */
struct oracle_problem {
    int64_t heads, kv_heads, head_dim, value_dim;
    int64_t sequences;
    const int64_t *offsets;
    struct oracle_mask mask;
    double scale;               /* softmax */
    int linear;                 /* linear attention: o_i = sum over visible j of
                                   lambda^|i-j| (f(q_i) . f(k_j)) v_j, no lse;
                                   gradients are of the raw q, k */
    int feature;                /* f, enum feature: 0 x, 1 elu(x) + 1, 2 relu */
    const double *slopes;       /* [heads], lambda = exp(-slope); NULL: 1 */
    const double *q, *k, *v, *d_o;
};
/* Results; a NULL pointer is not computed.  abs_*: the largest sum of absolute
 * terms behind any element (interface.md, section 4: divisor where the tensor
 * cancels to zero). */
struct oracle_result {
    double *o, *lse;            /* [S, H, E], [S, H] */
    double *dq, *dk, *dv;
    double abs_o, abs_dq, abs_dk, abs_dv;
};
void oracle_dense(const struct oracle_problem *p, struct oracle_result *r);
/* Only the query rows of head h listed: o [n, E], lse [n] (linear: unused), dq
 * [n, D] (may be NULL).  For long sequences: costs O(n x visible keys x (D + E)). */
void oracle_rows(const struct oracle_problem *p, int64_t head,
                 const int64_t *rows, int64_t n, double *o, double *lse,
                 double *dq);
/* Only the listed keys of KV head g: dk [n, D], dv [n, E].  Linear attention:
 * O(group x n x rows that see a key x (D + E)).  With softmax a key's gradient
 * needs the whole softmax of every query row that sees it, in every head of the
 * group: O(group x rows that see a listed key x keys that those see x (D + E)),
 * for a causal mask the square of the sequence, whatever n is. */
void oracle_keys(const struct oracle_problem *p, int64_t kv_head,
                 const int64_t *keys, int64_t n, double *dk, double *dv);

#endif
