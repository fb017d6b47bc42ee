/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention of one segment as cuDNN graphs: forward and backward of scaled
 * dot-product attention (FlashAttention-2, arXiv:2307.08691).  cuDNN's fused
 * engines know them by the pattern of their operations; what comes out is of
 * the type of what goes in, whatever type the graph asks for. */
#ifndef SPAR_CUDNN_ATTENTION_H
#define SPAR_CUDNN_ATTENTION_H

#include "kernel/cudnn_graph.h"

/* What a plan depends on.  Compared by its bytes: clear it first.  Element
 * (row, head, x) of a tensor is at row * stride + head * width + x; strides in
 * elements, multiples of 8 but for lse.  Key j is visible to row i iff low <=
 * i - j <= high with low <= 0 <= high, and every row sees a key: what
 * segment_trim() leaves. */
struct attention_shape {
    int32_t backward;
    int32_t has_low, has_high;  /* there are bounds, which are operands */
    int32_t low_is_zero;        /* then it is none */
    cudnnDataType_t type;       /* of all but lse: bf16 or fp16 */
    int32_t keeps_ds;           /* backward: dq = ds k by a product of whole
                                   matrices: the same bits every time */
    int64_t n_q, n_k, heads, kv_heads, head_dim, value_dim;
    int64_t q_stride, k_stride, v_stride, o_stride;
    int64_t lse_stride;         /* forward */
    int64_t do_stride, dq_stride, dk_stride, dv_stride;     /* backward */
};

/* Operands of a run. */
enum attention_name {
    ATTENTION_Q, ATTENTION_K, ATTENTION_V,
    ATTENTION_O,                /* backward: read, only for rowsum(do * o) */
    ATTENTION_LSE,              /* fp32, natural log; backward: of all keys,
                                   [heads, n_q] (other strides were not read
                                   rightly before cuDNN 9.26) */
    ATTENTION_DO, ATTENTION_DQ, ATTENTION_DK, ATTENTION_DV,
    ATTENTION_DELTA,            /* scratch: heads x n_q fp32 */
    ATTENTION_DQ_SUM,           /* scratch: heads x n_q x head_dim fp32;
                                   unless keeps_ds */
    /* Numbers in host memory. */
    ATTENTION_SCALE,            /* float */
    ATTENTION_MASKED,           /* float: -inf */
    ATTENTION_ONE,              /* float: 1 */
    ATTENTION_MINUS_LOW,        /* int32_t: -low */
    ATTENTION_HIGH_PLUS_ONE,    /* float: high + 1 */
    ATTENTION_NAMES
};

struct attention_plan {
    struct graph_plan plan;
    int64_t name[ATTENTION_NAMES];  /* of the graph's tensor, 0: has none */
};

/* 0, or -1 with the reason if cuDNN has no fused engine for it. */
int attention_plan(const struct attention_shape *s,
                   cudnnBackendDescriptor_t device, struct attention_plan *p,
                   struct error *e);
/* Enqueue it; data[ATTENTION_NAMES], those without a name are not read. */
void attention_run(const struct attention_plan *p, cudnnHandle_t handle,
                   void *const *data, void *workspace);

#endif
