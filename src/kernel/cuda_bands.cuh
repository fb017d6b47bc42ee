/* SPDX-License-Identifier: Apache-2.0
 *
 * Visible segments (base/segment.h) on the device: as bands, a list of which is
 * a kernel parameter, and a walk over the tiles of columns that rows see. */
#ifndef SPAR_CUDA_BANDS_CUH
#define SPAR_CUDA_BANDS_CUH

#include "kernel/cuda_common.cuh"

enum { BAND_NONE = 1 << 30, BAND_ROWS = 1 << 28, BANDS_NEAR = 64 };

/* Rows first .. first + count see columns from .. from + width where low <= row
 * - column <= high, all counted in the tensors.  Rows are queries and columns
 * keys, or (turned) the other way round. */
struct band {
    int first, count, from, width, low, high;
};

typedef few<band, BANDS_NEAR> bands;

static inline int bound(int64_t x, int64_t shift)
{
    return (int)max64(-BAND_NONE, min64(BAND_NONE, x)) + (int)shift;
}

static inline struct band band_of(const struct segment *s, int turned)
{
    int64_t shift = s->q_first - s->k_first;

    if (turned)
        return { (int)s->k_first, (int)s->k_count, (int)s->q_first,
                 (int)s->q_count, bound(-s->high, -shift),
                 bound(-s->low, -shift) };
    return { (int)s->q_first, (int)s->q_count, (int)s->k_first,
             (int)s->k_count, bound(s->low, shift), bound(s->high, shift) };
}

void bands_set(bands *b, const struct segment *s, int64_t n, int turned);

/* A tile of columns k .. end, seen in parts by the rows of the band. */
struct span {
    int k, end, first, last, low, high;

    __device__ __forceinline__ bool sees(int row, int column) const
    {
        int d = row - column;

        return row >= first && row < last && column < end && d >= low &&
               d <= high;
    }
    /* Do all rows r0 .. r1 see all of `step` columns? */
    __device__ __forceinline__ bool is_full(int r0, int r1, int step) const
    {
        return r0 >= first && r1 <= last && k + step <= end &&
               r0 - (k + step - 1) >= low && r1 - 1 - k <= high;
    }
};

/* Tiles of STEP columns that rows r0 .. r1 see, band by band: the first `skip`
 * are left out, and so are `gap` between any two; at most `left` of them.  All
 * lanes of a warp go together. */
template <int STEP> struct walk {
    int r0, r1, skip, left, gap;
    int base;                   /* of 32 bands looked at together */
    unsigned found;             /* those of them that come */
    span s;

    __device__ __forceinline__ void start(int first, int end, int skipped,
                                          int most, int between = 0)
    {
        r0 = first, r1 = end, skip = skipped, left = most, gap = between;
        base = -32;
        found = 0;
        s.k = s.end = 0;
    }
    __device__ __forceinline__ bool enter(const band &b)
    {
        int a = max(r0, b.first), z = min(r1, b.first + b.count);

        s.first = b.first, s.last = b.first + b.count;
        s.low = b.low, s.high = b.high;
        s.k = max(b.from, a - b.high);
        s.end = min(b.from + b.width, z - b.low);
        return a < z && s.k < s.end;
    }
    __device__ __forceinline__ bool next_band(const bands &list)
    {
        while (!found) {
            base += 32;
            if (base >= list.n)
                return false;
            int i = base + (int)threadIdx.x % 32;
            found = __ballot_sync(~0u, i < list.n && enter(list.at(
                                                 min(i, list.n - 1))));
        }
        enter(list.at(base + __ffs((int)found) - 1));
        found &= found - 1;
        return true;
    }
    /* s is the next tile, or there is none. */
    __device__ __forceinline__ bool next(const bands &list)
    {
        if (left-- <= 0)
            return false;
        for (s.k += STEP;;) {
            int tiles = (max(s.end - s.k, 0) + STEP - 1) / STEP;
            s.k += min(skip, tiles) * STEP;
            skip -= min(skip, tiles);
            if (s.k < s.end)
                break;
            if (!next_band(list))
                return false;
        }
        skip = gap;
        return true;
    }
};

#endif
