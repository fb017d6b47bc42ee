/* SPDX-License-Identifier: Apache-2.0
 *
 * For cuda_linear_flow.cu: a warpgroup that makes rows. */
#ifndef SPAR_CUDA_LINEAR_ROWS_CUH
#define SPAR_CUDA_LINEAR_ROWS_CUH

#include "kernel/cuda_linear_site.cuh"

#if HAS_WGMMA

/* ---- Results ------------------------------------------------------------- */

/* What is in y of a thread's sums [64, SLICE] of rows from `first` on. */
static __device__ __forceinline__ void read_old(const flow &f, int head,
                                                int first, int end, int z,
                                                float (&old)[SLICE / 2])
{
    const tensor &y = f.s.y;

    if (f.y_aligned && y.dtype == DTYPE_FP32) {
        pairs<SLICE>([&](int r, int c, int i) {
            const float *from =
                (const float *)y.data + place(y, first + r, head, z + c);
            float2 v = first + r < end && z + c < y.width
                       ? *(const float2 *)from : make_float2(0, 0);

            old[i] = v.x, old[i + 1] = v.y;
        });
        return;
    }
    pairs<SLICE>([&](int r, int c, int i) {
#pragma unroll
        for (int j = 0; j < 2; j++)
            old[i + j] = first + r < end && z + c + j < y.width
                         ? load(y, first + r, head, z + c + j) : 0;
    });
}

/* Words number 0 .. 3 of the four lanes of a quad become all words number t of
 * lane t. */
static __device__ __forceinline__ uint4 turn_quad(const uint32_t v[4])
{
    int odd = threadIdx.x & 1, high = threadIdx.x & 2;
    uint32_t x = __shfl_xor_sync(~0u, odd ? v[0] : v[1], 1);
    uint32_t y = __shfl_xor_sync(~0u, odd ? v[2] : v[3], 1);
    uint32_t a0 = odd ? x : v[0], a1 = odd ? v[1] : x;
    uint32_t b0 = odd ? y : v[2], b1 = odd ? v[3] : y;
    uint32_t p = __shfl_xor_sync(~0u, high ? a0 : b0, 2);
    uint32_t q = __shfl_xor_sync(~0u, high ? a1 : b1, 2);

    return high ? make_uint4(p, q, b0, b1) : make_uint4(a0, a1, p, q);
}

/* 16 bytes at a time. */
template <class T>
static __device__ __forceinline__ void write_pieces(const tensor &y, int head,
                                                    int first, int end, int z,
                                                    float (&o)[SLICE / 2])
{
    int lane = threadIdx.x % 32;

#pragma unroll
    for (int i = 0; i < 2; i++) {
        int row = first + threadIdx.x % WARPGROUP / 32 * 16 + lane / 4 + 8 * i;

#pragma unroll
        for (int j = 0; j < SLICE / 32; j++) {
            uint32_t v[4];
            int x = z + 32 * j + lane % 4 * 8;

#pragma unroll
            for (int k = 0; k < 4; k++) {
                int at = 4 * (4 * j + k) + 2 * i;
                v[k] = pack(o[at], o[at + 1], T());
            }
            uint4 w = turn_quad(v);
            if (row < end && x < y.width)
                *(uint4 *)((T *)y.data + place(y, row, head, x)) = w;
        }
    }
}

static __device__ __forceinline__ void write_pairs(const flow &f, int head,
                                                   int first, int end, int z,
                                                   float (&o)[SLICE / 2])
{
    const tensor &y = f.s.y;

    if (f.y_aligned && y.dtype == DTYPE_FP32) {
        pairs<SLICE>([&](int r, int c, int i) {
            float *to = (float *)y.data + place(y, first + r, head, z + c);

            if (first + r < end && z + c < y.width)
                *(float2 *)to = make_float2(o[i], o[i + 1]);
        });
        return;
    }
    pairs<SLICE>([&](int r, int c, int i) {
#pragma unroll
        for (int j = 0; j < 2; j++)
            if (first + r < end && z + c + j < y.width)
                store(y, first + r, head, z + c + j, o[i + j], 1);
    });
}

/* Times the derivative of the feature map at post's elements. */
static __device__ __forceinline__ void derive(const operand &post, int head,
                                              int first, int end, int z,
                                              float (&o)[SLICE / 2])
{
    pairs<SLICE>([&](int r, int c, int i) {
#pragma unroll
        for (int j = 0; j < 2; j++)
            if (first + r < end && z + c + j < post.t.width)
                o[i + j] *= map_slope(post.feature,
                                      load(post.t, first + r, head, z + c + j));
    });
}

