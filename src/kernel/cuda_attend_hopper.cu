/* SPDX-License-Identifier: Apache-2.0
 *
 * The cuda backend: attention forward on compute capability 9.0, for heads of
 * 64 and 128 elements (FlashAttention-3, arXiv:2407.08608, algorithm 2).  A
 * block has 128 queries.  One thread copies tiles of 128 keys and values; two
 * groups of four warps have 64 queries each.  A group multiplies the next keys
 * while it multiplies the weights of these with the values, and the groups take
 * turns: while one multiplies, the other computes weights. */
#include <config.h>

#include <limits.h>

#include "kernel/cuda_hopper.cuh"

enum { ROWS = 128, STEP = 128, GROUP = 128, THREADS = 3 * GROUP, STAGES = 2 };
enum { CONSUMING_WARPS = 8, TURN = 1, TURN_THREADS = 2 * GROUP };

template <int W> struct layout {
    enum {
        PART = STEP * 64 * 2, TILE = W / 64 * PART,
        Q = 0, K = TILE, V = K + STAGES * TILE, BYTES = V + STAGES * TILE + 1024
    };
};

struct maps {
    CUtensorMap q, k, v;
};

struct signals {
    uint64_t q, k[STAGES], v[STAGES];               /* are there */
    uint64_t k_read[STAGES], v_read[STAGES];        /* may be overwritten */
};

#ifdef ON_HOPPER

template <int W>
static __device__ __forceinline__ void copy(uint32_t to, const CUtensorMap *map,
                                            int head, int row, uint64_t *b)
{
    barrier_expect(b, layout<W>::TILE);
#pragma unroll
    for (int part = 0; part < W / 64; part++)
        tile_copy(to + part * layout<W>::PART, map, 64 * part, head, row, b);
}

/* One warp walks, one thread copies. */
template <int W>
static __device__ __forceinline__ void produce(const attention &a,
                                               const maps &m, signals &b,
                                               uint32_t space, int first,
                                               int head)
{
    typedef layout<W> at;
    int g = kv_head(a, head), leads = threadIdx.x == 0, n = 0;
    walk<STEP> w;

    w.start(first, min(first + ROWS, (int)a.q.rows), 0, INT_MAX);
    for (; w.next(a.list); n++) {
        int stage = n % STAGES, parity = n / STAGES % 2 ^ 1;

        if (!leads)
            continue;
        if (n == 0)
            copy<W>(space + at::Q, &m.q, head, first, &b.q);
        if (n >= STAGES)
            barrier_wait(&b.k_read[stage], parity);
        copy<W>(space + at::K + stage * at::TILE, &m.k, g, w.s.k, &b.k[stage]);
        if (n >= STAGES)
            barrier_wait(&b.v_read[stage], parity);
        copy<W>(space + at::V + stage * at::TILE, &m.v, g, w.s.k, &b.v[stage]);
    }
}

/* What a group computes with. */
template <class T, int W> struct consumer {
    typedef layout<W> at;
    uint32_t q, space;          /* of its queries; of the block */
    int r0, r1, row[2];         /* its rows; the lane's */
    float s[STEP / 8][4], o[W / 8][4], factor[2], scale;
    uint32_t p[STEP / 16][4];
    running run;

    /* s = q kT of a stage, not awaited */
    __device__ __forceinline__ void scores(int stage)
    {
        uint32_t k = space + at::K + stage * at::TILE;

        pin(s);
        products_begin();
#pragma unroll
        for (int i = 0; i < W / 16; i++) {
            int to = i / 4 * at::PART + i % 4 * 32;
            times_rows(s, describe(q + to, 16), describe(k + to, 16), i > 0,
                       T());
        }
        products_commit();
    }

    /* o += p v of a stage, not awaited */
    __device__ __forceinline__ void add_values(int stage)
    {
        uint32_t v = space + at::V + stage * at::TILE;

        pin(o);
        products_begin();
#pragma unroll
        for (int i = 0; i < STEP / 16; i++)
            times_columns(o, p[i], describe(v + i * 16 * 128, at::PART), T());
        products_commit();
    }

    /* s are weights, relative to the largest score so far */
    __device__ __forceinline__ void weigh(const span &now)
    {
        pin(s);
        if (!now.is_full(r0, r1, STEP))
            each<STEP>(s, [&](int i, int c, float &x) {
                x = now.sees(row[i], now.k + c) ? x : -INFINITY;
            });
        softmax<STEP>(s, run, scale, factor);
    }

    __device__ __forceinline__ void keep_weights(void)
    {
#pragma unroll
        for (int i = 0; i < STEP / 16; i++)
            left_of<T>(p[i], s, i);
    }
};

