/* SPDX-License-Identifier: Apache-2.0
 *
 * The cuda backend: row sums, and the parts of a merge. */
#include <config.h>

#include "kernel/cuda_kernels.h"
#include "kernel/cuda_rows.cuh"

enum { THREADS = ROW_THREADS };

/* The thread's, of a launch in which they are numbered in 31 bits. */
static __device__ __forceinline__ unsigned item_number(void)
{
    return blockIdx.x * THREADS + threadIdx.x;
}

static unsigned blocks_of(int64_t items)
{
    return (unsigned)ceil_div(items, THREADS);
}

/* ---- Row sums ------------------------------------------------------------ */

/* Eight elements from x on of a (row, head), or the fewer that there are. */
static __device__ __forceinline__ void read_eight(const tensor &t, int64_t row,
                                                  int64_t head, int x,
                                                  int aligned, float *out)
{
    int64_t at = place(t, row, head, x);

    if (aligned) {
        add_any<8>(t.dtype, t.data, at, 1, out);
        return;
    }
    for (int i = 0; i < 8; i++)
        out[i] = x + i < t.width ? load(t.dtype, t.data, at + i) : 0;
}

/* LANES threads a (row, head). */
template <int LANES>
static __global__ void __launch_bounds__(THREADS) row_sums(
    struct tensor o, struct tensor d_o, struct tensor delta, int aligned)
{
    unsigned item = item_number() / LANES, row = item / o.heads;
    int head = (int)(item % o.heads), lane = threadIdx.x % LANES;
    float sum = 0;

    for (int x = lane * 8; row < o.rows && x < o.width; x += LANES * 8) {
        float a[8] = {}, b[8] = {};

        read_eight(o, row, head, x, aligned, a);
        read_eight(d_o, row, head, x, aligned, b);
#pragma unroll
        for (int i = 0; i < 8; i++)
            sum = fmaf(a[i], b[i], sum);
    }
#pragma unroll
    for (int step = LANES / 2; step; step /= 2)
        sum += __shfl_xor_sync(~0u, sum, step);
    if (lane == 0 && row < o.rows)
        store(delta, row, head, 0, sum, 1);
}

template <int LANES>
static void sum_rows(struct tensor o, struct tensor d_o, struct tensor delta,
                     int aligned)
{
    by_launch(o.rows, (int64_t)o.heads * LANES, [&](int64_t first,
                                                    int64_t count) {
        row_sums<LANES><<<blocks_of(count * o.heads * LANES), THREADS, 0,
                          cuda_stream_current()>>>(
            rows_of(o, first, count), rows_of(d_o, first, count),
            rows_of(delta, first, count), aligned);
        launched("delta");
    });
}

void cuda_delta(struct tensor o, struct tensor d_o, struct tensor delta)
{
    int aligned = o.width % 8 == 0 && is_aligned(&o, 16) &&
                  is_aligned(&d_o, 16);

    if (!o.rows || !o.heads)
        return;
    if (o.width <= 64)
        sum_rows<8>(o, d_o, delta, aligned);
    else
        sum_rows<16>(o, d_o, delta, aligned);
}

/* ---- Parts of a merge ---------------------------------------------------- */

struct parts {
    struct tensor o, lse, m, num, den;
    unsigned groups;            /* a row has, of V elements */
};

/* The thread's V elements: of a head from x on, if it has any. */
template <int V> struct group {
    unsigned row;
    int head, x;
    __device__ __forceinline__ group(const parts &p)
    {
        unsigned t = item_number(), at = t % p.groups * V;

        row = t / p.groups;
        head = (int)(at / p.o.width);
        x = (int)(at % p.o.width);
    }
};

/* dst = factor * src; src is not looked at where the factor is 0. */
template <int V>
static __device__ __forceinline__ void scale(const tensor &dst,
                                             const tensor &src,
                                             const group<V> &g, float factor)
{
    float x[V] = {};

    add_any<V>(src.dtype, src.data, place(src, g.row, g.head, g.x), factor, x);
    write_any<V>(dst.dtype, dst.data, place(dst, g.row, g.head, g.x), x);
}

template <int V>
static __global__ void __launch_bounds__(THREADS) rescale(
    const __grid_constant__ parts p)
{
    group<V> g(p);

    if (g.row >= p.o.rows)
        return;
    float own = load(p.lse, g.row, g.head, 0);
    float w = own == -INFINITY ? 0 : expf(own - load(p.m, g.row, g.head, 0));

    scale<V>(p.num, p.o, g, w);
    if (g.x == 0)
        store(p.den, g.row, g.head, 0, w, 1);
}

template <int V>
static __global__ void __launch_bounds__(THREADS) normalize(
    const __grid_constant__ parts p)
{
    group<V> g(p);

    if (g.row >= p.o.rows)
        return;
    float total = load(p.den, g.row, g.head, 0);

    scale<V>(p.o, p.num, g, total != 0 ? 1 / total : 0);
    if (g.x == 0)
        store(p.lse, g.row, g.head, 0,
              total != 0 ? load(p.m, g.row, g.head, 0) + logf(total)
                         : -INFINITY, 1);
}

static void by_group(void (*one)(parts), void (*eight)(parts),
                     const struct parts *all, const char *what)
{
    int wide = all->o.width % 8 == 0 && is_aligned(&all->o, 16) &&
               is_aligned(&all->num, 16);
    struct parts p = *all;

    if (!p.o.rows || !p.o.heads)
        return;
    p.groups = (unsigned)((int64_t)p.o.heads * p.o.width / (wide ? 8 : 1));
    by_launch(p.o.rows, p.groups, [&](int64_t first, int64_t count) {
        p.o = rows_of(all->o, first, count);
        p.lse = rows_of(all->lse, first, count);
        p.m = rows_of(all->m, first, count);
        p.num = rows_of(all->num, first, count);
        p.den = rows_of(all->den, first, count);
        (wide ? eight : one)<<<blocks_of(count * p.groups), THREADS, 0,
                               cuda_stream_current()>>>(p);
        launched(what);
    });
}

void cuda_rescale(struct tensor o, struct tensor lse, struct tensor m,
                  struct tensor num, struct tensor den)
{
    struct parts p = { o, lse, m, num, den, 0 };

    by_group(rescale<1>, rescale<8>, &p, "rescale");
}

void cuda_normalize(struct tensor num, struct tensor den, struct tensor m,
                    struct tensor o, struct tensor lse)
{
    struct parts p = { o, lse, m, num, den, 0 };

    by_group(normalize<1>, normalize<8>, &p, "normalize");
}
