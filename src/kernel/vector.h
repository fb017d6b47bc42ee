/* SPDX-License-Identifier: Apache-2.0
 *
 * One vector of floats in the instruction set that this file is compiled for:
 * AVX-512, AVX2 with FMA and F16C, or four lanes of portable GNU C.  The cpu
 * kernels are written once in these words and compiled once per set.
 * LANES: floats in a vector.  MICRO_ROWS, MICRO_VECTORS: the block of a product
 * that its registers hold. */
#ifndef SPAR_VECTOR_H
#define SPAR_VECTOR_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernel/half.h"

#define INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)
#include <immintrin.h>
#define LANES 16
#define MICRO_ROWS 8
#define MICRO_VECTORS 3
#define ZIP_LOW  { 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23 }
#define ZIP_HIGH                                                              \
    { 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31 }
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include <immintrin.h>
#define LANES 8
#define MICRO_ROWS 4
#define MICRO_VECTORS 3
#define ZIP_LOW  { 0, 8, 1, 9, 2, 10, 3, 11 }
#define ZIP_HIGH { 4, 12, 5, 13, 6, 14, 7, 15 }
#else
#define LANES 4
#define MICRO_ROWS 4
#define MICRO_VECTORS 3
#define ZIP_LOW  { 0, 4, 1, 5 }
#define ZIP_HIGH { 2, 6, 3, 7 }
#endif

typedef float vec __attribute__((vector_size(4 * LANES), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * LANES), may_alias));
typedef uint32_t uvec __attribute__((vector_size(4 * LANES), may_alias));
typedef uint16_t hvec __attribute__((vector_size(2 * LANES), may_alias));

INLINE vec v_load(const float *p)
{
    vec v;

    memcpy(&v, p, sizeof v);
    return v;
}

INLINE void v_store(float *p, vec v)
{
    memcpy(p, &v, sizeof v);
}

INLINE hvec h_load(const uint16_t *p)
{
    hvec v;

    memcpy(&v, p, sizeof v);
    return v;
}

INLINE void h_store(uint16_t *p, hvec v)
{
    memcpy(p, &v, sizeof v);
}

INLINE vec v_set(float x)
{
    return x - (vec){ 0 };
}

/* First halves of a and b, or second halves, interleaved. */
INLINE vec v_zip_low(vec a, vec b)
{
    return __builtin_shuffle(a, b, (ivec)ZIP_LOW);
}

INLINE vec v_zip_high(vec a, vec b)
{
    return __builtin_shuffle(a, b, (ivec)ZIP_HIGH);
}

/* bf16 is the upper half of fp32; it is rounded to nearest even, NaN stays
 * NaN. */
INLINE vec v_from_bf16(hvec h)
{
    return (vec)(__builtin_convertvector(h, ivec) << 16);
}

INLINE hvec v_to_bf16(vec v)
{
    uvec u = (uvec)v, rounded = u + 0x7fff + ((u >> 16) & 1);
    uvec nan = (uvec)(v != v);

    u = (nan & (u | 0x400000)) | (~nan & rounded);
    return __builtin_convertvector(u >> 16, hvec);
}

/* v_fma: a b + c.  v_max(a, b): b where either is NaN.
 * v_round: to the nearest integer, |x| < 2^22.
 * v_scale: a 2^n for integers n, 0 where x < least.
 * v_fraction: x log2(e) - n, without the product's rounding error. */
#define LOG2E 0x1.715476p0f
#if defined(__AVX512F__)

INLINE vec v_fma(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}

INLINE vec v_max(vec a, vec b)
{
    return _mm512_max_ps(a, b);
}

INLINE vec v_round(vec x)
{
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT |
                                   _MM_FROUND_NO_EXC);
}

INLINE vec v_scale(vec a, vec n, vec x, float least)
{
    __mmask16 normal = _mm512_cmp_ps_mask(x, v_set(least), _CMP_NLT_UQ);

    return _mm512_maskz_scalef_ps(normal, a, n);
}

