/* SPDX-License-Identifier: Apache-2.0
 *
 * The cuda backend: linear attention in blocks of rows (Lightning Attention-2,
 * arXiv:2401.04658, algorithm 1), all blocks at once: the state of every block
 * by itself, a scan over the blocks, then every block's rows from the state
 * before it and from its own rows.
 *
 * One product has all forms.  y_i (+)= f' * (sum over j <= i of lambda^(i-j)
 * (a_i . b_j) c_j + lambda^i a_i S), or over j >= i with lambda^(j-i): forward
 * it is (q, k, v), for dq (do, v, k), for dk (v, do, q), for dv (k, q, do). */
#include <config.h>

#include "kernel/cuda_block.cuh"
#include "kernel/cuda_kernels.h"

enum {
    TILE = 64,                  /* rows of a product */
    SHORTEST = 256,             /* rows of a block of them, or twice that, ... */
    SLOPES_NEAR = 128, SOURCES_NEAR = 64
};
static const int64_t most_states = 256 << 20;   /* bytes, if a block can grow */

/* ---- What all kernels are given ------------------------------------------- */

typedef few<float, SLOPES_NEAR> slopes;         /* of query heads; none: no decay */

/* A tensor as it is read: by a feature map, of query or of KV heads. */
struct operand {
    struct tensor t;
    int feature, of_kv, aligned;
};

/* Rows in blocks; query heads, numbered from 0. */
struct chunk {
    int rows, block, heads, first, group;
    int reverse;                /* from the last row to the first */
    slopes decay;
};

static __device__ __forceinline__ int head_of(const chunk &c, const operand &o,
                                              int h)
{
    return o.of_kv ? (c.first + h) / c.group - o.t.head_first : h;
}

static __device__ __forceinline__ float slope_of(const chunk &c, int h)
{
    return c.decay.n ? c.decay.at(h) : 0;
}

static __device__ __forceinline__ float power(float slope, int n)
{
    return slope != 0 ? expf(-slope * (float)n) : 1;
}

static __device__ __forceinline__ float map(int feature, float x)
{
    if (feature == FEATURE_MAP_ELU1)
        return x > 0 ? x + 1 : expf(x);
    return feature == FEATURE_MAP_RELU ? fmaxf(x, 0) : x;
}

static __device__ __forceinline__ float map_slope(int feature, float x)
{
    if (feature == FEATURE_MAP_ELU1)
        return x > 0 ? 1 : expf(x);
    return feature == FEATURE_MAP_RELU ? x > 0 : 1;
}

/* A tile of an operand, each row times weight(row of the tile). */
template <class T, class W>
static __device__ __forceinline__ void read(T *tile, int rows, int columns,
                                            const chunk &c, const operand &o,
                                            int h, int first, int end, int x,
                                            W weight)
{
    fill(tile, rows, columns, o.t, head_of(c, o, h), first, end, x, o.aligned,
         [&](int r, float v) { return weight(r) * map(o.feature, v); });
}

/* ---- States of blocks ------------------------------------------------------ */

/* [blocks, heads, X, Y]: sum of lambda^n x_j (x) y_j of the block's rows, n from
 * row j to the block's end, or (reverse) from its start. */
struct block_states {
    struct chunk c;
    struct operand x, y;
    float *out;
};

template <class T, int N>
static __global__ void __launch_bounds__(BLOCK_THREADS) states(
    const __grid_constant__ block_states s)
{
    extern __shared__ __align__(16) char shared[];
    char *space = shared;
    T *x = take<T>(space, TILE, TILE), *y = take<T>(space, TILE, N);
    int across = (s.y.t.width + N - 1) / N, h = blockIdx.z;
    int row = blockIdx.y / across * TILE, column = blockIdx.y % across * N;
    int start = blockIdx.x * s.c.block;
    int end = min(start + s.c.block, s.c.rows);
    int X = s.x.t.width, Y = s.y.t.width;
    float slope = slope_of(s.c, h);
    sums<T, TILE, N> sum;

    sum.clear();
    for (int j = start; j < end; j += TILE) {
        read(x, TILE, TILE, s.c, s.x, h, j, end, row, [&](int r) {
            return power(slope, s.c.reverse ? j + r - start : end - j - r);
        });
        read(y, TILE, N, s.c, s.y, h, j, end, column, [](int) { return 1.f; });
        __syncthreads();
        sum.tn(x, tile_pitch<T>(TILE), y, tile_pitch<T>(N), TILE);
        __syncthreads();
    }
    float *out = s.out + ((int64_t)blockIdx.x * s.c.heads + h) * X * Y;
    sum.each([&](int r, int c, float value) {
        if (row + r < X && column + c < Y)
            out[(int64_t)(row + r) * Y + column + c] = value;
    });
}

