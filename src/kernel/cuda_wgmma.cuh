/* SPDX-License-Identifier: Apache-2.0
 *
 * Compute capability 9.0a: barriers in shared memory, copies of boxes of a
 * tensor (TMA), products of a warpgroup (PTX ISA: mbarrier,
 * cp.async.bulk.tensor, wgmma).  Addresses are of the shared window; HAS_WGMMA
 * where the code of these can be generated.
 *
 * A tile in 16 bits has rows of 64 or 32 elements.  Their pieces of 16 bytes are
 * exchanged, piece c of row r being at c ^ r % 8, or c ^ r / 2 % 4, as copies
 * write and products read them.  It starts at a multiple of 1024 bytes. */
#ifndef SPAR_CUDA_WGMMA_CUH
#define SPAR_CUDA_WGMMA_CUH

#include <cuda.h>

#include "kernel/cuda_common.cuh"

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define HAS_WGMMA 1
#else
#define HAS_WGMMA 0
#endif

#if HAS_WGMMA

/* ---- Barriers ------------------------------------------------------------ */

static __device__ __forceinline__ void barrier_init(uint32_t at, int arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;"
                 :: "r"(at), "r"(arrivals) : "memory");
}

static __device__ __forceinline__ void barrier_arrive(uint32_t at)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];"
                 :: "r"(at) : "memory");
}

/* At the same barrier of block `rank` of the cluster. */
static __device__ __forceinline__ void barrier_arrive_at(uint32_t at, int rank)
{
    asm volatile("{ .reg .b32 there;\n"
                 "mapa.shared::cluster.u32 there, %0, %1;\n"
                 "mbarrier.arrive.shared::cluster.b64 _, [there]; }"
                 :: "r"(at), "r"(rank) : "memory");
}

static __device__ __forceinline__ void barrier_expect(uint32_t at, int bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
                 :: "r"(at), "r"(bytes) : "memory");
}

/* Until the phase of this parity is over. */
static __device__ __forceinline__ void barrier_wait(uint32_t at, int parity)
{
    asm volatile("{ .reg .pred done;\n"
                 "again:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@!done bra again; }"
                 :: "r"(at), "r"(parity) : "memory");
}

static __device__ __forceinline__ void cluster_sync(void)
{
    asm volatile("barrier.cluster.arrive.aligned;\n"
                 "barrier.cluster.wait.aligned;" ::: "memory");
}

static __device__ __forceinline__ int cluster_rank(void)
{
    int r;

    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(r));
    return r;
}

static __device__ __forceinline__ int cluster_size(void)
{
    int n;

    asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(n));
    return n;
}

/* What threads wrote to shared memory is seen by copies and products. */
static __device__ __forceinline__ void fence_async(void)
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/* ---- Copies -------------------------------------------------------------- */

/* The box at (x, head, row) to `to`, of this block. */
static __device__ __forceinline__ void copy_box(uint32_t to,
                                                const CUtensorMap *map, int x,
                                                int head, int row,
                                                uint32_t barrier)
{
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global."
                 "mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], [%5];"
                 :: "r"(to), "l"(map), "r"(x), "r"(head), "r"(row),
                    "r"(barrier) : "memory");
}

/* ... of the blocks of the cluster in `mask`, and to their barriers. */
static __device__ __forceinline__ void copy_box_to(uint32_t to,
                                                   const CUtensorMap *map,
                                                   int x, int head, int row,
                                                   uint32_t barrier,
                                                   uint16_t mask)
{
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global."
                 "mbarrier::complete_tx::bytes.multicast::cluster "
                 "[%0], [%1, {%2, %3, %4}], [%5], %6;"
                 :: "r"(to), "l"(map), "r"(x), "r"(head), "r"(row),
                    "r"(barrier), "h"(mask) : "memory");
}

/* ---- Products ------------------------------------------------------------ */

