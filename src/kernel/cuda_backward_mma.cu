/* SPDX-License-Identifier: Apache-2.0
 *
 * The cuda backend: attention backward on tensor cores of any device from
 * compute capability 8.0 on (FlashAttention-2, arXiv:2307.08691, algorithm 2),
 * from the global lse and delta.  One kernel has blocks of queries and gives dq,
 * one has blocks of keys and gives dk, dv: no atomics, so the same bits always. */
#include <config.h>

#include <limits.h>

#include "kernel/cuda_warp.cuh"

/* Four bytes to shared memory. */
static __device__ __forceinline__ void copy_word(uint32_t to, const void *from)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;"
                 :: "r"(to), "l"(from) : "memory");
}

static __device__ __forceinline__ float read_word(uint32_t at)
{
    float x;

    asm volatile("ld.shared.f32 %0, [%1];" : "=f"(x) : "r"(at) : "memory");
    return x;
}

/* lse in the scale of exponents of 2; no weight where nothing is visible. */
static __device__ __forceinline__ float exponent(float lse)
{
    return lse == -INFINITY ? INFINITY : lse * LOG2E;
}

/* s = a bT and, if BOTH, dp = c dT: 16 rows of the warp in a, c; STEP in b, d. */
template <class T, int W, int STEP, bool BOTH>
static __device__ __forceinline__ void products(
    float (&s)[STEP / 8][4], uint32_t a, uint32_t b, float (&dp)[STEP / 8][4],
    uint32_t c, uint32_t d, int of_warp)
{
    clear<STEP>(s);
    clear<STEP>(dp);
#pragma unroll
    for (int i = 0; i < W / 16; i++) {
        uint32_t x[4];

        left<W>(x, a, of_warp, i);
        times_rows<T, W, STEP>(s, x, b, i);
        if (BOTH) {
            left<W>(x, c, of_warp, i);
            times_rows<T, W, STEP>(dp, x, d, i);
        }
    }
}

/* sum += x y, x the STEP columns of the warp's rows. */
template <class T, int W, int STEP>
static __device__ __forceinline__ void add_product(
    float (&sum)[W / 8][4], float (&x)[STEP / 8][4], uint32_t y)
{
#pragma unroll
    for (int i = 0; i < STEP / 16; i++) {
        uint32_t part[4];

        left_of<T>(part, x, i);
        times_columns<T, W>(sum, part, y, i);
    }
}

/* ---- dq ------------------------------------------------------------------------ */

template <class T, int W, int WARPS, int STEP> struct dq_tile {
    enum {
        ROWS = 16 * WARPS, THREADS = 32 * WARPS, STEP_BYTES = STEP * W * 2,
        Q = 0, D_O = ROWS * W * 2, K = 2 * D_O, V = K + 2 * STEP_BYTES,
        BYTES = V + 2 * STEP_BYTES
    };
};

template <class T, int W, int WARPS, int STEP>
static __global__ void __launch_bounds__(32 * WARPS) backward_dq(
    const __grid_constant__ attention a)
{
    typedef dq_tile<T, W, WARPS, STEP> tile;
    extern __shared__ __align__(1024) char shared[];
    uint32_t space = shared_address(shared), q = space + tile::Q;
    uint32_t d_o = space + tile::D_O;
    int first = ((int)gridDim.x - 1 - (int)blockIdx.x) * tile::ROWS;
    int head = blockIdx.y, g = kv_head(a, head), lane = threadIdx.x % 32;
    int of_warp = threadIdx.x / 32 * 16, mine = first + of_warp, buffer = 0;
    int r1 = min(first + tile::ROWS, (int)a.q.rows);
    float scale = a.scale * LOG2E, lse[2], delta[2];
    float dq[W / 8][4], s[STEP / 8][4], dp[STEP / 8][4];
    walk<STEP> w;
    auto load_keys = [&](const span &t, int to) {
        load_head<T, W, STEP, tile::THREADS>(
            space + tile::K + to * tile::STEP_BYTES, a.k, g, t.k, t.end,
            a.aligned);
        load_head<T, W, STEP, tile::THREADS>(
            space + tile::V + to * tile::STEP_BYTES, a.v, g, t.k, t.end,
            a.aligned);
    };

#pragma unroll
    for (int i = 0; i < 2; i++) {
        int row = min(mine + lane / 4 + 8 * i, (int)a.q.rows - 1);
        lse[i] = exponent(load(a.lse, row, head, 0));
        delta[i] = load(a.delta, row, head, 0);
    }
    clear<W>(dq);
    w.start(first, r1, 0, INT_MAX);
    bool more = w.next(a.list);
    if (more) {
        load_head<T, W, tile::ROWS, tile::THREADS>(q, a.q, head, first, r1,
                                                   a.aligned);
        load_head<T, W, tile::ROWS, tile::THREADS>(d_o, a.d_o, head, first, r1,
                                                   a.aligned);
        load_keys(w.s, 0);
    }
    copy_commit();
    while (more) {
        uint32_t k = space + tile::K + buffer * tile::STEP_BYTES;
        uint32_t v = space + tile::V + buffer * tile::STEP_BYTES;
        span now = w.s;

        more = w.next(a.list);
        if (more)
            load_keys(w.s, buffer ^ 1);
        copy_commit();
        copy_wait<1>();
        __syncthreads();
        products<T, W, STEP, true>(s, q, k, dp, d_o, v, of_warp);
        int full = now.is_full(first, r1, STEP), n = 0;
        each<STEP>(s, [&](int i, int c, float x) {
            float p = power2(fmaf(x, scale, -lse[i]));
            float &out = dp[n / 4][n % 4];

            if (!full && !now.sees(mine + lane / 4 + 8 * i, now.k + c))
                p = 0;
            out = p != 0 ? p * (out - delta[i]) : 0;
            n++;
        });
        add_product<T, W, STEP>(dq, dp, k);
        __syncthreads();
        buffer ^= 1;
    }
    write_rows<W>(a.dq, dq, mine, head, a.scale, a.store_dq);
}