template <class T>
static __device__ __forceinline__ void write_tile(const flow &f, int head,
                                                  int first, int end, int z,
                                                  float (&o)[SLICE / 2],
                                                  float (&old)[SLICE / 2])
{
    if (f.s.has_post)
        derive(f.s.post, head_of(f.s.c, f.s.post, head), first, end, z, o);
    if (f.y_aligned && f.s.y.dtype == dtype_of<T>::value) {
        write_pieces<T>(f.s.y, head, first, end, z, o);
        return;
    }
    if (!f.s.store)
#pragma unroll
        for (int j = 0; j < SLICE / 2; j++)
            o[j] += old[j];
    write_pairs(f, head, first, end, z, o);
}

/* w: of scores [64, 64], lambda^distance or, where nothing is seen, 0. */
template <class Site>
static __device__ __forceinline__ void set_weights(const Site &at,
                                                   float (&w)[32])
{
    pairs<64>([&](int r, int c, int i) {
#pragma unroll
        for (int j = 0; j < 2; j++) {
            int d = at.reverse ? c + j - r : r - c - j;
            w[i + j] = d >= 0 ? power(at.slope, d) : 0;
        }
    });
}

/* Powers of lambda from the state to this thread's two rows of tile i. */
template <int MODE, class Site>
static __device__ __forceinline__ void set_distances(const flow &f,
                                                     const Site &at, int i,
                                                     float (&u)[2])
{
    int first = threadIdx.x % WARPGROUP / 32 * 16 + threadIdx.x % 32 / 4;
    int last = MODE == AFTER ? f.s.c.rows : TILE;

    first += MODE == AFTER ? at.row(i) : 0;
#pragma unroll
    for (int j = 0; j < 2; j++)
        u[j] = power(at.slope,
                     at.reverse ? max(last - first - 8 * j, 0) : first + 8 * j);
}

/* o = a S, begun */
template <class T, int X, class Site>
static __device__ __forceinline__ void begin_after(const Site &at, int i,
                                                   float (&o)[SLICE / 2])
{
    uint64_t a = tile_of(at.a(i), 64), state = tile_of(at.kept(i), SLICE);

#pragma unroll
    for (int k = 0; k < X / 16; k++)
        product<0, 1>(o, tile_on(a, k / 4 * PART + k % 4 * 32),
                      tile_on(state, k * 32 * SLICE), k > 0, T());
    products_commit();
}

/* p = a bT, begun */
template <class T, int X, class Site>
static __device__ __forceinline__ void begin_scores(const Site &at, int i,
                                                    float (&p)[32])
{
    uint64_t a = tile_of(at.a(i), 64), b = tile_of(at.b(i), 64);

#pragma unroll
    for (int k = 0; k < X / 16; k++) {
        int step = k / 4 * PART + k % 4 * 32;

        product<0, 0>(p, tile_on(a, step), tile_on(b, step), k > 0, T());
    }
    products_commit();
}

/* o += (p w) c, begun */
template <class T, class Site>
static __device__ __forceinline__ void begin_within(const Site &at, int i,
                                                    uint32_t (&p)[16],
                                                    float (&o)[SLICE / 2])
{
    uint64_t c = tile_of(at.c(i), SLICE);

    pin(o);
    products_begin();
#pragma unroll
    for (int k = 0; k < TILE / 16; k++)
        product<1>(o, p + 4 * k, tile_on(c, k * 32 * SLICE), T());
    products_commit();
}

template <class T, int X, int MODE, class Site>
static __device__ __forceinline__ void make_rows(const flow &f, const Site &at,
                                                 int mine)
{
    float w[32], p[32], o[SLICE / 2], old[SLICE / 2], u[2];
    uint32_t left[16];

    if (MODE == WITHIN) {
        set_weights(at, w);
        set_distances<MODE>(f, at, 0, u);
    }
    for (int i = mine; i < at.tiles; i += 2) {
        if (!f.s.store)
            read_old(f, at.h, at.row(i), at.end, at.z, old);
        at.await(f, i);
        if (MODE == WITHIN) {
            products_begin();
            begin_scores<T, X>(at, i, p);
        }
        barrier_wait(at.state_full(MODE == AFTER ? 0 : i),
                     MODE == AFTER ? 0 : i / 3 & 1);
        products_begin();
        begin_after<T, X>(at, i, o);
        if (MODE == WITHIN) {
            products_wait<1>(p);
#pragma unroll
            for (int j = 0; j < 16; j++)
                left[j] = pack(p[2 * j] * w[2 * j], p[2 * j + 1] * w[2 * j + 1],
                               T());
        } else
            set_distances<MODE>(f, at, i, u);
        products_wait<0>(o);
        __syncwarp();
        if (MODE == WITHIN && threadIdx.x % 32 == 0)
            barrier_arrive(at.state_free(i));
#pragma unroll
        for (int j = 0; j < SLICE / 2; j++)
            o[j] *= u[j / 2 % 2];
        if (MODE == WITHIN) {
            begin_within<T>(at, i, left, o);
            products_wait<0>(o);
        }
        at.release(i);
        write_tile<T>(f, at.h, at.row(i), at.end, at.z, o, old);
    }
}

#endif
#endif
