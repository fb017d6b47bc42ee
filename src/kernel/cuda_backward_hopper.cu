/* SPDX-License-Identifier: Apache-2.0
 *
 * The cuda backend: attention backward on compute capability 9.0, for heads of
 * 64 and 128 elements (FlashAttention-2, arXiv:2307.08691, algorithm 2), in two
 * kernels, as cuda_backward_mma.cu has them: no atomics, the same bits always.
 *
 *            x, y     a, b     s = x aT, p = exp(s - lse), dp = y bT,
 *   queries  q, do    k, v     ds = p (dp - delta)     dq = ds a
 *   keys     k, v     q, do    (all turned)            dk = ds a, dv = p b
 *
 * A block has 128 rows of x, y, of which two groups of four warps have 64 each;
 * one thread copies tiles of 64 rows of a, b, one warp lse and delta of keys'
 * columns.  A group multiplies the next scores while it adds to gradients. */
#include <config.h>

#include <limits.h>

#include "kernel/cuda_hopper.cuh"

enum { ROWS = 128, GROUP = 128, THREADS = 3 * GROUP, STAGES = 3 };
enum { CONSUMING_WARPS = 8, STEP_MOST = 64 };

/* STEP rows of a, b at a time: what registers hold. */
template <int W, bool KEYS> struct layout {
    enum {
        STEP = KEYS && W == 128 ? 48 : STEP_MOST,
        FIXED_PART = ROWS * 64 * 2, FIXED = W / 64 * FIXED_PART,
        PART = STEP * 64 * 2, TILE = W / 64 * PART,
        X = 0, Y = FIXED, A = 2 * FIXED, B = A + STAGES * TILE,
        BYTES = B + STAGES * TILE + 1024
    };
};

struct maps {
    CUtensorMap x, y, a, b;
};

struct signals {
    uint64_t fixed, tiles[STAGES], sums[STAGES];    /* are there */
    uint64_t read[STAGES];                          /* may be overwritten */
    float lse[STAGES][STEP_MOST], delta[STAGES][STEP_MOST];     /* of keys'
                                                                   columns */
};

#ifdef ON_HOPPER

/* Rows of the block, its head, the heads that a and b go through. */
struct work {
    int first, end, head, h0, h1;
};

template <bool KEYS>
static __device__ __forceinline__ work work_of(const attention &a)
{
    int rows = (int)(KEYS ? a.k.rows : a.q.rows);
    int block = KEYS ? blockIdx.x : gridDim.x - 1 - blockIdx.x;
    work w = { block * ROWS, min(rows, block * ROWS + ROWS), (int)blockIdx.y };

    if (KEYS)
        query_heads(a, w.head, &w.h0, &w.h1);
    else {
        w.h0 = kv_head(a, w.head);
        w.h1 = w.h0 + 1;
    }
    return w;
}

/* f(number, head, tile) of all tiles, then() after each head. */
template <int STEP, class F, class G>
static __device__ __forceinline__ void each_tile(const attention &a,
                                                 const work &o, F f, G then)
{
    walk<STEP> w;
    int n = 0;

    for (int h = o.h0; h < o.h1; h++) {
        w.start(o.first, o.end, 0, INT_MAX);
        for (; w.next(a.list); n++)
            f(n, h, w.s);
        then();
    }
}

static __device__ __forceinline__ void await_stage(signals &b, int n)
{
    if (n >= STAGES)
        barrier_wait(&b.read[n % STAGES], n / STAGES % 2 ^ 1);
}

/* W columns of a head's rows. */
template <int W>
static __device__ __forceinline__ void copy(uint32_t to, int part,
                                            const CUtensorMap *map, int head,
                                            int row, uint64_t *b)
{
#pragma unroll
    for (int i = 0; i < W / 64; i++)
        tile_copy(to + i * part, map, 64 * i, head, row, b);
}

template <int W, bool KEYS>
static __device__ __forceinline__ void produce(const attention &a,
                                               const maps &m, signals &b,
                                               uint32_t space, const work &o)
{
    typedef layout<W, KEYS> at;

    each_tile<at::STEP>(a, o, [&](int n, int h, const span &t) {
        int stage = n % STAGES;

        if (threadIdx.x != 0)
            return;
        if (n == 0) {
            barrier_expect(&b.fixed, 2 * at::FIXED);
            copy<W>(space + at::X, at::FIXED_PART, &m.x, o.head, o.first,
                    &b.fixed);
            copy<W>(space + at::Y, at::FIXED_PART, &m.y, o.head, o.first,
                    &b.fixed);
        }
        await_stage(b, n);
        barrier_expect(&b.tiles[stage], 2 * at::TILE);
        copy<W>(space + at::A + stage * at::TILE, at::PART, &m.a, h, t.k,
                &b.tiles[stage]);
        copy<W>(space + at::B + stage * at::TILE, at::PART, &m.b, h, t.k,
                &b.tiles[stage]);
    }, [] { });
}

