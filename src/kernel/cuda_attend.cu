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

enum { MOST_SPLITS = 256, FEWEST_TILES = 4, WARPS = 8 };
enum { SHARED_BLOCKS = 2 };     /* of a multiprocessor */

struct gathering {
    struct tensor o, lse, from, from_lse;
    int store, n;
};

/* A warp's parts of a row: sums relative to the largest lse. */
struct gathered {
    float o[HEAD_MOST], most, total;
};

/* Parts warp, warp + WARPS, ...: at most 32.  A lane has N of the columns. */
template <int N>
static __device__ __forceinline__ void gather_parts(const gathering &g,
                                                    gathered &to, int64_t row,
                                                    int h)
{
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, E = g.o.width;
    int mine = warp + WARPS * lane;
    const float *from = (const float *)g.from.data + place(g.from, row, h, 0);
    int64_t step = g.o.rows * g.from.row_stride;
    float lse = mine < g.n ? load(g.from_lse, row + mine * g.o.rows, h, 0)
                           : -INFINITY;
    float most = lse, o[N] = {};

    for (int k = 16; k; k /= 2)
        most = fmaxf(most, __shfl_xor_sync(~0u, most, k));
    float weight = lse == -INFINITY ? 0 : expf(lse - most), total = weight;
    for (int k = 16; k; k /= 2)
        total += __shfl_xor_sync(~0u, total, k);
#pragma unroll 4
    for (int i = warp; i < g.n; i += WARPS) {
        float w = __shfl_sync(~0u, weight, i / WARPS);
#pragma unroll
        for (int k = 0; k < N; k++)
            if (lane + 32 * k < E)
                o[k] = fmaf(w, from[i * step + lane + 32 * k], o[k]);
    }
#pragma unroll
    for (int k = 0; k < N; k++)
        to.o[lane + 32 * k] = o[k];
    if (lane == 0)
        to.most = most, to.total = total;
}

/* One block a (row, head). */
template <int N>
static __global__ void __launch_bounds__(32 * WARPS) gather(
    const __grid_constant__ gathering g)
{
    __shared__ gathered parts[WARPS];
    int64_t row = blockIdx.x;
    int h = blockIdx.y, x = threadIdx.x;
    float most = -INFINITY, total = 0, sum = 0, old = -INFINITY;

    await_results();
    if (!g.store)
        old = load(g.lse, row, h, 0);
    gather_parts<N>(g, parts[x / 32], row, h);
    __syncthreads();
    for (int i = 0; i < WARPS; i++)
        most = fmaxf(most, parts[i].most);
    if (most == -INFINITY && !g.store)
        return;
    for (int i = 0; i < WARPS; i++) {
        float w = parts[i].most == -INFINITY ? 0 : expf(parts[i].most - most);
        total += w * parts[i].total;
        sum += x < 32 * N ? w * parts[i].o[x] : 0;
    }
    joined both = { 0, 1, total > 0 ? most + logf(total) : -INFINITY };
    if (old != -INFINITY)
        both = join(old, both.lse);
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

static const struct path {
    attend_size_fn *rows, *step;
    attend_fn *attend;
} path_fp32 = { attend_fp32_rows, attend_fp32_step, attend_fp32 },
  path_mma = { attend_mma_rows, attend_mma_step, attend_mma },
  path_decode = { decode_rows, decode_step, decode_mma };

/* Decides upon t->pack, too. */
static const struct path *path_of(const struct attend_args *a, attention *t)
{
    if (!is_narrow(a))
        return &path_fp32;
    t->pack = packed(a) ? (int)a->group : 1;
    return a->q.rows * t->pack <= DECODE_MOST ? &path_decode : &path_mma;
}

void cuda_attend(const struct attend_args *a)
{
    const struct path *path;
    int64_t tiles, n;
    attention t;
    gathering g;

    if (is_empty(&a->q) || (!a->store && !a->n_segments))
        return;
    attention_set(&t, a);
    bands_set(&t.list, a->segments, a->n_segments, 0);
    path = path_of(a, &t);
    tiles = tiles_of(a, path->step(t));
    n = splits_of(a->q.heads / t.pack * ceil_div(a->q.rows * t.pack,
                                                 path->rows(t)), tiles);
    if (n > 1)
        g = split(&t, (int)n, tiles);
    path->attend(t);
    if (n <= 1)
        return;
    launch_early(a->o.width <= 64 ? gather<2> : a->o.width <= 128 ? gather<4>
                 : gather<HEAD_MOST / 32>,
                 dim3((unsigned)a->q.rows, (unsigned)a->q.heads), 32 * WARPS,
                 g, "attend, joining parts");
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