INLINE vec v_fraction(vec x, vec n)
{
    return v_fma(x, v_set(LOG2E), -n);
}

INLINE vec v_from_fp16(hvec h)
{
    return _mm512_cvtph_ps((__m256i)h);
}

INLINE hvec v_to_fp16(vec v)
{
    return (hvec)_mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT |
                                    _MM_FROUND_NO_EXC);
}

#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)

INLINE vec v_fma(vec a, vec b, vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}

INLINE vec v_max(vec a, vec b)
{
    return _mm256_max_ps(a, b);
}

INLINE vec v_round(vec x)
{
    return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

INLINE vec v_scale(vec a, vec n, vec x, float least)
{
    vec normal = _mm256_cmp_ps(x, v_set(least), _CMP_NLT_UQ);
    ivec power = ((ivec)_mm256_cvtps_epi32(n) + 127) << 23;

    return _mm256_and_ps(a * (vec)power, normal);
}

INLINE vec v_fraction(vec x, vec n)
{
    return v_fma(x, v_set(LOG2E), -n);
}

INLINE vec v_from_fp16(hvec h)
{
    return _mm256_cvtph_ps((__m128i)h);
}

INLINE hvec v_to_fp16(vec v)
{
    return (hvec)_mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT |
                                    _MM_FROUND_NO_EXC);
}

#else

INLINE vec v_fma(vec a, vec b, vec c)
{
    return a * b + c;
}

INLINE vec v_max(vec a, vec b)
{
    ivec more = a > b;

    return (vec)((more & (ivec)a) | (~more & (ivec)b));
}

INLINE vec v_round(vec x)
{
    return (x + 0x1.8p23f) - 0x1.8p23f;
}

INLINE vec v_scale(vec a, vec n, vec x, float least)
{
    ivec low = x < least;
    /* The sum's mantissa ends in n + 127. */
    ivec power = (ivec)(n + (0x1.8p23f + 127)) << 23;

    return (vec)(~low & (ivec)(a * (vec)power));
}

/* n times the first part of log(2) is exact. */
INLINE vec v_fraction(vec x, vec n)
{
    return (x - n * 0x1.62ep-1f - n * 0x1.0bfbe8p-15f) * LOG2E;
}

INLINE vec v_from_fp16(hvec h)
{
    vec v;

    for (int i = 0; i < LANES; i++)
        v[i] = fp16_load(h[i]);
    return v;
}

INLINE hvec v_to_fp16(vec v)
{
    hvec h;

    for (int i = 0; i < LANES; i++)
        h[i] = fp16_round(v[i]);
    return h;
}

#endif

/* e^x for x <= 88; 0 where that is below 2^-126, so that -inf gives 0.  With
 * x log2(e) = n + f, 2^f is a polynomial, minimax of relative error 2.6e-9 on
 * |f| <= 1/2, with value 1 at 0. */
INLINE vec v_exp(vec x)
{
    vec n = v_round(x * LOG2E), f = v_fraction(x, n);
    vec p = v_fma(v_set(0x1.444000p-13f), f, v_set(0x1.5f48c0p-10f));

    p = v_fma(p, f, v_set(0x1.3b2a1cp-7f));
    p = v_fma(p, f, v_set(0x1.c6aeccp-5f));
    p = v_fma(p, f, v_set(0x1.ebfbe0p-3f));
    p = v_fma(p, f, v_set(0x1.62e430p-1f));
    return v_scale(v_fma(p, f, v_set(1)), n, x, -87.33654f);
}

/* Over the lanes: interleaving the halves leaves half as many values, each
 * twice as often. */
INLINE float v_sum(vec v)
{
#pragma GCC unroll 4
    for (int left = LANES; left > 1; left /= 2)
        v = v_zip_low(v, v) + v_zip_high(v, v);
    return v[0];
}

INLINE float v_highest(vec v)
{
#pragma GCC unroll 4
    for (int left = LANES; left > 1; left /= 2)
        v = v_max(v_zip_low(v, v), v_zip_high(v, v));
    return v[0];
}

#endif
