/* SPDX-License-Identifier: Apache-2.0
 *
 * The cuda backend: materialised scores.  Products of tiles of 64 x 64 over 64
 * of the inner dimension at a time. */
#include <config.h>

#include "kernel/cuda_bands.cuh"
#include "kernel/cuda_block.cuh"
#include "kernel/cuda_kernels.h"

enum { TILE = 64 };

struct product {
    struct tensor x, y, out;
    int store;
    int x_aligned, y_aligned;
    int group;
};

/* KV head, as numbered in kv, of head h of q. */
static __device__ __forceinline__ int kv_head(const product &p,
                                              const tensor &q,
                                              const tensor &kv, int h)
{
    return (q.head_first + h) / p.group - kv.head_first;
}

/* ---- Scores -------------------------------------------------------------- */

/* Bits of the thread's sums, in the order of sums::each(), that are visible. */
template <class Sums>
static __device__ __forceinline__ unsigned visible(const bands &list, int row,
                                                   int column, Sums &s)
{
    unsigned bits = 0;

    for (int base = 0; base < list.n; base += 32) {
        walk<TILE> w = {};
        int i = base + (int)threadIdx.x % 32;
        w.r0 = row, w.r1 = row + TILE;
        unsigned found = __ballot_sync(
            ~0u, i < list.n && w.enter(list.at(min(i, list.n - 1))) &&
                 w.s.k < column + TILE && w.s.end > column);

        for (; found; found &= found - 1) {
            band b = list.at(base + __ffs((int)found) - 1);
            int n = 0;

            w.enter(b);
            s.each([&](int r, int c, float) {
                int sees = column + c >= b.from && w.s.sees(row + r, column + c);
                bits |= (unsigned)sees << n++;
            });
        }
    }
    return bits;
}

template <class T>
static __global__ void __launch_bounds__(BLOCK_THREADS) scores(
    const __grid_constant__ product p, const __grid_constant__ bands list)
{
    extern __shared__ __align__(16) char shared[];
    char *space = shared;
    T *x = take<T>(space, TILE, TILE), *y = take<T>(space, TILE, TILE);
    int row = blockIdx.x * TILE, column = blockIdx.y * TILE, h = blockIdx.z;
    int pitch = tile_pitch<T>(TILE), n = 0;
    sums<T, TILE, TILE> s;

    s.clear();
    unsigned bits = visible(list, row, column, s);
    for (int w = 0; w < p.x.width && __syncthreads_or(bits); w += TILE) {
        fill(x, TILE, TILE, p.x, h, row, p.x.rows, w, p.x_aligned);
        fill(y, TILE, TILE, p.y, kv_head(p, p.x, p.y, h), column, p.y.rows, w,
             p.y_aligned);
        __syncthreads();
        s.nt(x, pitch, y, pitch, TILE);
        __syncthreads();
    }
    s.each([&](int r, int c, float sum) {
        unsigned sees = bits >> n++ & 1;
        if (row + r < p.out.rows && column + c < p.out.width)
            store(p.out, row + r, h, column + c, sees ? sum : -INFINITY, 1);
    });
}

/* ---- Weights times rows --------------------------------------------------- */

template <class T, class Sums>
static __device__ __forceinline__ void write(const product &p, Sums &s,
                                             int row, int column, int h)
{
    s.each([&](int r, int c, float sum) {
        if (row + r < p.out.rows && column + c < p.out.width)
            store(p.out, row + r, h, column + c, sum, p.store);
    });
}