/* lse in the scale of exponents of 2; no weight where nothing is visible. */
static __device__ __forceinline__ float exponent(float lse)
{
    return lse == -INFINITY ? INFINITY : lse * LOG2E;
}

template <int STEP>
static __device__ __forceinline__ void produce_sums(const attention &a,
                                                    signals &b, const work &o)
{
    int lane = threadIdx.x % 32;

    each_tile<STEP>(a, o, [&](int n, int h, const span &t) {
        int stage = n % STAGES;

        await_stage(b, n);
        for (int i = lane; i < STEP; i += 32) {
            int row = t.k + i, inside = row < a.q.rows;

            b.lse[stage][i] = inside ? exponent(load(a.lse, row, h, 0))
                                     : INFINITY;
            b.delta[stage][i] = inside ? load(a.delta, row, h, 0) : 0;
        }
        barrier_arrive(&b.sums[stage]);
    }, [] { });
}

/* What a group computes with. */
template <class T, int W, bool KEYS> struct consumer {
    typedef layout<W, KEYS> at;
    enum { STEP = at::STEP };
    uint32_t x, y, space;
    int r0, r1, row[2];
    float s[STEP / 8][4], dp[STEP / 8][4], da[W / 8][4];
    float db[KEYS ? W / 8 : 1][4];
    uint32_t p[KEYS ? STEP / 16 : 1][4], ds[STEP / 16][4];
    float lse[2], delta[2], scale;

    /* out = fixed movingT */
    __device__ __forceinline__ void product(float (&out)[STEP / 8][4],
                                            uint32_t fixed, uint32_t moving)
    {
#pragma unroll
        for (int i = 0; i < W / 16; i++)
            times_rows(out, describe(fixed + i / 4 * at::FIXED_PART +
                                     i % 4 * 32, 16),
                       describe(moving + i / 4 * at::PART + i % 4 * 32, 16),
                       i > 0, T());
        products_commit();
    }

    /* out += w moving */
    __device__ __forceinline__ void add(float (&out)[W / 8][4],
                                        const uint32_t (&w)[STEP / 16][4],
                                        uint32_t moving)
    {
#pragma unroll
        for (int i = 0; i < STEP / 16; i++)
            times_columns(out, w[i], describe(moving + i * 16 * 128, at::PART),
                          T());
    }

    /* s are weights */
    __device__ __forceinline__ void weigh(const span &now, const float *column)
    {
        pin(s);
        if (!now.is_full(r0, r1, STEP))
            each<STEP>(s, [&](int i, int c, float &v) {
                v = now.sees(row[i], now.k + c) ? v : -INFINITY;
            });
        each<STEP>(s, [&](int i, int c, float &v) {
            v = power2(fmaf(v, scale, -(KEYS ? column[c] : lse[i])));
        });
    }

    /* dp are ds */
    __device__ __forceinline__ void differ(const float *column)
    {
        pin(dp);
#pragma unroll
        for (int j = 0; j < STEP / 8; j++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int c = j * 8 + threadIdx.x % 4 * 2 + i % 2;
                dp[j][i] = s[j][i] * (dp[j][i] - (KEYS ? column[c]
                                                       : delta[i / 2]));
            }
    }

    __device__ __forceinline__ void step(signals &b, int n, const span &now)
    {
        int stage = n % STAGES, parity = n / STAGES % 2;
        uint32_t left = space + at::A + stage * at::TILE;
        uint32_t right = space + at::B + stage * at::TILE;

        barrier_wait(&b.tiles[stage], parity);
        pin(s);
        pin(dp);
        products_begin();
        product(s, x, left);
        product(dp, y, right);
        products_wait<1>();         /* and all of the tile before */
        if (n > 0 && threadIdx.x % 32 == 0)
            barrier_arrive(&b.read[(n - 1) % STAGES]);
        if (KEYS)
            barrier_wait(&b.sums[stage], parity);
        weigh(now, b.lse[stage]);
        products_wait<0>();
        differ(b.delta[stage]);
        pin(da);
        pin(db);
#pragma unroll
        for (int i = 0; i < STEP / 16; i++) {
            if (KEYS)
                left_of<T>(p[i], s, i);
            left_of<T>(ds[i], dp, i);
        }
        products_begin();
        if constexpr (KEYS)
            add(db, p, right);
        add(da, ds, left);
        products_commit();
    }
};