/* ---- dk, dv -------------------------------------------------------------------- */

/* Scores are turned: rows are keys, columns queries. */
template <class T, int W, int WARPS, int STEP> struct dkv_tile {
    enum {
        ROWS = 16 * WARPS, THREADS = 32 * WARPS, STEP_BYTES = STEP * W * 2,
        K = 0, V = ROWS * W * 2, Q = 2 * V, D_O = Q + 2 * STEP_BYTES,
        LSE = D_O + 2 * STEP_BYTES, DELTA = LSE + 2 * STEP * 4,
        BYTES = DELTA + 2 * STEP * 4
    };
};

/* A step's queries of head h, with do, lse and delta, into buffer `to`. */
template <class T, int W, int STEP, class tile>
static __device__ __forceinline__ void load_step(const attention &a, int h,
                                                 const span &t, uint32_t space,
                                                 int to)
{
    load_head<T, W, STEP, tile::THREADS>(
        space + tile::Q + to * tile::STEP_BYTES, a.q, h, t.k, t.end,
        a.aligned);
    load_head<T, W, STEP, tile::THREADS>(
        space + tile::D_O + to * tile::STEP_BYTES, a.d_o, h, t.k, t.end,
        a.aligned);
    if (threadIdx.x < STEP) {
        int row = min(t.k + (int)threadIdx.x, t.end - 1);
        int at = (to * STEP + threadIdx.x) * 4;
        copy_word(space + tile::LSE + at,
                  (const float *)a.lse.data + place(a.lse, row, h, 0));
        copy_word(space + tile::DELTA + at,
                  (const float *)a.delta.data + place(a.delta, row, h, 0));
    }
}

/* dk += ds^T q, dv += p^T do of a step. */
template <class T, int W, int STEP, bool DK, bool DV>
static __device__ __forceinline__ void add_step(
    float (&dk)[DK ? W / 8 : 1][4], float (&dv)[DV ? W / 8 : 1][4],
    float (&p)[STEP / 8][4], float (&ds)[STEP / 8][4], uint32_t q,
    uint32_t d_o)
{
#pragma unroll
    for (int i = 0; i < STEP / 16; i++) {
        uint32_t x[4];

        if (DV) {
            left_of<T>(x, p, i);
            times_columns<T, W>(dv, x, d_o, i);
        }
        if (DK) {
            left_of<T>(x, ds, i);
            times_columns<T, W>(dk, x, q, i);
        }
    }
}