/* Each block's state becomes that of all blocks before it (reverse: after it);
 * the state of all of them goes to `total`, if there is one. */
struct block_scan {
    struct chunk c;
    int blocks, width;          /* X * Y */
    float *state, *total;
};

enum { SCAN_THREADS = 256, AHEAD = 8 };

static __global__ void __launch_bounds__(SCAN_THREADS) scan(
    const __grid_constant__ block_scan s)
{
    int x = blockIdx.x * SCAN_THREADS + threadIdx.x, h = blockIdx.y;
    float slope = slope_of(s.c, h), sum = 0, next[AHEAD];

    if (x >= s.width)
        return;
    for (int n = 0; n < s.blocks; n += AHEAD) {
        auto place = [&](int i) {
            int b = s.c.reverse ? s.blocks - 1 - n - i : n + i;
            return s.state + ((int64_t)b * s.c.heads + h) * s.width + x;
        };
#pragma unroll
        for (int i = 0; i < AHEAD; i++)
            next[i] = n + i < s.blocks ? *place(i) : 0;
#pragma unroll
        for (int i = 0; i < AHEAD; i++) {
            int b = s.c.reverse ? s.blocks - 1 - n - i : n + i;

            if (n + i >= s.blocks)
                break;
            *place(i) = sum;
            sum = power(slope, min(s.c.block, s.c.rows - b * s.c.block)) * sum +
                  next[i];
        }
    }
    if (s.total)
        s.total[(int64_t)h * s.width + x] = sum;
}

/* ---- Rows ------------------------------------------------------------------ */

struct block_rows {
    struct chunk c;
    struct operand a, b, cc;    /* b and c only within blocks */
    int within;                 /* 0: of the state only */
    const float *state;         /* [blocks, heads, X, Z]; turned: [Z, X] */
    int turned;
    struct tensor y;
    int store, of_kv;           /* y; summed over the query heads of a KV head */
    struct operand post;        /* y is times the derivative at post's elements */
    int has_post;
};

/* tile [TILE, N] of the state from (x, z) on. */
template <class T, int N>
static __device__ __forceinline__ void read_state(T *tile, const float *state,
                                                  int turned, int x, int z,
                                                  int X, int Z)
{
    for (int i = threadIdx.x; i < TILE * N; i += BLOCK_THREADS) {
        int r = turned ? i % TILE : i / N, c = turned ? i / TILE : i % N;
        int at = turned ? (z + c) * X + x + r : (x + r) * Z + z + c;

        tile[r * tile_pitch<T>(N) + c] =
            from_float<T>(x + r < X && z + c < Z ? state[at] : 0);
    }
}

