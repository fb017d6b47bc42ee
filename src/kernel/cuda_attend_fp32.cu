/* SPDX-License-Identifier: Apache-2.0
 *
 * The cuda backend: attention in true fp32.  One block has M rows (backward's
 * dk, dv: M keys) and goes over 32 columns at a time. */
#include <config.h>

#include <limits.h>
#include <type_traits>

#include "kernel/cuda_attend.cuh"
#include "kernel/cuda_block.cuh"

enum { STEP = 32 };

/* Over the 16 threads that share rows. */
template <class F> static __device__ __forceinline__ float over_row(float x,
                                                                    F f)
{
#pragma unroll
    for (int step = 8; step; step /= 2)
        x = f(x, __shfl_xor_sync(~0u, x, step));
    return x;
}

static __device__ __forceinline__ float larger(float a, float b)
{
    return fmaxf(a, b);
}

static __device__ __forceinline__ float plus(float a, float b)
{
    return a + b;
}

/* Of scores; and what is summed over columns. */
template <int M> using score_sums = sums<float, M, STEP>;
template <int M, int W> using result_sums = sums<float, M, W, true>;

/* ---- Forward ---------------------------------------------------------------- */

/* Scores become weights relative to the largest so far; o and the sums follow.
 * Scores are rounded once scaled, as the lse is. */
template <int M, int E>
static __device__ __forceinline__ void softmax(score_sums<M> &s,
                                               result_sums<M, E> &o,
                                               float *most, float *total,
                                               const span &t, int row,
                                               float scale)
{
#pragma unroll
    for (int i = 0; i < M / 16; i++) {
        float top = most[i], sum = 0;

#pragma unroll
        for (int j = 0; j < STEP / 16; j++) {
            int sees = t.sees(row + s.row(i), t.k + s.column(j));
            s.x[i][j] = sees ? __fmul_rn(s.x[i][j], scale) : -INFINITY;
            top = fmaxf(top, s.x[i][j]);
        }
        top = over_row(top, larger);
        float base = top == -INFINITY ? 0 : top, shrink = expf(most[i] - base);
#pragma unroll
        for (int j = 0; j < STEP / 16; j++)
            sum += s.x[i][j] = expf(s.x[i][j] - base);
        total[i] = total[i] * shrink + over_row(sum, plus);
        most[i] = top;
#pragma unroll
        for (int j = 0; j < E / 16; j++)
            o.x[i][j] *= shrink;
    }
}

template <int M, int E>
static __device__ __forceinline__ void finish(const attention &a,
                                              result_sums<M, E> &o,
                                              const float *most,
                                              const float *total, int row,
                                              int h)
{
#pragma unroll
    for (int i = 0; i < M / 16; i++) {
        int64_t r = row + o.row(i), at = r + blockIdx.z * a.q.rows;
        float lse = total[i] > 0 ? most[i] + logf(total[i]) : -INFINITY;
        float inverse = total[i] > 0 ? 1 / total[i] : 0, old = -INFINITY;

        if (r < a.q.rows && !a.store)
            old = load(a.lse, at, h, 0);
        __syncwarp();
        if (r >= a.q.rows || (!a.store && lse == -INFINITY))
            continue;
        joined both = join(old, lse);
        if (old == -INFINITY)
            both.add = 1, both.lse = lse;
#pragma unroll
        for (int j = 0; j < E / 16; j++) {
            int x = o.column(j);
            if (x < a.o.width)
                store(a.o, at, h, x, o.x[i][j] * inverse * both.add +
                      (both.keep != 0 ? both.keep * load(a.o, at, h, x) : 0), 1);
        }
        if (o.column(0) == 0)
            store(a.lse, at, h, 0, both.lse, 1);
    }
}

template <int M, int E>
static __global__ void __launch_bounds__(BLOCK_THREADS) forward(
    const __grid_constant__ attention a)
{
    extern __shared__ __align__(16) char shared[];
    char *space = shared;
    int D = a.q.width, W = round16(D), pitch = tile_pitch<float>(W);
    float *q = take<float>(space, M, W), *k = take<float>(space, STEP, W);
    float *v = take<float>(space, STEP, E), *p = take<float>(space, M, STEP);
    int row = blockIdx.x * M, h = blockIdx.y, g = kv_head(a, h);
    float most[M / 16], total[M / 16] = {};
    result_sums<M, E> o;
    score_sums<M> s;
    walk<STEP> w;

    for (int i = 0; i < M / 16; i++)
        most[i] = -INFINITY;
    o.clear();
    fill(q, M, W, a.q, h, row, a.q.rows, 0, a.aligned);
    w.start(row, min(row + M, (int)a.q.rows), blockIdx.z * a.tiles, a.tiles);
    while (w.next(a.list)) {
        __syncthreads();
        fill(k, STEP, W, a.k, g, w.s.k, w.s.end, 0, a.aligned);
        fill(v, STEP, E, a.v, g, w.s.k, w.s.end, 0, a.aligned);
        __syncthreads();
        s.clear();
        s.nt(q, pitch, k, pitch, D);
        softmax(s, o, most, total, w.s, row, a.scale);
        s.each([&](int r, int c, float x) {
            p[r * tile_pitch<float>(STEP) + c] = x;
        });
        __syncthreads();
        o.nn(p, tile_pitch<float>(STEP), v, tile_pitch<float>(E), STEP);
    }
    finish(a, o, most, total, row, h);
}

