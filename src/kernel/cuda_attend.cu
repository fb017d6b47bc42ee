/* SPDX-License-Identifier: Apache-2.0
 *
 * The cuda backend: attention.  Which kernels a call takes, and, where its rows
 * are too few for the device, as in decoding, the keys in parts whose results a
 * second kernel joins. */
#include <config.h>

#include <limits.h>
#include <string.h>

#include "kernel/cuda_attend.cuh"
#include "kernel/cuda_kernels.h"

/* ---- Bands -------------------------------------------------------------------- */

void bands_set(bands *b, const struct segment *s, int64_t n, int turned)
{
    band near[BANDS_NEAR];
    band *list = n <= BANDS_NEAR ? near
                 : (band *)xmalloc((size_t)n * sizeof *list);

    for (int64_t i = 0; i < n; i++) {
        if (s[i].q_first + s[i].q_count > BAND_ROWS ||
            s[i].k_first + s[i].k_count > BAND_ROWS)
            die("cuda: attention over more than %d rows", BAND_ROWS);
        list[i] = band_of(&s[i], turned);
    }
    few_set(b, list, n);
    if (list != near)
        free(list);
}

/* ---- Arguments ---------------------------------------------------------------- */

static int is_empty(const struct tensor *t)
{
    return !t->rows || !t->heads;
}

/* Inputs that tensor cores take. */
static int is_narrow(const struct attend_args *a)
{
    return a->q.dtype != DTYPE_FP32 && a->k.dtype == a->q.dtype &&
           a->v.dtype == a->q.dtype;
}

static void attention_set(attention *t, const struct attend_args *a)
{
    int width = a->q.width > a->v.width ? a->q.width : a->v.width;

    if (width > HEAD_MOST)
        die("cuda: heads of %d elements, at most %d", width, HEAD_MOST);
    memset(t, 0, sizeof *t - sizeof t->list);
    t->q = a->q, t->k = a->k, t->v = a->v;
    t->o = a->o, t->lse = a->lse;
    t->store = a->store;
    t->group = (int)a->group;
    t->scale = a->scale;
    t->pack = t->splits = 1;
    t->tiles = INT_MAX;
    t->aligned = is_aligned(&a->q, 16) && is_aligned(&a->k, 16) &&
                 is_aligned(&a->v, 16);
}

/* ---- Keys in parts ------------------------------------------------------------ */

enum { MOST_SPLITS = 256, FEWEST_TILES = 4, SHARED_BLOCKS = 2 };

struct gathering {
    struct tensor o, lse, from, from_lse;
    int store, n;
};

/* One block a (row, head); weights of the parts, then a thread an element. */
static __global__ void __launch_bounds__(HEAD_MOST) gather(
    const __grid_constant__ gathering g)
{
    __shared__ float weight[MOST_SPLITS];
    int64_t row = blockIdx.x;
    int h = blockIdx.y, x = threadIdx.x;
    float most = -INFINITY, total = 0, lse, old = -INFINITY, sum = 0;

    if (!g.store)
        old = load(g.lse, row, h, 0);
    for (int i = x; i < g.n; i += blockDim.x)
        weight[i] = load(g.from_lse, row + i * g.o.rows, h, 0);
    __syncthreads();
    for (int i = 0; i < g.n; i++)
        most = fmaxf(most, weight[i]);
    if (most == -INFINITY && !g.store)
        return;
    __syncthreads();
    for (int i = x; i < g.n; i += blockDim.x)
        weight[i] = weight[i] == -INFINITY ? 0 : expf(weight[i] - most);
    __syncthreads();
    for (int i = 0; i < g.n; i++)
        total += weight[i];
    lse = total > 0 ? most + logf(total) : -INFINITY;
    if (x < g.o.width)
#pragma unroll 8
        for (int i = 0; i < g.n; i++)
            sum += weight[i] * load(g.from, row + i * g.o.rows, h, x);
    joined both = { 0, 1, lse };
    if (old != -INFINITY)
        both = join(old, lse);
    if (x < g.o.width)
        store(g.o, row, h, x,
              (total > 0 ? sum / total * both.add : 0) +
              (both.keep != 0 ? both.keep * load(g.o, row, h, x) : 0), 1);
    if (x == 0)
        store(g.lse, row, h, 0, both.lse, 1);
}