template <class T, int N>
static __global__ void __launch_bounds__(BLOCK_THREADS) rows(
    const __grid_constant__ block_rows s)
{
    extern __shared__ __align__(16) char shared[];
    char *space = shared;
    int X = s.a.t.width, Z = s.y.width, W = round16(X);
    T *a = take<T>(space, TILE, W), *c = take<T>(space, TILE, N);
    T *p = take<T>(space, TILE, TILE), *b = take<T>(space, TILE, W);
    int row = blockIdx.x * TILE, z = blockIdx.y * N, out = blockIdx.z;
    int number = row / s.c.block, start = number * s.c.block;
    int end = min(start + s.c.block, s.c.rows), pitch = tile_pitch<T>(W);
    int is_first = s.c.reverse ? end == s.c.rows : start == 0;
    auto one = [](int) { return 1.f; };
    sums<T, TILE, N> sum;
    sums<T, TILE, TILE> scores;

    sum.clear();
    for (int h = 0; h < s.c.heads; h++) {
        float slope = slope_of(s.c, h);

        if ((s.of_kv ? (s.c.first + h) / s.c.group - s.y.head_first : h) != out)
            continue;
        if (!(s.within && is_first)) {
            const float *state = s.state +
                ((int64_t)number * s.c.heads + h) * X * Z;

            read(a, TILE, W, s.c, s.a, h, row, end, 0, [&](int r) {
                return power(slope, s.c.reverse ? end - row - r
                                                : row + r - start);
            });
            for (int x = 0; x < X; x += TILE) {
                read_state<T, N>(c, state, s.turned, x, z, X, Z);
                __syncthreads();
                sum.nn(a + x, pitch, c, tile_pitch<T>(N), min(TILE, W - x));
                __syncthreads();
            }
        }
        if (!s.within)
            continue;
        read(a, TILE, W, s.c, s.a, h, row, end, 0, one);
        for (int j = s.c.reverse ? row : start;
             s.c.reverse ? j < end : j <= row; j += TILE) {
            read(b, TILE, W, s.c, s.b, h, j, end, 0, one);
            read(c, TILE, N, s.c, s.cc, h, j, end, z, one);
            __syncthreads();
            scores.clear();
            scores.nt(a, pitch, b, pitch, W);
            scores.each([&](int r, int k, float value) {
                int d = s.c.reverse ? j + k - row - r : row + r - j - k;

                p[r * tile_pitch<T>(TILE) + k] =
                    from_float<T>(d >= 0 ? value * power(slope, d) : 0);
            });
            __syncthreads();
            sum.nn(p, tile_pitch<T>(TILE), c, tile_pitch<T>(N), TILE);
            __syncthreads();
        }
    }
    sum.each([&](int r, int k, float value) {
        if (row + r >= end || z + k >= Z)
            return;
        if (s.has_post)
            value *= map_slope(s.post.feature, load(s.post.t, row + r, out,
                                                    z + k));
        store(s.y, row + r, out, z + k, value, s.store);
    });
}

/* ---- Launching -------------------------------------------------------------- */

static operand operand_of(struct tensor t, int feature, int of_kv)
{
    return { t, feature, of_kv, reads_four(&t) };
}

static chunk chunk_of(const struct linear_args *a, const struct tensor *heads,
                      int64_t n, int reverse)
{
    chunk c;
    float list[SLOPES_NEAR];
    float *local = heads->heads <= SLOPES_NEAR
        ? list : (float *)xmalloc((size_t)heads->heads * sizeof *local);

    c.rows = c.block = (int)n;
    c.heads = heads->heads;
    c.first = heads->head_first;
    c.group = (int)a->group;
    c.reverse = reverse;
    for (int h = 0; a->slopes && h < c.heads; h++)
        local[h] = (float)a->slopes[c.first + h];
    few_set(&c.decay, local, a->slopes ? c.heads : 0, CUDA_WORK_SLOPES);
    if (local != list)
        free(local);
    return c;
}

static int is_empty(const struct tensor *t)
{
    return !t->rows || !t->heads || !t->width;
}

/* Rows of a block: few, unless the states would fill the memory. */
static int block_of(const chunk *c, int64_t state)
{
    int64_t block = SHORTEST;

    while (ceil_div(c->rows, block) * c->heads * state * 4 > most_states)
        block *= 2;
    return (int)block;
}

/* The states of all blocks but for what comes before them; *total, unless NULL:
 * of all rows. Returns NULL if there is one block and no total. */
static float *scanned(chunk *c, operand x, operand y, float *total)
{
    int64_t width = (int64_t)x.t.width * y.t.width;

    c->block = block_of(c, width);
    int blocks = (int)ceil_div(c->rows, c->block);
    if (blocks <= 1 && !total)
        return NULL;
    float *state = (float *)cuda_workspace(
        CUDA_WORK_PARTIAL, (size_t)blocks * (size_t)c->heads * (size_t)width *
                           sizeof *state);
    block_states s = { *c, x, y, state };
    block_scan n = { *c, blocks, (int)width, state, total };

    by_type(x.t.dtype, [&](auto t) {
        typedef decltype(t) T;
        enum { N = sizeof(T) == 4 ? 64 : 128 };
        unsigned parts = (unsigned)(ceil_div(x.t.width, TILE) *
                                    ceil_div(y.t.width, N));
        states<T, N><<<dim3((unsigned)blocks, parts, (unsigned)c->heads),
                       BLOCK_THREADS,
                       tile_bytes<T>(TILE, TILE) + tile_bytes<T>(TILE, N),
                       cuda_stream_current()>>>(s);
    });
    launched("states of linear attention");
    scan<<<dim3((unsigned)ceil_div(width, SCAN_THREADS), (unsigned)c->heads),
           SCAN_THREADS, 0, cuda_stream_current()>>>(n);
    launched("scan of linear attention");
    return state;
}

