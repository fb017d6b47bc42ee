/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "base/base.h"
#include "base/segment.h"

/* Sum of clamp(a + i, 0, n) over 0 <= i < m. */
static int64_t ramp_sum(int64_t a, int64_t m, int64_t n)
{
    int64_t up = min64(m, max64(0, -a));        /* rows before it is > 0 */
    int64_t full = min64(m, max64(up, n - a));  /* rows before it is n */
    int64_t first = a + up, last = a + full - 1;
    __int128 ramp = full > up ? (__int128)(first + last) * (full - up) / 2 : 0;

    return (int64_t)(ramp + (__int128)(m - full) * n);
}

int64_t segment_pairs(const struct segment *s)
{
    /* Row i sees keys max(0, i - high) .. min(n, i - low + 1). */
    int64_t m = s->q_count, n = s->k_count;

    if (m <= 0 || n <= 0 || s->low > s->high)
        return 0;
    int64_t upto = s->low <= BAND_LOW ? m * n : ramp_sum(1 - s->low, m, n);
    int64_t before = s->high >= BAND_HIGH ? 0 : ramp_sum(-s->high, m, n);
    return upto - before;
}

int64_t segments_pairs(const struct segment *s, int64_t n)
{
    int64_t pairs = 0;

    for (int64_t i = 0; i < n; i++)
        pairs += segment_pairs(&s[i]);
    return pairs;
}

int segment_trim(struct segment *s)
{
    if (s->q_count <= 0 || s->k_count <= 0 || s->low > s->high)
        return 0;
    /* Rows with a visible key: low <= i - j <= high for some 0 <= j < k. */
    if (s->low > BAND_LOW && s->low > 0) {      /* first rows see nothing */
        s->q_first += s->low;
        s->q_count -= s->low;
        if (s->high < BAND_HIGH)
            s->high -= s->low;
        s->low = 0;
    }
    if (s->high < BAND_HIGH && s->high < 0) {   /* first keys are not seen */
        s->k_first -= s->high;
        s->k_count += s->high;
        if (s->low > BAND_LOW)
            s->low -= s->high;
        s->high = 0;
    }
    if (s->q_count <= 0 || s->k_count <= 0)
        return 0;
    if (s->high < BAND_HIGH)                    /* last rows: i <= k-1+high */
        s->q_count = min64(s->q_count, s->k_count + s->high);
    if (s->low > BAND_LOW)                      /* last keys: j <= q-1-low */
        s->k_count = min64(s->k_count, s->q_count - s->low);
    if (s->high < BAND_HIGH && s->high >= s->q_count - 1)
        s->high = BAND_HIGH;
    if (s->low > BAND_LOW && s->low <= -(s->k_count - 1))
        s->low = BAND_LOW;
    return 1;
}