template <class T>
static __global__ void __launch_bounds__(BLOCK_THREADS) weigh(
    const __grid_constant__ product p)
{
    extern __shared__ __align__(16) char shared[];
    char *space = shared;
    T *x = take<T>(space, TILE, TILE), *y = take<T>(space, TILE, TILE);
    int row = blockIdx.x * TILE, column = blockIdx.y * TILE, h = blockIdx.z;
    int pitch = tile_pitch<T>(TILE), kv = kv_head(p, p.x, p.y, h);
    sums<T, TILE, TILE> s;

    s.clear();
    for (int k = 0; k < p.y.rows; k += TILE) {
        fill(x, TILE, TILE, p.x, h, row, p.x.rows, k, p.x_aligned);
        fill(y, TILE, TILE, p.y, kv, k, p.y.rows, column, p.y_aligned);
        __syncthreads();
        s.nn(x, pitch, y, pitch, TILE);
        __syncthreads();
    }
    write<T>(p, s, row, column, h);
}

template <class T>
static __global__ void __launch_bounds__(BLOCK_THREADS) weigh_transposed(
    const __grid_constant__ product p)
{
    extern __shared__ __align__(16) char shared[];
    char *space = shared;
    T *x = take<T>(space, TILE, TILE), *y = take<T>(space, TILE, TILE);
    int key = blockIdx.x * TILE, column = blockIdx.y * TILE, kv = blockIdx.z;
    int pitch = tile_pitch<T>(TILE);
    sums<T, TILE, TILE> s;

    s.clear();
    for (int h = 0; h < p.x.heads; h++) {
        if (kv_head(p, p.x, p.out, h) != kv)
            continue;
        for (int k = 0; k < p.x.rows; k += TILE) {
            fill(x, TILE, TILE, p.x, h, k, p.x.rows, key, p.x_aligned);
            fill(y, TILE, TILE, p.y, h, k, p.y.rows, column, p.y_aligned);
            __syncthreads();
            s.tn(x, pitch, y, pitch, TILE);
            __syncthreads();
        }
    }
    write<T>(p, s, key, column, kv);
}

/* ---- Launching ------------------------------------------------------------ */

static product product_of(const struct scores_args *a)
{
    return { a->x, a->y, a->out, a->store, reads_four(&a->x),
             reads_four(&a->y), (int)a->group };
}

static dim3 tiles(const struct tensor *out)
{
    return dim3((unsigned)ceil_div(out->rows, TILE),
                (unsigned)ceil_div(out->width, TILE), (unsigned)out->heads);
}

static int is_empty(const struct tensor *t)
{
    return !t->rows || !t->heads || !t->width;
}

void cuda_scores(const struct scores_args *a)
{
    product p = product_of(a);
    bands list;

    if (is_empty(&a->out))
        return;
    bands_set(&list, a->segments, a->n_segments, 0);
    by_type(a->x.dtype, [&](auto t) {
        typedef decltype(t) T;
        scores<T><<<tiles(&a->out), BLOCK_THREADS, 2 * tile_bytes<T>(TILE, TILE),
                    cuda_stream_current()>>>(p, list);
    });
    launched("scores");
}

void cuda_weigh(const struct scores_args *a)
{
    product p = product_of(a);

    if (is_empty(&a->out))
        return;
    by_type(a->y.dtype, [&](auto t) {
        typedef decltype(t) T;
        weigh<T><<<tiles(&a->out), BLOCK_THREADS, 2 * tile_bytes<T>(TILE, TILE),
                   cuda_stream_current()>>>(p);
    });
    launched("weigh");
}

void cuda_weigh_transposed(const struct scores_args *a)
{
    product p = product_of(a);

    if (is_empty(&a->out))
        return;
    by_type(a->y.dtype, [&](auto t) {
        typedef decltype(t) T;
        weigh_transposed<T><<<tiles(&a->out), BLOCK_THREADS,
                              2 * tile_bytes<T>(TILE, TILE),
                              cuda_stream_current()>>>(p);
    });
    launched("weigh_transposed");
}

/* ---- Softmax -------------------------------------------------------------- */

enum { THREADS = 256, BLOCKS_NEAR = 64 };

struct part {
    float *data;
    int64_t row_stride;
    int width;
};

typedef few<part, BLOCKS_NEAR> parts;