static void launch_rows(const block_rows &s)
{
    if (is_empty(&s.y))
        return;
    by_type(s.a.t.dtype, [&](auto t) {
        typedef decltype(t) T;
        enum { N = sizeof(T) == 4 ? 64 : 128 };
        int W = round16(s.a.t.width);
        size_t bytes = tile_bytes<T>(TILE, W) + tile_bytes<T>(TILE, N) +
                       tile_bytes<T>(TILE, TILE) +
                       (s.within ? tile_bytes<T>(TILE, W) : 0);
        dim3 grid((unsigned)ceil_div(s.c.rows, TILE),
                  (unsigned)ceil_div(s.y.width, N), (unsigned)s.y.heads);

        allow_shared(rows<T, N>, bytes, "linear attention");
        rows<T, N><<<grid, BLOCK_THREADS, bytes, cuda_stream_current()>>>(s);
    });
    launched("linear attention");
}

/* ---- Entries ----------------------------------------------------------------- */

void cuda_state(const struct linear_args *a, int backward)
{
    struct tensor x = backward ? a->q : a->k, y = backward ? a->d_o : a->v;
    chunk c = chunk_of(a, &a->state, x.rows, backward);

    if (is_empty(&a->state))
        return;
    if (!x.rows) {
        cuda_sum(a->state, 1, NULL, 0);
        return;
    }
    scanned(&c, operand_of(x, a->feature, !backward),
            operand_of(y, FEATURE_MAP_IDENTITY, !backward),
            (float *)a->state.data);
}

void cuda_linear_intra(const struct linear_args *a)
{
    block_rows s = {};

    if (is_empty(&a->q))
        return;
    s.c = chunk_of(a, &a->q, a->q.rows, 0);
    s.a = operand_of(a->q, a->feature, 0);
    s.b = operand_of(a->k, a->feature, 1);
    s.cc = operand_of(a->v, FEATURE_MAP_IDENTITY, 1);
    s.within = 1;
    s.state = scanned(&s.c, s.b, s.cc, NULL);
    s.y = a->o;
    s.store = a->store_o;
    launch_rows(s);
}

/* dq: of the states of k (x) v. */
static void intra_dq(const struct linear_args *a)
{
    block_rows s = {};

    s.c = chunk_of(a, &a->q, a->q.rows, 0);
    s.a = operand_of(a->d_o, FEATURE_MAP_IDENTITY, 0);
    s.b = operand_of(a->v, FEATURE_MAP_IDENTITY, 1);
    s.cc = operand_of(a->k, a->feature, 1);
    s.within = 1;
    s.state = scanned(&s.c, s.cc, s.b, NULL);
    s.turned = 1;
    s.y = a->dq;
    s.store = a->store_dq;
    s.post = operand_of(a->q, a->feature, 0);
    s.has_post = a->feature != FEATURE_MAP_IDENTITY;
    launch_rows(s);
}

/* dk and dv: of the states of q (x) do, from the last row to the first. */
static void intra_dkv(const struct linear_args *a)
{
    block_rows s = {};
    operand q = operand_of(a->q, a->feature, 0);
    operand d_o = operand_of(a->d_o, FEATURE_MAP_IDENTITY, 0);
    operand k = operand_of(a->k, a->feature, 1);

    s.c = chunk_of(a, &a->q, a->q.rows, 1);
    s.state = scanned(&s.c, q, d_o, NULL);
    s.within = s.of_kv = 1;
    s.a = k, s.b = q, s.cc = d_o;
    s.y = a->dv;
    s.store = a->store_dv;
    launch_rows(s);
    s.a = operand_of(a->v, FEATURE_MAP_IDENTITY, 1), s.b = d_o, s.cc = q;
    s.turned = 1;
    s.y = a->dk;
    s.store = a->store_dk;
    s.post = k;
    s.has_post = a->feature != FEATURE_MAP_IDENTITY;
    launch_rows(s);
}