/* Tiles of keys that a block of rows goes over, at most. */
static int64_t tiles_of(const struct attend_args *a, int step)
{
    int64_t n = 0;

    for (int64_t i = 0; i < a->n_segments; i++)
        n += ceil_div(a->segments[i].k_count, step);
    return n;
}

/* Partial results of n parts, part by part, in the work space. */
static gathering split(attention *t, int n, int64_t tiles)
{
    gathering g = { t->o, t->lse, t->o, t->lse, t->store, n };
    int64_t rows = n * t->q.rows, heads = t->q.heads, E = t->o.width;
    float *space = (float *)cuda_workspace(
        CUDA_WORK_PARTIAL, (size_t)(rows * heads * (E + 1)) * sizeof *space);

    g.from.data = space;
    g.from.row_stride = heads * E;
    g.from_lse.data = space + rows * heads * E;
    g.from_lse.row_stride = heads;
    g.from.dtype = DTYPE_FP32;
    g.from.rows = g.from_lse.rows = rows;
    t->o = g.from, t->lse = g.from_lse;
    t->store = 1;
    t->splits = n;
    t->tiles = (int)ceil_div(tiles, n);
    return g;
}

static int64_t splits_of(int64_t blocks, int64_t tiles)
{
    int64_t n = SHARED_BLOCKS * processors() / max64(blocks, 1);

    return max64(1, min64(min64(n, MOST_SPLITS), tiles / FEWEST_TILES));
}

/* ---- Entries ------------------------------------------------------------------ */

/* Query heads of a KV head side by side, if the rows would not fill a tile. */
static int packed(const struct attend_args *a)
{
    int64_t g = a->group;

    return g > 1 && g <= 64 && a->q.rows * g <= 128 &&
           a->q.head_first % g == 0 && a->q.heads % g == 0;
}

void cuda_attend(const struct attend_args *a)
{
    int narrow = is_narrow(a);
    int64_t tiles, n, blocks;
    attention t;
    gathering g;

    if (is_empty(&a->q) || (!a->store && !a->n_segments))
        return;
    attention_set(&t, a);
    bands_set(&t.list, a->segments, a->n_segments, 0);
    if (narrow && packed(a))
        t.pack = (int)a->group;
    blocks = a->q.heads / t.pack * ceil_div(a->q.rows * t.pack, narrow
                                            ? attend_mma_rows(t) : 64);
    tiles = tiles_of(a, narrow ? attend_mma_step(t) : 32);
    n = splits_of(blocks, tiles);
    if (n > 1)
        g = split(&t, (int)n, tiles);
    narrow ? attend_mma(t) : attend_fp32(t);
    if (n <= 1)
        return;
    gather<<<dim3((unsigned)a->q.rows, (unsigned)a->q.heads), HEAD_MOST, 0,
             cuda_stream_current()>>>(g);
    launched("attend, joining parts");
}

void cuda_attend_backward(const struct attend_args *a)
{
    int narrow = is_narrow(a) && a->d_o.dtype == a->q.dtype;
    attention t;

    attention_set(&t, a);
    t.d_o = a->d_o, t.delta = a->delta;
    t.dq = a->dq, t.dk = a->dk, t.dv = a->dv;
    t.store_dq = a->store_dq;
    t.store_dk = a->store_dk;
    t.store_dv = a->store_dv;
    t.aligned = t.aligned && is_aligned(&a->d_o, 16);
    bands_set(&t.list, a->segments, a->n_segments, 0);
    if (!is_empty(&a->q) && (a->n_segments || a->store_dq))
        narrow ? attend_backward_dq_mma(t) : attend_backward_dq_fp32(t);
    bands_set(&t.list, a->segments, a->n_segments, 1);
    if (!is_empty(&a->k) && (a->n_segments || a->store_dk || a->store_dv))
        narrow ? attend_backward_dkv_mma(t) : attend_backward_dkv_fp32(t);
}
