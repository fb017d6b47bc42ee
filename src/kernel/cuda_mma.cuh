/* SPDX-License-Identifier: Apache-2.0
 *
 * Tensor cores of a warp (PTX ISA, "mma.m16n8k16"), compute capability 8.0 and
 * later: operands in 16 bits, sums in fp32.
 *
 * Fragments, with g = lane / 4 and t = lane % 4: of the sums c [16, 8], a lane
 * has (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1); two neighbouring ones
 * are, converted, the left operand of a product over these 16 columns. */
#ifndef SPAR_CUDA_MMA_CUH
#define SPAR_CUDA_MMA_CUH

#include "kernel/cuda_common.cuh"

/* c += a b */
static __device__ __forceinline__ void mma(float c[4], const uint32_t a[4],
                                           uint32_t b0, uint32_t b1, bf16)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0),
                   "r"(b1));
}

static __device__ __forceinline__ void mma(float c[4], const uint32_t a[4],
                                           uint32_t b0, uint32_t b1, fp16)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                 "{%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0),
                   "r"(b1));
}

/* Two values in a word, the first in its lower half. */
static __device__ __forceinline__ uint32_t pack(float x, float y, bf16)
{
    uint32_t w;

    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(w) : "f"(y), "f"(x));
    return w;
}

static __device__ __forceinline__ uint32_t pack(float x, float y, fp16)
{
    uint32_t w;

    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(w) : "f"(y), "f"(x));
    return w;
}

static __device__ __forceinline__ uint32_t shared_address(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

/* Four matrices of 8 x 8 from rows of 16 bytes, one row's address a lane. */
static __device__ __forceinline__ void ldmatrix(uint32_t r[4], uint32_t at)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 "
                 "{%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at)
                 : "memory");
}

static __device__ __forceinline__ void ldmatrix_turned(uint32_t r[4],
                                                       uint32_t at)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 "
                 "{%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at)
                 : "memory");
}

/* 16 bytes to shared memory, of which `bytes` are read and the rest is 0. */
static __device__ __forceinline__ void copy_async(uint32_t to, const void *from,
                                                  int bytes)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :: "r"(to), "l"(from), "r"(bytes) : "memory");
}

static __device__ __forceinline__ void copy_commit(void)
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Until at most N groups are under way. */
template <int N> static __device__ __forceinline__ void copy_wait(void)
{
    asm volatile("cp.async.wait_group %0;" :: "n"(N) : "memory");
}

#endif
