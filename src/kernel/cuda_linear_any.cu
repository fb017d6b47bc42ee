/* SPDX-License-Identifier: Apache-2.0
 *
 * The cuda backend: linear attention of any dtype, sizes, heads and feature maps
 * on any device, all blocks of rows at once (Lightning Attention-2,
 * arXiv:2401.04658, algorithm 1). */
#include <config.h>

#include "kernel/cuda_block.cuh"
#include "kernel/cuda_linear.cuh"

enum {
    TILE = 64,                  /* rows of a product */
    SHORTEST = 256              /* rows of a block of them, or twice that, ... */
};
static const int64_t most_states = 256 << 20;   /* bytes, if a block can grow */

/* ---- Tiles --------------------------------------------------------------- */

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

/* ---- States of blocks ---------------------------------------------------- */

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

/* ---- Rows ---------------------------------------------------------------- */

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

/* ---- Launching ----------------------------------------------------------- */

/* Rows of a block: few, unless the states would fill the memory. */
int linear_any_block(const chunk &c, int64_t state)
{
    int64_t block = SHORTEST;

    while (ceil_div(c.rows, block) * c.heads * state * 4 > most_states)
        block *= 2;
    return (int)block;
}

void linear_any_states(const block_states &s)
{
    by_type(s.x.t.dtype, [&](auto t) {
        typedef decltype(t) T;
        enum { N = sizeof(T) == 4 ? 64 : 128 };
        unsigned parts = (unsigned)(ceil_div(s.x.t.width, TILE) *
                                    ceil_div(s.y.t.width, N));
        unsigned blocks = (unsigned)ceil_div(s.c.rows, s.c.block);

        states<T, N><<<dim3(blocks, parts, (unsigned)s.c.heads), BLOCK_THREADS,
                       tile_bytes<T>(TILE, TILE) + tile_bytes<T>(TILE, N),
                       cuda_stream_current()>>>(s);
    });
    launched("states of linear attention");
}

void linear_any_rows(const block_rows &s)
{
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
