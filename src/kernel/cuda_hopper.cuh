/* SPDX-License-Identifier: Apache-2.0
 *
 * What only compute capability 9.0 has (PTX ISA, sm_90a): tensor cores fed from
 * shared memory by groups of four warps ("wgmma"), tiles copied by one thread
 * ("cp.async.bulk.tensor"), barriers that count bytes ("mbarrier").
 *
 * Tiles lie in shared memory in parts of 64 columns, rows of 128 bytes whose 16
 * byte pieces are exchanged within groups of eight rows (128-byte swizzle).
 * Sums [64, N] of a group are spread as those of mma (cuda_mma.cuh), warp w
 * having rows 16 w .. 16 w + 15. */
#ifndef SPAR_CUDA_HOPPER_CUH
#define SPAR_CUDA_HOPPER_CUH

#include <cuda.h>

#include "kernel/cuda_warp.cuh"

/* ---- On the host (cuda_hopper.cu) --------------------------------------------- */

/* Parts of a head, 64 columns and `rows` rows; rows that t has not are 0. */
CUtensorMap tile_map(const struct tensor &t, int rows);
/* Can the open device run `kernel`, and is the one for 9.0a in this program,
 * which alone has static shared memory? */
int hopper_runs(const void *kernel);
/* Do tiles of `step` of all rows stay inside the bands?  What is beyond may be
 * NaN. */
int hopper_stays_inside(const bands &list, int64_t rows, int step);

#if defined __CUDA_ARCH_FEAT_SM90_ALL
#define ON_HOPPER 1
#endif

#ifdef ON_HOPPER

/* ---- Barriers ------------------------------------------------------------ */

static __device__ __forceinline__ void barrier_open(uint64_t *b, int arrivals)
{
    asm volatile("mbarrier.init.shared.b64 [%0], %1;"
                 :: "r"(shared_address(b)), "r"(arrivals) : "memory");
}

static __device__ __forceinline__ void barrier_arrive(uint64_t *b)
{
    asm volatile("mbarrier.arrive.shared.b64 _, [%0];"
                 :: "r"(shared_address(b)) : "memory");
}

static __device__ __forceinline__ void barrier_expect(uint64_t *b, int bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;"
                 :: "r"(shared_address(b)), "r"(bytes) : "memory");
}

/* Until the phase of this parity is over. */
static __device__ __forceinline__ void barrier_wait(uint64_t *b, int parity)
{
    asm volatile("{\n"
                 ".reg .pred done;\n"
                 "again:\n"
                 "mbarrier.try_wait.parity.shared.b64 done, [%0], %1;\n"
                 "@done bra.uni over;\n"
                 "bra.uni again;\n"
                 "over:\n"
                 "}" :: "r"(shared_address(b)), "r"(parity) : "memory");
}

/* Barriers of the block by number, of n threads. */
static __device__ __forceinline__ void group_wait(int number, int n)
{
    asm volatile("bar.sync %0, %1;" :: "r"(number), "r"(n) : "memory");
}

static __device__ __forceinline__ void group_arrive(int number, int n)
{
    asm volatile("bar.arrive %0, %1;" :: "r"(number), "r"(n) : "memory");
}

/* ---- Tiles --------------------------------------------------------------- */

/* 64 columns from `column` of a head's rows from `row`. */
static __device__ __forceinline__ void tile_copy(uint32_t to,
                                                 const CUtensorMap *map,
                                                 int column, int head, int row,
                                                 uint64_t *b)
{
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile"
                 ".mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], [%5];"
                 :: "r"(to), "l"(map), "r"(column), "r"(head), "r"(row),
                    "r"(shared_address(b)) : "memory");
}

/* `across`: bytes from 64 columns to the next 64, for operands whose rows are
 * summed over. */
static __device__ __forceinline__ uint64_t describe(uint32_t at, int across)
{
    return (uint64_t)((at & 0x3ffff) >> 4) | (uint64_t)(across >> 4) << 16 |
           (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}

/* ---- Products ------------------------------------------------------------ */

static __device__ __forceinline__ void products_begin(void)
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

static __device__ __forceinline__ void products_commit(void)
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/* Until at most N committed groups are under way. */
template <int N> static __device__ __forceinline__ void products_wait(void)
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" :: "n"(N) : "memory");
}