/* ---- Backward --------------------------------------------------------------- */

/* exp(score - lse) of one pair, 0 where it is not visible. */
static __device__ __forceinline__ float weight(float score, float scale,
                                               float lse, int sees)
{
    return sees && lse != -INFINITY ? expf(__fmul_rn(score, scale) - lse) : 0;
}

template <int M, int D>
static __global__ void __launch_bounds__(BLOCK_THREADS) backward_dq(
    const __grid_constant__ attention a)
{
    extern __shared__ __align__(16) char shared[];
    char *space = shared;
    int W = round16(a.q.width), U = round16(a.v.width);
    int pw = tile_pitch<float>(W), pu = tile_pitch<float>(U);
    int ps = tile_pitch<float>(STEP);
    float *q = take<float>(space, M, W), *d_o = take<float>(space, M, U);
    float *k = take<float>(space, STEP, D), *v = take<float>(space, STEP, U);
    float *p = take<float>(space, M, STEP);
    int row = blockIdx.x * M, h = blockIdx.y, g = kv_head(a, h);
    float lse[M / 16], delta[M / 16];
    result_sums<M, D> dq;
    score_sums<M> s, dp;
    walk<STEP> w;

    for (int i = 0; i < M / 16; i++) {
        int r = min(row + s.row(i), (int)a.q.rows - 1);
        lse[i] = load(a.lse, r, h, 0);
        delta[i] = load(a.delta, r, h, 0);
    }
    dq.clear();
    fill(q, M, W, a.q, h, row, a.q.rows, 0, a.aligned);
    fill(d_o, M, U, a.d_o, h, row, a.q.rows, 0, a.aligned);
    w.start(row, min(row + M, (int)a.q.rows), 0, INT_MAX);
    while (w.next(a.list)) {
        __syncthreads();
        fill(k, STEP, D, a.k, g, w.s.k, w.s.end, 0, a.aligned);
        fill(v, STEP, U, a.v, g, w.s.k, w.s.end, 0, a.aligned);
        __syncthreads();
        s.clear();
        s.nt(q, pw, k, tile_pitch<float>(D), a.q.width);
        dp.clear();
        dp.nt(d_o, pu, v, pu, a.v.width);
#pragma unroll
        for (int i = 0; i < M / 16; i++)
#pragma unroll
            for (int j = 0; j < STEP / 16; j++) {
                float x = weight(s.x[i][j], a.scale, lse[i], w.s.sees(
                    row + s.row(i), w.s.k + s.column(j)));
                p[s.row(i) * ps + s.column(j)] =
                    x != 0 ? x * (dp.x[i][j] - delta[i]) : 0;
            }
        __syncthreads();
        dq.nn(p, ps, k, tile_pitch<float>(D), STEP);
    }
    dq.each([&](int r, int x, float sum) {
        if (row + r < a.q.rows && x < a.dq.width)
            store(a.dq, row + r, h, x, sum * a.scale, a.store_dq);
    });
}

/* t (+)= sums * scale */
template <int M, int W>
static __device__ __forceinline__ void write(const tensor &t,
                                             result_sums<M, W> &s, int row,
                                             int h, float scale, int overwrite)
{
    s.each([&](int r, int x, float sum) {
        if (row + r < t.rows && x < t.width)
            store(t, row + r, h, x, sum * scale, overwrite);
    });
}

