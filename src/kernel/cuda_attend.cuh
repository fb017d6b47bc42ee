/* SPDX-License-Identifier: Apache-2.0
 *
 * For the attention kernels of the cuda backend: what they are given, the online
 * softmax and the last step of a result (FlashAttention-2, arXiv:2307.08691,
 * algorithms 1 and 2), the same in all of them. */
#ifndef SPAR_CUDA_ATTEND_CUH
#define SPAR_CUDA_ATTEND_CUH

#include "kernel/cuda_bands.cuh"

/* struct attend_args as a kernel parameter. */
struct attention {
    struct tensor q, k, v, o, lse, d_o, delta, dq, dk, dv;
    int store, store_dq, store_dk, store_dv;
    int group;
    int pack;           /* query heads of a KV head in a tile, row by row: of a
                           decode step; else 1 */
    int splits, tiles;  /* of the keys: tiles of each; 1, INT_MAX */
    int aligned;        /* q, k, v, d_o can be read 16 bytes at a time */
    float scale;
    bands list;         /* backward's key blocks: turned */
};

static __device__ __forceinline__ int kv_head(const attention &a, int h)
{
    return (a.q.head_first + h) / a.group - a.k.head_first;
}

/* Query heads h0 .. h1 of KV head g. */
static __device__ __forceinline__ void query_heads(const attention &a, int g,
                                                   int *h0, int *h1)
{
    int first = (a.k.head_first + g) * a.group - a.q.head_first;

    *h0 = max(first, 0);
    *h1 = min(first + a.group, a.q.heads);
}

/* (keep * old + add * new) of two softmaxes; their lse. */
struct joined {
    float keep, add, lse;
};

static __device__ __forceinline__ joined join(float old, float fresh)
{
    float most = fmaxf(old, fresh);

    if (most == -INFINITY)
        return { 0, 0, most };
    float keep = expf(old - most), add = expf(fresh - most);
    float total = keep + add;

    return { keep / total, add / total, most + logf(total) };
}

static constexpr float LOG2E = 1.44269504088896340736f;
static constexpr float LN2 = 0.69314718055994530942f;

/* 2^x */
static __device__ __forceinline__ float power2(float x)
{
    float y;

    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* Two neighbouring results to (row, head, x), x even. */
static __device__ __forceinline__ void write_two(const tensor &t, int64_t row,
                                                 int head, int x, float first,
                                                 float second, int overwrite)
{
    int64_t at = place(t, row, head, x);

    if (x + 1 < t.width && at % 2 == 0 && (uintptr_t)t.data % 8 == 0) {
        if (t.dtype == DTYPE_FP32) {
            float2 *p = (float2 *)((float *)t.data + at), old = { 0, 0 };

            if (!overwrite)
                old = *p;
            *p = make_float2(old.x + first, old.y + second);
            return;
        }
        if (overwrite && t.dtype == DTYPE_BF16) {
            *(__nv_bfloat162 *)((bf16 *)t.data + at) =
                __floats2bfloat162_rn(first, second);
            return;
        }
        if (overwrite) {
            *(__half2 *)((fp16 *)t.data + at) = __floats2half2_rn(first, second);
            return;
        }
    }
    if (x < t.width)
        store(t, row, head, x, first, overwrite);
    if (x + 1 < t.width)
        store(t, row, head, x + 1, second, overwrite);
}

/* ---- Launchers of the single kernels --------------------------------------- */

enum { HEAD_MOST = 256 };

/* Forward.  Sizes: rows that a block has, times pack; keys at a time. */
typedef void attend_fn(const attention &a);
typedef int attend_size_fn(const attention &a);

/* cuda_attend_fp32.cu: every type, in fp32 */
attend_size_fn attend_fp32_rows, attend_fp32_step;
attend_fn attend_fp32, attend_backward_dq_fp32, attend_backward_dkv_fp32;
/* cuda_attend_hopper.cu, cuda_backward_hopper.cu: 1 if they took the call, of
 * those for the functions below. */
int attend_hopper(const attention &a);
int attend_backward_dq_hopper(const attention &a);
int attend_backward_dkv_hopper(const attention &a);
/* cuda_attend_mma.cu, cuda_backward_mma.cu: 16 bits, all inputs alike */
attend_size_fn attend_mma_rows, attend_mma_step;
attend_fn attend_mma, attend_backward_dq_mma, attend_backward_dkv_mma;
/* cuda_decode.cu: the same of at most DECODE_MOST rows, times pack */
enum { DECODE_MOST = 64 };
attend_size_fn decode_rows, decode_step;
attend_fn decode_mma;

#endif