/* The block's (largest, sum of exponentials relative to it). */
static __device__ float2 reduce(float2 v)
{
    __shared__ float2 of_warp[THREADS / 32];

    auto joined = [](float2 a, float2 b) {
        float most = fmaxf(a.x, b.x);
        if (most == -INFINITY)
            return make_float2(most, 0);
        return make_float2(most, a.y * expf(a.x - most) +
                                 b.y * expf(b.x - most));
    };
    for (int step = 16; step; step /= 2)
        v = joined(v, make_float2(__shfl_xor_sync(~0u, v.x, step),
                                  __shfl_xor_sync(~0u, v.y, step)));
    if (threadIdx.x % 32 == 0)
        of_warp[threadIdx.x / 32] = v;
    __syncthreads();
    v = of_warp[0];
    for (int i = 1; i < THREADS / 32; i++)
        v = joined(v, of_warp[i]);
    return v;
}

/* One block a (row, head); scores are rounded once scaled, as the lse is. */
static __global__ void __launch_bounds__(THREADS) softmax(
    const __grid_constant__ parts blocks, const __grid_constant__ tensor lse,
    float scale)
{
    int64_t row = blockIdx.x;
    int h = blockIdx.y;
    float2 v = make_float2(-INFINITY, 0);

    for (int i = 0; i < blocks.n; i++) {
        part b = blocks.at(i);
        const float *s = b.data + row * b.row_stride + (int64_t)h * b.width;

        for (int x = threadIdx.x; x < b.width; x += THREADS) {
            float scaled = s[x] == -INFINITY ? s[x] : __fmul_rn(s[x], scale);
            float most = fmaxf(v.x, scaled);
            if (scaled != -INFINITY)
                v = make_float2(most, v.y * expf(v.x - most) +
                                      expf(scaled - most));
        }
    }
    v = reduce(v);
    for (int i = 0; i < blocks.n; i++) {
        part b = blocks.at(i);
        float *s = b.data + row * b.row_stride + (int64_t)h * b.width;

        for (int x = threadIdx.x; x < b.width; x += THREADS)
            s[x] = s[x] == -INFINITY || v.y == 0
                   ? 0 : expf(__fmul_rn(s[x], scale) - v.x) / v.y;
    }
    if (threadIdx.x == 0)
        store(lse, row, h, 0, v.y != 0 ? v.x + logf(v.y) : -INFINITY, 1);
}

void cuda_softmax(const struct tensor *s, int64_t n, struct tensor lse,
                  float scale)
{
    part *list = (part *)xmalloc((size_t)max64(n, 1) * sizeof *list);
    parts p;

    for (int64_t i = 0; i < n; i++)
        list[i] = { (float *)s[i].data, s[i].row_stride, s[i].width };
    few_set(&p, list, n);
    free(list);
    if (!lse.rows || !lse.heads)
        return;
    softmax<<<dim3((unsigned)lse.rows, (unsigned)lse.heads), THREADS, 0,
              cuda_stream_current()>>>(p, lse, scale);
    launched("softmax");
}

static __global__ void __launch_bounds__(THREADS) softmax_backward(
    const __grid_constant__ tensor dp, const __grid_constant__ tensor p,
    const __grid_constant__ tensor delta, float scale)
{
    int64_t row = blockIdx.x;
    int h = blockIdx.y;
    float *d = (float *)dp.data + place(dp, row, h, 0);
    const float *w = (const float *)p.data + place(p, row, h, 0);
    float sum = load(delta, row, h, 0);

    for (int x = threadIdx.x; x < dp.width; x += THREADS)
        d[x] = w[x] != 0 ? w[x] * (d[x] - sum) * scale : 0;
}

void cuda_softmax_backward(struct tensor dp, struct tensor p,
                           struct tensor delta, float scale)
{
    if (is_empty(&dp))
        return;
    softmax_backward<<<dim3((unsigned)dp.rows, (unsigned)dp.heads), THREADS, 0,
                       cuda_stream_current()>>>(dp, p, delta, scale);
    launched("softmax_backward");
}