/* A tile with rows of `width` 64 or 32 elements as an operand. */
static __device__ __forceinline__ uint64_t tile_of(uint32_t at, int width)
{
    uint64_t rows8 = (uint64_t)(8 * 2 * width >> 4);
    uint64_t swizzle = width == 64 ? 1 : 2;

    return (uint64_t)(at >> 4 & 0x3fff) | 1ull << 16 | rows8 << 32 |
           swizzle << 62;
}

/* ... `bytes` further on. */
static __device__ __forceinline__ uint64_t tile_on(uint64_t tile, int bytes)
{
    return tile + (uint64_t)(bytes >> 4);
}

static __device__ __forceinline__ void products_begin(void)
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

static __device__ __forceinline__ void products_commit(void)
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/* Registers that products use: no reading or writing is moved past this. */
template <int N> static __device__ __forceinline__ void pin(float (&d)[N])
{
#pragma unroll
    for (int i = 0; i < N; i++)
        asm volatile("" : "+f"(d[i]) :: "memory");
}

/* Until at most N groups are under way, d not of them. */
template <int N, int COUNT>
static __device__ __forceinline__ void products_wait(float (&d)[COUNT])
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" :: "n"(N) : "memory");
    pin(d);
}

#define SUMS_8(d, i)                                                          \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]),               \
    "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define SUMS_16(d) SUMS_8(d, 0), SUMS_8(d, 8)
#define SUMS_32(d) SUMS_16(d), SUMS_8(d, 16), SUMS_8(d, 24)
#define NAMES_16                                                              \
    "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15}"
#define NAMES_32                                                              \
    "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"                 \
    "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}"

/* d [64, N] (+)= a b over 16 of the inner dimension, which is the one along the
 * rows of a tile, or (TURNED) the one across them. */
#define DEFINE_PRODUCTS(T, TYPE, N, SUMS, NAMES, COUNT, I0, I1, I2, I3, I4,   \
                        I5)                                                   \
template <int A_TURNED, int B_TURNED>                                         \
static __device__ __forceinline__ void product(float (&d)[COUNT], uint64_t a, \
                                               uint64_t b, int add, T)        \
{                                                                             \
    asm volatile("{ .reg .pred add; setp.ne.b32 add, %" I2 ", 0;\n"           \
                 "wgmma.mma_async.sync.aligned.m64n" N "k16.f32." TYPE "."    \
                 TYPE " " NAMES ", %" I0 ", %" I1 ", add, 1, 1, %" I3 ", %"   \
                 I4 "; }"                                                     \
                 : SUMS(d) : "l"(a), "l"(b), "r"(add), "n"(A_TURNED),         \
                             "n"(B_TURNED));                                  \
}                                                                             \
template <int B_TURNED>                                                       \
static __device__ __forceinline__ void product(float (&d)[COUNT],             \
                                               const uint32_t *a, uint64_t b, \
                                               T)                             \
{                                                                             \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" N "k16.f32." TYPE "."    \
                 TYPE " " NAMES ", {%" I0 ", %" I1 ", %" I2 ", %" I3 "}, %"   \
                 I4 ", 1, 1, 1, %" I5 ";"                                     \
                 : SUMS(d) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]),      \
                             "l"(b), "n"(B_TURNED));                          \
}

DEFINE_PRODUCTS(bf16, "bf16", "32", SUMS_16, NAMES_16, 16,
                "16", "17", "18", "19", "20", "21")
DEFINE_PRODUCTS(fp16, "f16", "32", SUMS_16, NAMES_16, 16,
                "16", "17", "18", "19", "20", "21")
DEFINE_PRODUCTS(bf16, "bf16", "64", SUMS_32, NAMES_32, 32,
                "32", "33", "34", "35", "36", "37")
DEFINE_PRODUCTS(fp16, "f16", "64", SUMS_32, NAMES_32, 32,
                "32", "33", "34", "35", "36", "37")

#undef DEFINE_PRODUCTS
#undef SUMS_8
#undef SUMS_16
#undef SUMS_32
#undef NAMES_16
#undef NAMES_32

#endif
#endif
