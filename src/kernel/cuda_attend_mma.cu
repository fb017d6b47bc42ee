/* SPDX-License-Identifier: Apache-2.0
 *
 * The cuda backend: attention forward on tensor cores of any device from compute
 * capability 8.0 on (FlashAttention-2, arXiv:2307.08691, algorithm 1).  A warp
 * has 16 query rows; keys and values come STEP at a time through two buffers. */
#include <config.h>

#include <limits.h>

#include "kernel/cuda_warp.cuh"

/* D, E: head sizes filled up; WARPS of a block. */
template <class T, int D, int E, int WARPS, int STEP> struct forward_tile {
    enum {
        ROWS = 16 * WARPS, THREADS = 32 * WARPS,
        Q = 0, K = ROWS * D * 2, V = K + 2 * STEP * D * 2,
        BYTES = V + 2 * STEP * E * 2
    };
    enum { Q_KEPT = D <= 128 };     /* in registers */

    static __device__ __forceinline__ void load_queries(const attention &a,
                                                        uint32_t q, int first,
                                                        int head)
    {
        load_rows<T, D, ROWS, THREADS>(q, a.q.data, a.q.width, a.aligned,
            [&](int r) {
                int row = (first + r) / a.pack;
                return row < a.q.rows
                       ? place(a.q, row, head + (first + r) % a.pack, 0) : -1;
            });
    }

    /* s [16, STEP] = q kT, -inf where not visible */
    static __device__ __forceinline__ void scores(float s[][4],
                                                  uint32_t kept[][4],
                                                  uint32_t q, uint32_t k)
    {
        clear<STEP>(s);
#pragma unroll
        for (int i = 0; i < D / 16; i++) {
            uint32_t other[4];

            if (!Q_KEPT)
                left<D>(other, q, threadIdx.x / 32 * 16, i);
            times_rows<T, D, STEP>(s, Q_KEPT ? kept[i] : other, k, i);
        }
    }
};

template <class T, int D, int E, int WARPS, int STEP>
static __global__ void __launch_bounds__(32 * WARPS) forward(
    const __grid_constant__ attention a)
{
    typedef forward_tile<T, D, E, WARPS, STEP> tile;
    extern __shared__ __align__(1024) char shared[];
    uint32_t space = shared_address(shared), q = space + tile::Q;
    int first = ((int)gridDim.x - 1 - (int)blockIdx.x) * tile::ROWS;
    int head = blockIdx.y * a.pack, g = kv_head(a, head), lane = threadIdx.x % 32;
    int mine = first + threadIdx.x / 32 * 16;   /* of the warp, packed */
    int r0 = first / a.pack;
    int r1 = min((int)a.q.rows, (first + tile::ROWS + a.pack - 1) / a.pack);
    int row[2] = { (mine + lane / 4) / a.pack, (mine + lane / 4 + 8) / a.pack };
    int works = mine < a.q.rows * a.pack, buffer = 0;
    float scale = a.scale * LOG2E, factor[2], o[E / 8][4], s[STEP / 8][4];
    uint32_t kept[tile::Q_KEPT ? D / 16 : 1][4];
    running run = { { -INFINITY, -INFINITY }, { 0, 0 } };
    walk<STEP> w;
    auto load = [&](const span &t, int to) {
        load_head<T, D, STEP, tile::THREADS>(
            space + tile::K + to * STEP * D * 2, a.k, g, t.k, t.end, a.aligned);
        load_head<T, E, STEP, tile::THREADS>(
            space + tile::V + to * STEP * E * 2, a.v, g, t.k, t.end, a.aligned);
    };

    clear<E>(o);
    w.start(r0, r1, blockIdx.z * a.tiles, a.tiles);
    bool more = w.next(a.list), fresh = true;
    if (more) {
        tile::load_queries(a, q, first, head);
        load(w.s, 0);
    }
    copy_commit();
    while (more) {
        span now = w.s;
        more = w.next(a.list);
        if (more)
            load(w.s, buffer ^ 1);
        copy_commit();
        copy_wait<1>();
        __syncthreads();
        if (fresh && tile::Q_KEPT) {
#pragma unroll
            for (int i = 0; i < (tile::Q_KEPT ? D / 16 : 0); i++)
                left<D>(kept[i], q, threadIdx.x / 32 * 16, i);
        }
        fresh = false;
        if (works) {
            tile::scores(s, kept, q, space + tile::K + buffer * STEP * D * 2);
            if (!now.is_full(r0, r1, STEP))
                each<STEP>(s, [&](int i, int c, float &x) {
                    x = now.sees(row[i], now.k + c) ? x : -INFINITY;
                });
            softmax<STEP>(s, run, scale, factor);
            multiply<E>(o, factor);
#pragma unroll
            for (int i = 0; i < STEP / 16; i++) {
                uint32_t p[4];

                left_of<T>(p, s, i);
                times_columns<T, E>(o, p, space + tile::V +
                                          buffer * STEP * E * 2, i);
            }
        }
        __syncthreads();
        buffer ^= 1;
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int at = (mine + lane / 4 + 8 * i) % a.pack;
        finish_row<E>(a, o, i, run,
                      row[i] + (int64_t)blockIdx.z * a.q.rows, head + at,
                      row[i] < a.q.rows);
    }
}

/* ---- Launching ---------------------------------------------------------------- */

static int is_wide(const attention &a)
{
    return a.q.width > 128 || a.v.width > 128;
}

int attend_mma_rows(const attention &a)
{
    return is_wide(a) || a.pack > 1 ? 64 : 128;
}

int attend_mma_step(const attention &a)
{
    return is_wide(a) ? 32 : 64;
}

template <class T, int W, int WARPS, int STEP>
static void launch(const attention &a)
{
    typedef forward_tile<T, W, W, WARPS, STEP> tile;
    dim3 grid((unsigned)ceil_div(a.q.rows * a.pack, tile::ROWS),
              (unsigned)(a.q.heads / a.pack), (unsigned)a.splits);

    allow_shared(forward<T, W, W, WARPS, STEP>, tile::BYTES, "attend");
    forward<T, W, W, WARPS, STEP><<<grid, tile::THREADS, tile::BYTES,
                                    cuda_stream_current()>>>(a);
    launched("attend");
}

template <class T> static void launch(const attention &a)
{
    int width = a.q.width > a.v.width ? a.q.width : a.v.width;

    if (width > 128)
        launch<T, 256, 4, 32>(a);
    else if (width > 64)
        a.pack > 1 ? launch<T, 128, 4, 64>(a) : launch<T, 128, 8, 64>(a);
    else
        a.pack > 1 ? launch<T, 64, 4, 64>(a) : launch<T, 64, 8, 64>(a);
}

void attend_mma(const attention &a)
{
    if (attend_hopper(a))
        return;
    if (a.q.dtype == DTYPE_BF16)
        launch<bf16>(a);
    else
        launch<fp16>(a);
}