template <int M, int W>
static __global__ void __launch_bounds__(BLOCK_THREADS) backward_dkv(
    const __grid_constant__ attention a)
{
    extern __shared__ __align__(16) char shared[];
    char *space = shared;
    int pw = tile_pitch<float>(W), ps = tile_pitch<float>(STEP), h0, h1;
    float *k = take<float>(space, M, W), *v = take<float>(space, M, W);
    float *q = take<float>(space, STEP, W), *d_o = take<float>(space, STEP, W);
    float *p = take<float>(space, M, STEP);
    int key = blockIdx.x * M, g = blockIdx.y;
    result_sums<M, W> dk, dv;
    score_sums<M> s, dp;
    walk<STEP> w;

    dk.clear();
    dv.clear();
    fill(k, M, W, a.k, g, key, a.k.rows, 0, a.aligned);
    fill(v, M, W, a.v, g, key, a.k.rows, 0, a.aligned);
    query_heads(a, g, &h0, &h1);
    for (int h = h0; h < h1; h++) {
        w.start(key, min(key + M, (int)a.k.rows), 0, INT_MAX);
        while (w.next(a.list)) {
            __syncthreads();
            fill(q, STEP, W, a.q, h, w.s.k, w.s.end, 0, a.aligned);
            fill(d_o, STEP, W, a.d_o, h, w.s.k, w.s.end, 0, a.aligned);
            __syncthreads();
            s.clear();
            s.nt(k, pw, q, pw, a.q.width);
            dp.clear();
            dp.nt(v, pw, d_o, pw, a.v.width);
#pragma unroll
            for (int j = 0; j < STEP / 16; j++) {
                int r = min(w.s.k + s.column(j), w.s.end - 1);
                float lse = load(a.lse, r, h, 0), delta = load(a.delta, r, h, 0);
#pragma unroll
                for (int i = 0; i < M / 16; i++) {
                    float x = weight(s.x[i][j], a.scale, lse, w.s.sees(
                        key + s.row(i), w.s.k + s.column(j)));
                    s.x[i][j] = x;
                    dp.x[i][j] = x != 0 ? x * (dp.x[i][j] - delta) : 0;
                    p[s.row(i) * ps + s.column(j)] = x;
                }
            }
            __syncthreads();
            dv.nn(p, ps, d_o, pw, STEP);
            __syncthreads();
            dp.each([&](int r, int c, float x) { p[r * ps + c] = x; });
            __syncthreads();
            dk.nn(p, ps, q, pw, STEP);
        }
    }
    write(a.dk, dk, key, g, a.scale, a.store_dk);
    write(a.dv, dv, key, g, 1, a.store_dv);
}

/* ---- Launching -------------------------------------------------------------- */

/* f(accumulators' width, rows) */
template <class F> static void by_width(int width, F f)
{
    if (width <= 64)
        f(std::integral_constant<int, 64>(), std::integral_constant<int, 64>());
    else if (width <= 128)
        f(std::integral_constant<int, 128>(),
          std::integral_constant<int, 64>());
    else
        f(std::integral_constant<int, 256>(),
          std::integral_constant<int, 32>());
}

static size_t floats(int rows, int width)
{
    return tile_bytes<float>(rows, width);
}

int attend_fp32_rows(const attention &a)
{
    return a.v.width > 128 ? 32 : 64;
}

int attend_fp32_step(const attention &)
{
    return STEP;
}

void attend_fp32(const attention &a)
{
    by_width(a.v.width, [&](auto e, auto m) {
        enum { E = decltype(e)::value, M = decltype(m)::value };
        int W = round16(a.q.width);
        size_t bytes = floats(M, W) + floats(STEP, W) + floats(STEP, E) +
                       floats(M, STEP);

        allow_shared(forward<M, E>, bytes, "attend");
        forward<M, E><<<dim3((unsigned)ceil_div(a.q.rows, M),
                             (unsigned)a.q.heads, (unsigned)a.splits),
                        BLOCK_THREADS, bytes, cuda_stream_current()>>>(a);
    });
    launched("attend in fp32");
}

void attend_backward_dq_fp32(const attention &a)
{
    by_width(a.q.width, [&](auto d, auto m) {
        enum { D = decltype(d)::value, M = decltype(m)::value };
        int W = round16(a.q.width), U = round16(a.v.width);
        size_t bytes = floats(M, W) + floats(M, U) + floats(STEP, D) +
                       floats(STEP, U) + floats(M, STEP);

        allow_shared(backward_dq<M, D>, bytes, "attend_backward");
        backward_dq<M, D><<<dim3((unsigned)ceil_div(a.q.rows, M),
                                 (unsigned)a.q.heads),
                            BLOCK_THREADS, bytes, cuda_stream_current()>>>(a);
    });
    launched("attend_backward in fp32");
}

void attend_backward_dkv_fp32(const attention &a)
{
    int width = a.q.width > a.v.width ? a.q.width : a.v.width;

    by_width(width, [&](auto d, auto m) {
        enum { W = decltype(d)::value, M = decltype(m)::value };
        size_t bytes = 2 * floats(M, W) + 2 * floats(STEP, W) +
                       floats(M, STEP);

        allow_shared(backward_dkv<M, W>, bytes, "attend_backward");
        backward_dkv<M, W><<<dim3((unsigned)ceil_div(a.k.rows, M),
                                  (unsigned)a.k.heads),
                             BLOCK_THREADS, bytes, cuda_stream_current()>>>(a);
    });
    launched("attend_backward in fp32");
}
