/* SPDX-License-Identifier: Apache-2.0
 *
 * Seeded inputs: counter-based, so that every rank makes its own rows and all
 * rank counts and layouts see the same tensors. */
#include <config.h>

#include "run/memory.h"

#include <math.h>

/* splitmix64's output function. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static double horner(const double *c, int n, double x)
{
    double y = c[0];

    for (int i = 1; i < n; i++)
        y = y * x + c[i];
    return y;
}

/* Quantile of N(0,1), 0 < p < 1: the rational approximation of P. J. Acklam,
 * relative error below 1.2e-9. */
static double normal_quantile(double p)
{
    static const double a[] = { -3.969683028665376e+01, 2.209460984245205e+02,
                                -2.759285104469687e+02, 1.383577518672690e+02,
                                -3.066479806614716e+01, 2.506628277459239e+00 };
    static const double b[] = { -5.447609879822406e+01, 1.615858368580409e+02,
                                -1.556989798598866e+02, 6.680131188771972e+01,
                                -1.328068155288572e+01, 1.0 };
    static const double c[] = { -7.784894002430293e-03, -3.223964580411365e-01,
                                -2.400758277161838e+00, -2.549732539343734e+00,
                                4.374664141464968e+00, 2.938163982698783e+00 };
    static const double d[] = { 7.784695709041462e-03, 3.224671290700398e-01,
                                2.445134137142996e+00, 3.754408661907416e+00,
                                1.0 };
    static const double tail = 0.02425;

    if (p < tail || p > 1 - tail) {
        double q = sqrt(-2 * log(p < tail ? p : 1 - p));
        double x = horner(c, 6, q) / horner(d, 5, q);
        return p < tail ? x : -x;
    }
    double q = p - 0.5, r = q * q;
    return horner(a, 6, r) * q / horner(b, 6, r);
}

void input_seeded(void *arg, enum tensor_name tensor, int64_t token,
                  int64_t head, int64_t width, float *out)
{
    uint64_t key = hash_u64(*(const uint64_t *)arg, (uint64_t)tensor);

    key = hash_u64(hash_u64(key, (uint64_t)token), (uint64_t)head);
    for (int64_t x = 0; x < width; x++) {
        uint64_t u = mix(key + (uint64_t)(x + 1) * 0x9e3779b97f4a7c15u);
        out[x] = (float)normal_quantile(((double)(u >> 11) + 0.5) * 0x1p-53);
    }
}
