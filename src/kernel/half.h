/* SPDX-License-Identifier: Apache-2.0
 *
 * 16-bit floats, one at a time, in portable C: bf16 is the upper half of fp32,
 * fp16 is IEEE binary16.  Rounding is to nearest, ties to even; subnormals,
 * infinities and NaN are kept. */
#ifndef SPAR_HALF_H
#define SPAR_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t float_bits(float x)
{
    uint32_t u;

    memcpy(&u, &x, sizeof u);
    return u;
}

static inline float bits_float(uint32_t u)
{
    float x;

    memcpy(&x, &u, sizeof x);
    return x;
}

static inline float bf16_load(uint16_t h)
{
    return bits_float((uint32_t)h << 16);
}

static inline uint16_t bf16_round(float x)
{
    uint32_t u = float_bits(x);

    if (x != x)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static inline float fp16_load(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = h & 0x7fff;

    if (rest > 0x7c00)                                  /* NaN, quieted */
        return bits_float(sign | 0x7fc00000 | rest << 13);
    if (rest == 0x7c00)
        return bits_float(sign | 0x7f800000);
    if (rest >= 0x400)                                  /* normal */
        return bits_float(sign | ((rest << 13) + 0x38000000));
    return bits_float(sign | float_bits((float)rest * 0x1p-24f));
}

static inline uint16_t fp16_round(float x)
{
    uint32_t u = float_bits(x), sign = u >> 16 & 0x8000, rest = u & 0x7fffffff;

    if (rest > 0x7f800000)                              /* NaN, quieted */
        return (uint16_t)(sign | 0x7e00 | (rest >> 13 & 0x3ff));
    if (rest >= 0x477ff000)                             /* rounds above 65504 */
        return (uint16_t)(sign | 0x7c00);
    if (rest >= 0x38800000) {                           /* normal */
        rest += 0xfff + (rest >> 13 & 1);
        return (uint16_t)(sign | (rest - 0x38000000) >> 13);
    }
    /* Below 2^-14 the spacing is 2^-24: adding 1/2 rounds there. */
    return (uint16_t)(sign | (float_bits(bits_float(rest) + 0.5f) &
                              0xffff));
}

#endif