/* DK, DV: what is wanted: both do not fit the registers of wide heads. */
template <class T, int W, int WARPS, int STEP, bool DK, bool DV>
static __global__ void __launch_bounds__(32 * WARPS) backward_dkv(
    const __grid_constant__ attention a)
{
    typedef dkv_tile<T, W, WARPS, STEP> tile;
    extern __shared__ __align__(1024) char shared[];
    uint32_t space = shared_address(shared), k = space + tile::K;
    uint32_t v = space + tile::V;
    int first = blockIdx.x * tile::ROWS, g = blockIdx.y, h, h1;
    int lane = threadIdx.x % 32, of_warp = threadIdx.x / 32 * 16, buffer = 0;
    int mine = first + of_warp, r1 = min(first + tile::ROWS, (int)a.k.rows);
    float scale = a.scale * LOG2E, s[STEP / 8][4], dp[STEP / 8][4];
    float dk[DK ? W / 8 : 1][4], dv[DV ? W / 8 : 1][4];
    walk<STEP> w;
    auto load_queries = [&](const span &t, int to) {
        load_step<T, W, STEP, tile>(a, h, t, space, to);
    };
    auto next = [&]() {
        while (!w.next(a.list)) {
            if (++h >= h1)
                return false;
            w.start(first, r1, 0, INT_MAX);
        }
        return true;
    };

    clear<DK ? W : 8>(dk);
    clear<DV ? W : 8>(dv);
    query_heads(a, g, &h, &h1);
    w.start(first, r1, 0, INT_MAX);
    bool more = h < h1 && next();
    if (more) {
        load_head<T, W, tile::ROWS, tile::THREADS>(k, a.k, g, first, r1,
                                                   a.aligned);
        load_head<T, W, tile::ROWS, tile::THREADS>(v, a.v, g, first, r1,
                                                   a.aligned);
        load_queries(w.s, 0);
    }
    copy_commit();
    while (more) {
        uint32_t q = space + tile::Q + buffer * tile::STEP_BYTES;
        uint32_t d_o = space + tile::D_O + buffer * tile::STEP_BYTES;
        uint32_t lse = space + tile::LSE + buffer * STEP * 4;
        uint32_t delta = space + tile::DELTA + buffer * STEP * 4;
        span now = w.s;

        more = next();
        if (more)
            load_queries(w.s, buffer ^ 1);
        copy_commit();
        copy_wait<1>();
        __syncthreads();
        products<T, W, STEP, DK>(s, k, q, dp, v, d_o, of_warp);
        int full = now.is_full(first, r1, STEP), n = 0;
        each<STEP>(s, [&](int i, int c, float &x) {
            float p = power2(fmaf(x, scale, -exponent(read_word(lse + c * 4))));
            float &out = dp[n / 4][n % 4];

            if (!full && !now.sees(mine + lane / 4 + 8 * i, now.k + c))
                p = 0;
            x = p;
            if (DK)
                out = p != 0 ? p * (out - read_word(delta + c * 4)) : 0;
            n++;
        });
        add_step<T, W, STEP, DK, DV>(dk, dv, s, dp, q, d_o);
        __syncthreads();
        buffer ^= 1;
    }
    if (DK)
        write_rows<W>(a.dk, dk, mine, g, a.scale, a.store_dk);
    if (DV)
        write_rows<W>(a.dv, dv, mine, g, 1, a.store_dv);
}

/* ---- Launching ----------------------------------------------------------------- */

static int width_of(const attention &a)
{
    return a.q.width > a.v.width ? a.q.width : a.v.width;
}

template <class T, int W, int WARPS, int STEP>
static void launch_dq(const attention &a)
{
    typedef dq_tile<T, W, WARPS, STEP> tile;
    dim3 grid((unsigned)ceil_div(a.q.rows, tile::ROWS), (unsigned)a.q.heads);

    allow_shared(backward_dq<T, W, WARPS, STEP>, tile::BYTES,
                 "attend_backward");
    backward_dq<T, W, WARPS, STEP><<<grid, tile::THREADS, tile::BYTES,
                                     cuda_stream_current()>>>(a);
}

template <class T, int W, int WARPS, int STEP, bool DK, bool DV>
static void launch_dkv(const attention &a)
{
    typedef dkv_tile<T, W, WARPS, STEP> tile;
    dim3 grid((unsigned)ceil_div(a.k.rows, tile::ROWS), (unsigned)a.k.heads);

    allow_shared(backward_dkv<T, W, WARPS, STEP, DK, DV>, tile::BYTES,
                 "attend_backward");
    backward_dkv<T, W, WARPS, STEP, DK, DV><<<
        grid, tile::THREADS, tile::BYTES, cuda_stream_current()>>>(a);
}

void attend_backward_dq_mma(const attention &a)
{
    if (attend_backward_dq_hopper(a))
        return;
    auto launch = [&](auto t) {
        typedef decltype(t) T;
        if (width_of(a) > 128)
            launch_dq<T, 256, 4, 32>(a);
        else if (width_of(a) > 64)
            launch_dq<T, 128, 8, 64>(a);
        else
            launch_dq<T, 64, 8, 64>(a);
    };

    a.q.dtype == DTYPE_BF16 ? launch(bf16()) : launch(fp16());
    launched("attend_backward");
}

void attend_backward_dkv_mma(const attention &a)
{
    if (attend_backward_dkv_hopper(a))
        return;
    auto launch = [&](auto t) {
        typedef decltype(t) T;
        if (width_of(a) > 128) {
            launch_dkv<T, 256, 4, 32, true, false>(a);
            launch_dkv<T, 256, 4, 32, false, true>(a);
        } else if (width_of(a) > 64) {
            launch_dkv<T, 128, 8, 32, true, true>(a);
        } else {
            launch_dkv<T, 64, 8, 64, true, true>(a);
        }
    };

    a.q.dtype == DTYPE_BF16 ? launch(bf16()) : launch(fp16());
    launched("attend_backward");
}