void cuda_linear_intra_backward(const struct linear_args *a)
{
    if (is_empty(&a->q))
        return;
    intra_dq(a);
    intra_dkv(a);
}

void cuda_linear_inter(const struct linear_args *a)
{
    block_rows s = {};

    if (is_empty(&a->q))
        return;
    s.c = chunk_of(a, &a->state, a->q.rows, 0);
    s.a = operand_of(a->q, a->feature, 0);
    s.state = (const float *)a->state.data;
    s.y = a->o;
    s.store = a->store_o;
    launch_rows(s);
}

void cuda_linear_inter_dq(const struct linear_args *a)
{
    block_rows s = {};

    if (is_empty(&a->q))
        return;
    s.c = chunk_of(a, &a->state, a->q.rows, 0);
    s.a = operand_of(a->d_o, FEATURE_MAP_IDENTITY, 0);
    s.state = (const float *)a->state.data;
    s.turned = 1;
    s.y = a->dq;
    s.store = a->store_dq;
    s.post = operand_of(a->q, a->feature, 0);
    s.has_post = a->feature != FEATURE_MAP_IDENTITY;
    launch_rows(s);
}

void cuda_linear_inter_dkv(const struct linear_args *a)
{
    block_rows s = {};

    if (is_empty(&a->k))
        return;
    s.c = chunk_of(a, &a->state, a->k.rows, 1);
    s.state = (const float *)a->state.data;
    s.of_kv = 1;
    s.a = operand_of(a->k, a->feature, 1);
    s.y = a->dv;
    s.store = a->store_dv;
    launch_rows(s);
    s.post = s.a;
    s.has_post = a->feature != FEATURE_MAP_IDENTITY;
    s.a = operand_of(a->v, FEATURE_MAP_IDENTITY, 1);
    s.turned = 1;
    s.y = a->dk;
    s.store = a->store_dk;
    launch_rows(s);
}

/* ---- Scan over chunks --------------------------------------------------------- */

struct scan_source {
    const float *data;
    int64_t span;
};

struct chunk_scan {
    struct tensor dst;
    int store;
    int64_t own_span;
    slopes decay;
    few<scan_source, SOURCES_NEAR> src;
};

static __global__ void __launch_bounds__(SCAN_THREADS) scan_chunks(
    const __grid_constant__ chunk_scan s)
{
    int64_t x = (int64_t)blockIdx.x * SCAN_THREADS + threadIdx.x;
    float *dst = (float *)s.dst.data;

    if (x >= (int64_t)s.dst.heads * s.dst.width)
        return;
    float slope = s.decay.n ? s.decay.at((int)(x / s.dst.width)) : 0;
    float sum = s.store ? 0 : dst[x] * expf(-slope * (float)s.own_span);
    for (int i = 0; i < s.src.n; i++) {
        scan_source from = s.src.at(i);
        sum += from.data[x] * expf(-slope * (float)from.span);
    }
    dst[x] = sum;
}

void cuda_state_scan(struct tensor dst, int store, const struct tensor *src,
                     int64_t n, const int64_t *spans, const double *decay)
{
    chunk_scan s = {};
    int64_t elements = (int64_t)dst.heads * dst.width;
    scan_source *list = (scan_source *)xmalloc((size_t)(n + 1) * sizeof *list);
    float *local = (float *)xmalloc((size_t)(dst.heads + 1) * sizeof *local);

    s.dst = dst;
    s.store = store;
    s.own_span = store ? 0 : *spans++;
    for (int64_t i = 0; i < n; i++)
        list[i] = { (const float *)src[i].data, spans[i] };
    for (int h = 0; decay && h < dst.heads; h++)
        local[h] = (float)decay[dst.head_first + h];
    few_set(&s.src, list, n);
    few_set(&s.decay, local, decay ? dst.heads : 0, CUDA_WORK_SLOPES);
    free(list);
    free(local);
    if (!elements)
        return;
    scan_chunks<<<(unsigned)ceil_div(elements, SCAN_THREADS), SCAN_THREADS, 0,
                  cuda_stream_current()>>>(s);
    launched("state_scan");
}
