/* SPDX-License-Identifier: Apache-2.0
 *
 * For cuda_linear_flow.cu: what its kernel is given, and how shared memory and
 * barriers are laid out. */
#ifndef SPAR_CUDA_LINEAR_SITE_CUH
#define SPAR_CUDA_LINEAR_SITE_CUH

#include "kernel/cuda_linear.cuh"
#include "kernel/cuda_mma.cuh"
#include "kernel/cuda_wgmma.cuh"

enum {
    TILE = 64,                  /* rows */
    PART = TILE * 64 * 2,       /* bytes of 64 columns of a tile */
    SLICE = 32,                 /* columns of y that a thread block makes: four
                                   of them make a head of 128, and 32 heads are
                                   about what a device has room for */
    WARPGROUP = 128
};

struct flow {
    CUtensorMap a, b, c;
    struct block_rows s;
    float *out;                 /* STATES: [blocks, heads, X, Z] */
    int width_x, width_z;
    int y_aligned;
    int maps;                   /* an operand has a feature map */
};

/* ---- Shared memory ------------------------------------------------------- */

template <int X, int MODE> struct space {
    enum {
        A = MODE == STATES ? 0 : X / 64, B = MODE == AFTER ? 0 : X / 64,
        C = MODE == AFTER ? 0 : TILE * SLICE * 2, STAGE = (A + B) * PART + C,
        STATE = X * SLICE * 2,
        KEPT = MODE == STATES ? 0 : MODE == AFTER ? 1 : 3,
        LIMIT = MODE == WITHIN ? 220 << 10 : 108 << 10,
        ROOM = (LIMIT - KEPT * STATE - 2 * C) / STAGE,
        STAGES = ROOM > 6 ? 6 : ROOM,
        KEPT_AT = STAGES * STAGE, SCALED_AT = KEPT_AT + KEPT * STATE,
        BARRIERS_AT = SCALED_AT + 2 * C,
        BYTES = BARRIERS_AT + (3 * STAGES + 2 * 3) * 8 + 1024,
        ROWS_BY = MODE == STATES ? 0 : 2,       /* warpgroups */
        HELPERS = 1 + ROWS_BY,
        THREADS = (HELPERS + 1) * WARPGROUP
    };
};

#if HAS_WGMMA

/* A block's place in the work and in shared memory. */
template <int X, int MODE> struct site {
    typedef space<X, MODE> S;
    uint32_t base;
    int start, end, tiles, reverse, h, z, peers;
    float slope;

    __device__ __forceinline__ site(const flow &f, uint32_t shared)
    {
        const chunk &c = f.s.c;

        base = (shared + 1023) / 1024 * 1024;
        start = blockIdx.z * c.block;
        end = min(start + c.block, c.rows);
        tiles = (end - start + TILE - 1) / TILE;
        reverse = c.reverse;
        h = blockIdx.y;
        z = blockIdx.x * SLICE;
        peers = cluster_size();
        slope = slope_of(c, h);
    }
    __device__ __forceinline__ uint32_t a(int i) const
    {
        return base + i % S::STAGES * S::STAGE;
    }
    __device__ __forceinline__ uint32_t b(int i) const
    {
        return a(i) + S::A * PART;
    }
    __device__ __forceinline__ uint32_t c(int i) const
    {
        return b(i) + S::B * PART;
    }
    __device__ __forceinline__ uint32_t scaled(int i) const
    {
        return base + S::SCALED_AT + i % 2 * S::C;
    }
    __device__ __forceinline__ uint32_t kept(int i) const
    {
        return base + S::KEPT_AT + (MODE == AFTER ? 0 : i % 3 * S::STATE);
    }
    __device__ __forceinline__ uint32_t barrier(int n) const
    {
        return base + S::BARRIERS_AT + n * 8;
    }
    __device__ __forceinline__ uint32_t full(int i) const
    {
        return barrier(i % S::STAGES);
    }
    __device__ __forceinline__ uint32_t mapped(int i) const
    {
        return barrier(S::STAGES + i % S::STAGES);
    }
    __device__ __forceinline__ uint32_t empty(int i) const
    {
        return barrier(2 * S::STAGES + i % S::STAGES);
    }
    __device__ __forceinline__ uint32_t state_full(int i) const
    {
        return barrier(3 * S::STAGES + i % 3);
    }
    __device__ __forceinline__ uint32_t state_free(int i) const
    {
        return barrier(3 * S::STAGES + 3 + i % 3);
    }
    /* Parity of the turn of tile i. */
    __device__ __forceinline__ int turn(int i) const
    {
        return i / S::STAGES & 1;
    }
    __device__ __forceinline__ int row(int i) const
    {
        return start + (reverse ? tiles - 1 - i : i) * TILE;
    }
    __device__ __forceinline__ int rows(int i) const
    {
        return min(TILE, end - row(i));
    }
    __device__ __forceinline__ void await(const flow &f, int i) const
    {
        barrier_wait(f.maps ? mapped(i) : full(i), turn(i));
    }
    /* A warp is done with tile i. */
    __device__ __forceinline__ void release(int i) const
    {
        int lane = threadIdx.x % 32;

        __syncwarp();
        if (lane < peers)
            barrier_arrive_at(empty(i), lane);
    }
    __device__ __forceinline__ void prepare(void) const
    {
        enum { USERS = 4 * (MODE == WITHIN ? 2 : 1) };

        for (int i = 0; i < S::STAGES; i++) {
            barrier_init(full(i), 1);
            barrier_init(mapped(i), 96);
            barrier_init(empty(i), USERS * peers);
        }
        for (int i = 0; i < 3; i++) {
            barrier_init(state_full(i), WARPGROUP);
            barrier_init(state_free(i), 4);
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
};

/* ---- Elements ------------------------------------------------------------ */

/* 8 elements of 16 bits */
static __device__ __forceinline__ uint4 read_piece(uint32_t at)
{
    uint4 v;

    asm volatile("ld.shared.v4.b32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(at)
                 : "memory");
    return v;
}

static __device__ __forceinline__ void write_piece(uint32_t at, uint4 v)
{
    asm volatile("st.shared.v4.b32 [%0], {%1,%2,%3,%4};"
                 :: "r"(at), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w) : "memory");
}

template <class T, class F>
static __device__ __forceinline__ uint4 apply(uint4 v, F f)
{
    uint32_t w[4] = { v.x, v.y, v.z, v.w };

#pragma unroll
    for (int i = 0; i < 4; i++) {
        T two[2];

        memcpy(two, &w[i], 4);
        w[i] = pack(f(to_float(two[0])), f(to_float(two[1])), T());
    }
    return make_uint4(w[0], w[1], w[2], w[3]);
}

/* The column of a tile that its 16 bytes number `piece` begin with. */
static __device__ __forceinline__ int column_of(int piece, int width)
{
    int row = piece / (width / 8), x = piece % (width / 8);

    return 8 * (width == 64 ? x ^ (row & 7) : x ^ (row >> 1 & 3));
}

/* f(row, column, index) of a thread's pairs of sums [64, N]. */
template <int N, class F> static __device__ __forceinline__ void pairs(F f)
{
    int lane = threadIdx.x % 32;
    int row = threadIdx.x % WARPGROUP / 32 * 16 + lane / 4;

#pragma unroll
    for (int j = 0; j < N / 8; j++)
#pragma unroll
        for (int i = 0; i < 2; i++)
            f(row + 8 * i, 8 * j + lane % 4 * 2, 4 * j + 2 * i);
}

#endif
#endif
