/* SPDX-License-Identifier: Apache-2.0
 *
 * For cuda_linear_flow.cu: the warpgroup that keeps the state. */
#ifndef SPAR_CUDA_LINEAR_STATE_CUH
#define SPAR_CUDA_LINEAR_STATE_CUH

#include "kernel/cuda_linear_site.cuh"

#if HAS_WGMMA

template <int X, class Site>
static __device__ __forceinline__ void read_state(const flow &f, const Site &at,
                                                  float (&s)[X / 64][SLICE / 2])
{
    int64_t number = (int64_t)blockIdx.z * f.s.c.heads + at.h;
    const float *state = f.s.state;

    if (state && f.s.within)
        state += number * f.width_x * f.width_z;
    else if (state)
        state += (int64_t)at.h * f.width_x * f.width_z;
#pragma unroll
    for (int m = 0; m < X / 64; m++)
        pairs<SLICE>([&](int r, int c, int i) {
            int x = 64 * m + r, z = at.z + c;

#pragma unroll
            for (int j = 0; j < 2; j++, z++)
                s[m][i + j] = !state || x >= f.width_x || z >= f.width_z ? 0
                              : f.s.turned ? state[(int64_t)z * f.width_x + x]
                                           : state[(int64_t)x * f.width_z + z];
        });
}

template <int X, class Site>
static __device__ __forceinline__ void write_state(
    const flow &f, const Site &at, float (&s)[X / 64][SLICE / 2])
{
    int64_t number = (int64_t)blockIdx.z * f.s.c.heads + at.h;
    float *state = f.out + number * f.width_x * f.width_z;

#pragma unroll
    for (int m = 0; m < X / 64; m++)
        pairs<SLICE>([&](int r, int c, int i) {
            int x = 64 * m + r, z = at.z + c;

            if (x < f.width_x && z < f.width_z)
                *(float2 *)(state + (int64_t)x * f.width_z + z) =
                    make_float2(s[m][i], s[m][i + 1]);
        });
}

/* In 16 bits, as the right operand of a product. */
template <class T, int X>
static __device__ __forceinline__ void lay_state(uint32_t to,
                                                 float (&s)[X / 64][SLICE / 2])
{
#pragma unroll
    for (int m = 0; m < X / 64; m++)
        pairs<SLICE>([&](int r, int c, int i) {
            int row = 64 * m + r, x = c / 8;
            uint32_t at = to + row * (2 * SLICE) + c % 8 * 2 +
                          16 * (x ^ (row >> 1 & 3));

            asm volatile("st.shared.b32 [%0], %1;"
                         :: "r"(at), "r"(pack(s[m][i], s[m][i + 1], T()))
                         : "memory");
        });
}

/* Rows of c times the powers of lambda with which they enter the state. */
template <class T, class Site>
static __device__ __forceinline__ uint32_t scale_rows(const Site &at, int i)
{
    uint32_t from = at.c(i), to = at.scaled(i);
    int rows = at.rows(i);

    if (at.slope == 0)
        return from;
#pragma unroll
    for (int j = 0; j < SLICE / 16; j++) {
        int piece = threadIdx.x % WARPGROUP + j * WARPGROUP;
        int r = piece / (SLICE / 8);
        float factor = power(at.slope, at.reverse ? r : max(rows - r, 0));

        write_piece(to + 16 * piece, apply<T>(read_piece(from + 16 * piece),
                    [&](float v) { return v * factor; }));
    }
    fence_async();
    asm volatile("bar.sync 1, 128;" ::: "memory");
    return to;
}

template <class T, int X, int MODE, class Site>
static __device__ __forceinline__ void keep_state(const flow &f, const Site &at)
{
    float s[X / 64][SLICE / 2];

    read_state<X>(f, at, s);
    for (int i = 0; i < at.tiles; i++) {
        if (MODE != STATES) {
            barrier_wait(at.state_free(i), i / 3 & 1 ^ 1);
            lay_state<T, X>(at.kept(i), s);
            fence_async();
            barrier_arrive(at.state_full(i));
        }
        if (MODE == AFTER || (MODE == WITHIN && i + 1 == at.tiles))
            break;
        at.await(f, i);
        uint32_t c = scale_rows<T>(at, i);
        float factor = power(at.slope, at.rows(i));
#pragma unroll
        for (int m = 0; m < X / 64; m++)
#pragma unroll
            for (int j = 0; j < SLICE / 2; j++)
                s[m][j] *= factor;
#pragma unroll
        for (int m = 0; m < X / 64; m++)
            pin(s[m]);
        uint64_t left = tile_of(at.b(i), 64), right = tile_of(c, SLICE);
        products_begin();
#pragma unroll
        for (int k = 0; k < TILE / 16; k++)
#pragma unroll
            for (int m = 0; m < X / 64; m++)
                product<1, 1>(s[m], tile_on(left, m * PART + k * 2048),
                              tile_on(right, k * 32 * SLICE), 1, T());
        products_commit();
        products_wait<0>(s[0]);
#pragma unroll
        for (int m = 1; m < X / 64; m++)
            pin(s[m]);
        at.release(i);
    }
    if (MODE == STATES)
        write_state<X>(f, at, s);
}

#endif
#endif