/* Nothing moves across it. */
template <int N> static __device__ __forceinline__ void pin(float (&s)[N][4])
{
#pragma unroll
    for (int j = 0; j < N; j++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            asm volatile("" : "+f"(s[j][i]) :: "memory");
}

#define SUMS4(c, j) "+f"(c[j][0]), "+f"(c[j][1]), "+f"(c[j][2]), "+f"(c[j][3])
#define SUMS32(c, j) SUMS4(c, j), SUMS4(c, j + 1), SUMS4(c, j + 2),           \
                     SUMS4(c, j + 3), SUMS4(c, j + 4), SUMS4(c, j + 5),       \
                     SUMS4(c, j + 6), SUMS4(c, j + 7)
#define SUMS24(c) SUMS4(c, 0), SUMS4(c, 1), SUMS4(c, 2), SUMS4(c, 3),          \
                  SUMS4(c, 4), SUMS4(c, 5)
#define NAMES24 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"      \
                "%16,%17,%18,%19,%20,%21,%22,%23"
#define NAMES32 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"      \
                "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,"    \
                "%30,%31"
#define NAMES64 NAMES32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,"   \
                "%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,"    \
                "%58,%59,%60,%61,%62,%63"

/* c [64, 8 N] (+)= a bT over 16 columns; a [64, .], b [8 N, .]. */
#define TIMES_ROWS(T, type)                                                   \
    static __device__ __forceinline__ void times_rows(                        \
        float (&c)[6][4], uint64_t a, uint64_t b, int add, T)                 \
    {                                                                         \
        asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %26, 0;\n"         \
                     "wgmma.mma_async.sync.aligned.m64n48k16.f32." type "."   \
                     type " {" NAMES24 "}, %24, %25, add, 1, 1, 0, 0;\n}"     \
                     : SUMS24(c) : "l"(a), "l"(b), "r"(add));                 \
    }                                                                         \
    static __device__ __forceinline__ void times_rows(                        \
        float (&c)[8][4], uint64_t a, uint64_t b, int add, T)                 \
    {                                                                         \
        asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %34, 0;\n"         \
                     "wgmma.mma_async.sync.aligned.m64n64k16.f32." type "."   \
                     type " {" NAMES32 "}, %32, %33, add, 1, 1, 0, 0;\n}"     \
                     : SUMS32(c, 0) : "l"(a), "l"(b), "r"(add));              \
    }                                                                         \
    static __device__ __forceinline__ void times_rows(                        \
        float (&c)[16][4], uint64_t a, uint64_t b, int add, T)                \
    {                                                                         \
        asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %66, 0;\n"         \
                     "wgmma.mma_async.sync.aligned.m64n128k16.f32." type "."  \
                     type " {" NAMES64 "}, %64, %65, add, 1, 1, 0, 0;\n}"     \
                     : SUMS32(c, 0), SUMS32(c, 8)                             \
                     : "l"(a), "l"(b), "r"(add));                             \
    }
TIMES_ROWS(bf16, "bf16")
TIMES_ROWS(fp16, "f16")

/* c [64, 8 N] += a b over 16 rows of b; a in registers. */
#define TIMES_COLUMNS(T, type)                                                \
    static __device__ __forceinline__ void times_columns(                     \
        float (&c)[16][4], const uint32_t a[4], uint64_t b, T)                \
    {                                                                         \
        asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32." type "."  \
                     type " {" NAMES64 "}, {%64,%65,%66,%67}, %68, 1, 1, 1, " \
                     "1;" : SUMS32(c, 0), SUMS32(c, 8)                        \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));   \
    }                                                                         \
    static __device__ __forceinline__ void times_columns(                     \
        float (&c)[8][4], const uint32_t a[4], uint64_t b, T)                 \
    {                                                                         \
        asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32." type "."   \
                     type " {" NAMES32 "}, {%32,%33,%34,%35}, %36, 1, 1, 1, " \
                     "1;" : SUMS32(c, 0)                                      \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));   \
    }
TIMES_COLUMNS(bf16, "bf16")
TIMES_COLUMNS(fp16, "f16")

/* Registers of a thread of the group from now on. */
template <int N> static __device__ __forceinline__ void give_registers(void)
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" :: "n"(N));
}

template <int N> static __device__ __forceinline__ void take_registers(void)
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" :: "n"(N));
}

#endif                          /* ON_HOPPER */

#endif
