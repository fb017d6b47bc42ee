/* SPDX-License-Identifier: Apache-2.0
 *
 * For cuda_linear_flow.cu: tiles come into shared memory, through feature maps. */
#ifndef SPAR_CUDA_LINEAR_FETCH_CUH
#define SPAR_CUDA_LINEAR_FETCH_CUH

#include "kernel/cuda_linear_site.cuh"

#if HAS_WGMMA

/* Parts of a and b are fetched by the blocks of the cluster in turn, for all. */
template <class Site> static __device__ void fetch(const flow &f, const Site &at)
{
    typedef typename Site::S S;
    const chunk &c = f.s.c;
    int rank = cluster_rank();
    uint16_t all = (uint16_t)((1 << at.peers) - 1);

    for (int i = 0; i < at.tiles; i++) {
        barrier_wait(at.empty(i), at.turn(i) ^ 1);
        barrier_expect(at.full(i), S::STAGE);
        for (int x = rank; x < S::A + S::B; x += at.peers) {
            int of_a = x < S::A;
            const operand &o = of_a ? f.s.a : f.s.b;
            uint32_t to = at.a(i) + x * PART;
            int column = (of_a ? x : x - S::A) * 64, head = head_of(c, o, at.h);

            if (at.peers > 1)
                copy_box_to(to, of_a ? &f.a : &f.b, column, head, at.row(i),
                            at.full(i), all);
            else
                copy_box(to, of_a ? &f.a : &f.b, column, head, at.row(i),
                         at.full(i));
        }
        if (S::C)
            copy_box(at.c(i), &f.c, at.z, head_of(c, f.s.cc, at.h), at.row(i),
                     at.full(i));
    }
}

/* A part with rows of `width` elements, from column x of the operand on; what
 * lies outside of it stays 0. */
template <class T>
static __device__ __forceinline__ void map_part(uint32_t part, int width, int x,
                                                const operand &o, int rows)
{
    int pieces = width / 8;

    for (int i = threadIdx.x % WARPGROUP - 32; i < rows * pieces; i += 96)
        if (x + column_of(i, width) < o.t.width)
            write_piece(part + 16 * i, apply<T>(
                read_piece(part + 16 * i),
                [&](float v) { return map(o.feature, v); }));
}

template <class T, class Site>
static __device__ void map_tiles(const flow &f, const Site &at)
{
    typedef typename Site::S S;

    for (int i = 0; i < at.tiles; i++) {
        barrier_wait(at.full(i), at.turn(i));
        for (int x = 0; S::A && f.s.a.feature && x < S::A; x++)
            map_part<T>(at.a(i) + x * PART, 64, 64 * x, f.s.a, at.rows(i));
        for (int x = 0; S::B && f.s.b.feature && x < S::B; x++)
            map_part<T>(at.b(i) + x * PART, 64, 64 * x, f.s.b, at.rows(i));
        if (S::C && f.s.cc.feature)
            map_part<T>(at.c(i), SLICE, at.z, f.s.cc, at.rows(i));
        fence_async();
        barrier_arrive(at.mapped(i));
    }
}

#endif
#endif
