/* SPDX-License-Identifier: Apache-2.0
 *
 * For the linear attention kernels of the cuda backend: what they are given.
 *
 * One product has all forms.  y_i (+)= f' * (sum over j <= i of lambda^(i-j)
 * (a_i . b_j) c_j + lambda^i a_i S), or over j >= i with lambda^(j-i): forward
 * it is (q, k, v), for dq (do, v, k), for dk (v, do, q), for dv (k, q, do). */
#ifndef SPAR_CUDA_LINEAR_CUH
#define SPAR_CUDA_LINEAR_CUH

#include "kernel/cuda_common.cuh"

enum { SLOPES_NEAR = 128 };

typedef few<float, SLOPES_NEAR> slopes;         /* of query heads; none: no decay */

/* A tensor as it is read: by a feature map, of query or of KV heads. */
struct operand {
    struct tensor t;
    int feature, of_kv, aligned;
};

/* Rows in blocks; query heads, numbered from 0. */
struct chunk {
    int rows, block, heads, first, group;
    int reverse;                /* from the last row to the first */
    slopes decay;
};

static __device__ __forceinline__ int head_of(const chunk &c, const operand &o,
                                              int h)
{
    return o.of_kv ? (c.first + h) / c.group - o.t.head_first : h;
}

static __device__ __forceinline__ float slope_of(const chunk &c, int h)
{
    return c.decay.n ? c.decay.at(h) : 0;
}

static __device__ __forceinline__ float power(float slope, int n)
{
    return slope != 0 ? expf(-slope * (float)n) : 1;
}

static __device__ __forceinline__ float map(int feature, float x)
{
    if (feature == FEATURE_MAP_ELU1)
        return x > 0 ? x + 1 : expf(x);
    return feature == FEATURE_MAP_RELU ? fmaxf(x, 0) : x;
}

static __device__ __forceinline__ float map_slope(int feature, float x)
{
    if (feature == FEATURE_MAP_ELU1)
        return x > 0 ? 1 : expf(x);
    return feature == FEATURE_MAP_RELU ? x > 0 : 1;
}

/* ---- Work ---------------------------------------------------------------- */

/* [blocks, heads, X, Y]: sum of lambda^n x_j (x) y_j of the block's rows, n from
 * row j to the block's end, or (reverse) from its start. */
struct block_states {
    struct chunk c;
    struct operand x, y;
    float *out;
};

struct block_rows {
    struct chunk c;
    struct operand a, b, cc;    /* b and c only within blocks */
    int within;                 /* 0: of the state only */
    const float *state;         /* [blocks, heads, X, Z]; turned: [Z, X] */
    int turned;
    struct tensor y;
    int store, of_kv;           /* y; summed over the query heads of a KV head */
    struct operand post;        /* y is times the derivative at post's elements */
    int has_post;
};

/* Each block's state becomes that of all blocks before it (reverse: after it);
 * the state of all of them goes to `total`, if there is one. */
struct block_scan {
    struct chunk c;
    int blocks, width;          /* X * Y */
    float *state, *total;
};


/* ---- Who does it --------------------------------------------------------- */

/* cuda_linear_any.cu: rows of a block, for states of this many elements. */
int linear_any_block(const chunk &c, int64_t state);
void linear_any_states(const block_states &s);
void linear_any_rows(const block_rows &s);

/* cuda_linear_flow.cu: much faster where it takes the operands.  What is done:
 * states of blocks; rows from the state before them and from each other; rows
 * from a state. */
enum { STATES, WITHIN, AFTER };
int linear_flow_takes_states(const operand &x, const operand &y);
int linear_flow_takes_rows(const block_rows &s);
/* Rows of a block, for rows of y: as few blocks as fill the device. */
int linear_flow_block(const chunk &c, int width_y, int what);
void linear_flow_states(const block_states &s);
void linear_flow_rows(const block_rows &s);

/* cuda_linear_scan.cu */
void linear_scan(const block_scan &s);

#endif