template <class T, int W>
static __device__ __forceinline__ void consume(consumer<T, W> &c,
                                               const attention &a, signals &b,
                                               walk<STEP> &w, int group)
{
    int mine = TURN + group, other = TURN + (group ^ 1);
    int lane = threadIdx.x % 32, n = 1;

    barrier_wait(&b.q, 0);
    barrier_wait(&b.k[0], 0);
    if (group == 1)
        group_arrive(other, TURN_THREADS);
    group_wait(mine, TURN_THREADS);
    c.scores(0);
    group_arrive(other, TURN_THREADS);
    products_wait<0>();
    if (lane == 0)
        barrier_arrive(&b.k_read[0]);
    c.weigh(w.s);
    c.keep_weights();
    for (; w.next(a.list); n++) {
        int stage = n % STAGES, last = (n - 1) % STAGES;

        barrier_wait(&b.k[stage], n / STAGES % 2);
        group_wait(mine, TURN_THREADS);
        c.scores(stage);
        barrier_wait(&b.v[last], (n - 1) / STAGES % 2);
        c.add_values(last);
        group_arrive(other, TURN_THREADS);
        products_wait<1>();
        if (lane == 0)
            barrier_arrive(&b.k_read[stage]);
        c.weigh(w.s);
        products_wait<0>();
        pin(c.o);
        if (lane == 0)
            barrier_arrive(&b.v_read[last]);
        multiply<W>(c.o, c.factor);
        c.keep_weights();
    }
    barrier_wait(&b.v[(n - 1) % STAGES], (n - 1) / STAGES % 2);
    c.add_values((n - 1) % STAGES);
    products_wait<0>();
    pin(c.o);
}

template <class T, int W>
static __device__ __forceinline__ void attend_group(const attention &a,
                                                    signals &b, uint32_t space,
                                                    int first, int head)
{
    int group = threadIdx.x / GROUP - 1, lane = threadIdx.x % 32;
    int of_warp = first + group * 64 + threadIdx.x / 32 % 4 * 16;
    consumer<T, W> c;
    walk<STEP> w;

    c.space = space;
    c.q = space + layout<W>::Q + group * 64 * 128;
    c.r0 = first + group * 64;
    c.r1 = min(c.r0 + 64, (int)a.q.rows);
    c.scale = a.scale * LOG2E;
    c.run = { { -INFINITY, -INFINITY }, { 0, 0 } };
    c.row[0] = of_warp + lane / 4;
    c.row[1] = c.row[0] + 8;
    clear<W>(c.o);
    w.start(first, min(first + ROWS, (int)a.q.rows), 0, INT_MAX);
    if (w.next(a.list))
        consume(c, a, b, w, group);
#pragma unroll
    for (int i = 0; i < 2; i++)
        finish_row<W>(a, c.o, i, c.run, c.row[i], head,
                      c.row[i] < a.q.rows);
}

#endif

template <class T, int W>
static __global__ void __launch_bounds__(THREADS, 1) forward(
    const __grid_constant__ attention a, const __grid_constant__ maps m)
{
#ifdef ON_HOPPER
    extern __shared__ char shared[];
    __shared__ signals b;
    uint32_t space = (shared_address(shared) + 1023) & ~1023u;
    int first = ((int)gridDim.x - 1 - (int)blockIdx.x) * ROWS;

    if (threadIdx.x == 0) {
        barrier_open(&b.q, 1);
        for (int i = 0; i < STAGES; i++) {
            barrier_open(&b.k[i], 1);
            barrier_open(&b.v[i], 1);
            barrier_open(&b.k_read[i], CONSUMING_WARPS);
            barrier_open(&b.v_read[i], CONSUMING_WARPS);
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
    if (threadIdx.x < GROUP) {
        give_registers<40>();
        if (threadIdx.x < 32)
            produce<W>(a, m, b, space, first, blockIdx.y);
    } else {
        take_registers<232>();
        attend_group<T, W>(a, b, space, first, blockIdx.y);
    }
#endif
}

/* ---- Launching -------------------------------------------------------------- */

template <class T, int W> static int launch(const attention &a)
{
    static int runs = -1;

    if (runs < 0)
        runs = hopper_runs((const void *)forward<T, W>);
    if (!runs)
        return 0;
    maps m = { tile_map(a.q, ROWS), tile_map(a.k, STEP), tile_map(a.v, STEP) };
    allow_shared(forward<T, W>, layout<W>::BYTES, "attend");
    forward<T, W><<<dim3((unsigned)ceil_div(a.q.rows, ROWS),
                         (unsigned)a.q.heads), THREADS, layout<W>::BYTES,
                    cuda_stream_current()>>>(a, m);
    launched("attend");
    return 1;
}

template <class T> static int launch(const attention &a)
{
    return a.q.width == 128 ? launch<T, 128>(a) : launch<T, 64>(a);
}

int attend_hopper(const attention &a)
{
    if (a.pack > 1 || a.splits > 1 || !a.aligned || a.q.width != a.v.width ||
        (a.q.width != 64 && a.q.width != 128) || !a.k.rows ||
        !hopper_stays_inside(a.list, a.k.rows, STEP))
        return 0;
    return a.q.dtype == DTYPE_BF16 ? launch<bf16>(a) : launch<fp16>(a);
}