template <class T, int W, bool KEYS>
static __device__ __forceinline__ void backward_group(const attention &a,
                                                      signals &b,
                                                      uint32_t space,
                                                      const work &o)
{
    typedef layout<W, KEYS> at;
    int group = threadIdx.x / GROUP - 1, lane = threadIdx.x % 32;
    int of_warp = o.first + group * 64 + threadIdx.x / 32 % 4 * 16;
    consumer<T, W, KEYS> c;

    c.space = space;
    c.x = space + at::X + group * 64 * 128;
    c.y = space + at::Y + group * 64 * 128;
    c.r0 = o.first + group * 64;
    c.r1 = min(c.r0 + 64, o.end);
    c.scale = a.scale * LOG2E;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        c.row[i] = of_warp + lane / 4 + 8 * i;
        if (!KEYS) {
            int row = min(c.row[i], (int)a.q.rows - 1);
            c.lse[i] = exponent(load(a.lse, row, o.head, 0));
            c.delta[i] = load(a.delta, row, o.head, 0);
        }
    }
    clear<W>(c.da);
    clear<KEYS ? W : 8>(c.db);
    each_tile<at::STEP>(a, o, [&](int n, int, const span &now) {
        if (n == 0)
            barrier_wait(&b.fixed, 0);
        c.step(b, n, now);
    }, [&] {
        products_wait<0>();
        pin(c.da);
        pin(c.db);
    });
    if constexpr (KEYS) {
        write_rows<W>(a.dk, c.da, of_warp, o.head, a.scale, a.store_dk);
        write_rows<W>(a.dv, c.db, of_warp, o.head, 1, a.store_dv);
    } else
        write_rows<W>(a.dq, c.da, of_warp, o.head, a.scale, a.store_dq);
}

#endif

template <class T, int W, bool KEYS>
static __global__ void __launch_bounds__(THREADS, 1) backward(
    const __grid_constant__ attention a, const __grid_constant__ maps m)
{
#ifdef ON_HOPPER
    extern __shared__ char shared[];
    __shared__ signals b;
    uint32_t space = (shared_address(shared) + 1023) & ~1023u;
    work o = work_of<KEYS>(a);

    if (threadIdx.x == 0) {
        barrier_open(&b.fixed, 1);
        for (int i = 0; i < STAGES; i++) {
            barrier_open(&b.tiles[i], 1);
            barrier_open(&b.sums[i], 32);
            barrier_open(&b.read[i], CONSUMING_WARPS);
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
    if (threadIdx.x < GROUP) {
        give_registers<40>();
        if (threadIdx.x < 32)
            produce<W, KEYS>(a, m, b, space, o);
        else if (KEYS && threadIdx.x < 64)
            produce_sums<layout<W, KEYS>::STEP>(a, b, o);
    } else {
        take_registers<232>();
        backward_group<T, W, KEYS>(a, b, space, o);
    }
#endif
}

/* ---- Launching -------------------------------------------------------------- */

template <class T, int W, bool KEYS> static int launch(const attention &a)
{
    typedef layout<W, KEYS> at;
    static int runs = -1;
    const struct tensor &x = KEYS ? a.k : a.q, &y = KEYS ? a.v : a.d_o;
    const struct tensor &s = KEYS ? a.q : a.k, &t = KEYS ? a.d_o : a.v;

    if (runs < 0)
        runs = hopper_runs((const void *)backward<T, W, KEYS>);
    if (!runs || !hopper_stays_inside(a.list, s.rows, at::STEP))
        return 0;
    maps m = { tile_map(x, ROWS), tile_map(y, ROWS), tile_map(s, at::STEP),
               tile_map(t, at::STEP) };
    allow_shared(backward<T, W, KEYS>, at::BYTES, "attend backward");
    backward<T, W, KEYS><<<dim3((unsigned)ceil_div(x.rows, ROWS),
                                (unsigned)x.heads), THREADS, at::BYTES,
                           cuda_stream_current()>>>(a, m);
    launched("attend backward");
    return 1;
}

template <class T, bool KEYS> static int launch(const attention &a)
{
    return a.q.width == 128 ? launch<T, 128, KEYS>(a) : launch<T, 64, KEYS>(a);
}

template <bool KEYS> static int launch(const attention &a)
{
    int64_t rows = min64(a.q.rows, a.k.rows);

    if (!a.aligned || a.q.width != a.v.width || !rows ||
        (a.q.width != 64 && a.q.width != 128))
        return 0;
    return a.q.dtype == DTYPE_BF16 ? launch<bf16, KEYS>(a)
                                   : launch<fp16, KEYS>(a);
}

int attend_backward_dq_hopper(const attention &a)
{
    return launch<false>(a);
}

int attend_backward_dkv_hopper(const attention &a)
{
    return launch<true>(a);
}
