/* SPDX-License-Identifier: Apache-2.0
 *
 * Products of tiles in shared memory by a block of 256 threads, sums in
 * registers: by tensor cores if the tiles are of 16 bits, else by fp32 FMA.
 *
 * A tile of w columns has rows of tile_pitch<T>(w) elements: no bank conflicts,
 * rows begin at 16 bytes.
 * All sizes are multiples of 16; tiles are filled up with zeros. */
#ifndef SPAR_CUDA_BLOCK_CUH
#define SPAR_CUDA_BLOCK_CUH

#include "kernel/cuda_mma.cuh"

enum { BLOCK_THREADS = 256 };

template <class T>
static __host__ __device__ constexpr int tile_pitch(int width)
{
    return width + 16 / (int)sizeof(T);
}

template <class T>
static __host__ __device__ constexpr size_t tile_bytes(int rows, int width)
{
    return ((size_t)rows * tile_pitch<T>(width) * sizeof(T) + 15) / 16 * 16;
}

static __host__ __device__ constexpr int round16(int n)
{
    return (n + 15) / 16 * 16;
}

/* The next tile of the block's dynamic shared memory. */
template <class T>
static __device__ __forceinline__ T *take(char *&space, int rows, int width)
{
    T *tile = (T *)space;

    space += tile_bytes<T>(rows, width);
    return tile;
}

/* ---- Sums ----------------------------------------------------------------- */

/* [M, N] sums, spread over the block's threads.  QUADS: a thread of 32 bits has
 * columns in fours, which is faster but where both operands of a product have
 * the inner dimension in their rows (nt). */
template <class T, int M, int N, bool QUADS = false> struct sums;

/* Threads 16 x 16, each every 16th row and column (or four columns). Operands
 * are read four at a time along their rows; the inner dimension is filled up to
 * a multiple of four. */
template <int M, int N, bool QUADS> struct sums<float, M, N, QUADS> {
    enum { ROWS = M / 16, COLUMNS = N / 16 };
    static_assert(!QUADS || COLUMNS % 4 == 0, "columns in fours");
    float x[ROWS][COLUMNS];

    static __device__ __forceinline__ int row(int i)
    {
        return (int)threadIdx.x / 16 + 16 * i;
    }
    static __device__ __forceinline__ int column(int j)
    {
        int t = (int)threadIdx.x % 16;

        return QUADS ? 4 * t + 64 * (j / 4) + j % 4 : t + 16 * j;
    }
    __device__ __forceinline__ void clear()
    {
#pragma unroll
        for (int i = 0; i < ROWS; i++)
#pragma unroll
            for (int j = 0; j < COLUMNS; j++)
                x[i][j] = 0;
    }
    /* The thread's columns of a row of the right operand. */
    static __device__ __forceinline__ void read(float v[COLUMNS],
                                                const float *b)
    {
#pragma unroll
        for (int j = 0; j < COLUMNS; j += QUADS ? 4 : 1)
            if (QUADS)
                *(float4 *)(v + j) = *(const float4 *)(b + column(j));
            else
                v[j] = b[column(j)];
    }
    __device__ __forceinline__ void add(const float u[ROWS],
                                        const float v[COLUMNS])
    {
#pragma unroll
        for (int i = 0; i < ROWS; i++)
#pragma unroll
            for (int j = 0; j < COLUMNS; j++)
                x[i][j] = fmaf(u[i], v[j], x[i][j]);
    }
    /* += a bT: a [M, K], b [N, K] */
    __device__ __forceinline__ void nt(const float *a, int pa, const float *b,
                                       int pb, int K)
    {
#pragma unroll 2
        for (int k = 0; k < K; k += 4) {
            alignas(16) float u[ROWS][4], v[COLUMNS][4];

#pragma unroll
            for (int i = 0; i < ROWS; i++)
                *(float4 *)u[i] = *(const float4 *)(a + row(i) * pa + k);
#pragma unroll
            for (int j = 0; j < COLUMNS; j++)
                *(float4 *)v[j] = *(const float4 *)(b + column(j) * pb + k);
#pragma unroll
            for (int c = 0; c < 4; c++)
#pragma unroll
                for (int i = 0; i < ROWS; i++)
#pragma unroll
                    for (int j = 0; j < COLUMNS; j++)
                        x[i][j] = fmaf(u[i][c], v[j][c], x[i][j]);
        }
    }
    /* += a b: a [M, K], b [K, N] */
    __device__ __forceinline__ void nn(const float *a, int pa, const float *b,
                                       int pb, int K)
    {
#pragma unroll 2
        for (int k = 0; k < K; k += 4) {
            alignas(16) float u[ROWS][4];

#pragma unroll
            for (int i = 0; i < ROWS; i++)
                *(float4 *)u[i] = *(const float4 *)(a + row(i) * pa + k);
#pragma unroll
            for (int c = 0; c < 4; c++) {
                alignas(16) float v[COLUMNS];
                float w[ROWS];

#pragma unroll
                for (int i = 0; i < ROWS; i++)
                    w[i] = u[i][c];
                read(v, b + (k + c) * pb);
                add(w, v);
            }
        }
    }
    /* += aT b: a [K, M], b [K, N] */
    __device__ __forceinline__ void tn(const float *a, int pa, const float *b,
                                       int pb, int K)
    {
#pragma unroll 4
        for (int k = 0; k < K; k++) {
            alignas(16) float v[COLUMNS];
            float u[ROWS];

#pragma unroll
            for (int i = 0; i < ROWS; i++)
                u[i] = a[k * pa + row(i)];
            read(v, b + k * pb);
            add(u, v);
        }
    }
    /* f(row, column, sum) */
    template <class F> __device__ __forceinline__ void each(F f)
    {
#pragma unroll
        for (int i = 0; i < ROWS; i++)
#pragma unroll
            for (int j = 0; j < COLUMNS; j++)
                f(row(i), column(j), x[i][j]);
    }
};

/* Eight warps, M / 16 of them below each other. */
template <class T, int M, int N, bool QUADS> struct sums {
    enum { DOWN = M / 16, ACROSS = 8 / DOWN, WIDTH = N / ACROSS };
    static_assert(DOWN * ACROSS == 8 && WIDTH % 16 == 0, "tile of a warp");
    float x[WIDTH / 8][4];

    __device__ __forceinline__ void clear()
    {
#pragma unroll
        for (int j = 0; j < WIDTH / 8; j++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                x[j][i] = 0;
    }
    __device__ __forceinline__ int row() const
    {
        return (int)threadIdx.x / 32 % DOWN * 16;
    }
    __device__ __forceinline__ int column() const
    {
        return (int)threadIdx.x / 32 / DOWN * WIDTH;
    }
    /* One step over 16 of the inner dimension: lane's addresses in a and b. */
    template <bool A_TURNED, bool B_TURNED>
    __device__ __forceinline__ void multiply(const T *a, int pa, const T *b,
                                             int pb, int K)
    {
        int lane = threadIdx.x % 32, low = lane % 8 + lane / 16 * 8;
        int other = lane / 8 % 2 * 8;
        uint32_t from_a = shared_address(A_TURNED
            ? a + low * pa + row() + other
            : a + (row() + lane % 16) * pa + lane / 16 * 8);
        uint32_t from_b = shared_address(B_TURNED
            ? b + (other + lane % 8) * pb + column() + lane / 16 * 8
            : b + (column() + low) * pb + other);
        int step_a = 32 * (A_TURNED ? pa : 1), step_b = 32 * (B_TURNED ? pb : 1);

        for (int k = 0; k < K; k += 16, from_a += step_a, from_b += step_b) {
            uint32_t u[4], v[4];

            A_TURNED ? ldmatrix_turned(u, from_a) : ldmatrix(u, from_a);
#pragma unroll
            for (int j = 0; j < WIDTH / 16; j++) {
                uint32_t at = from_b + j * 32 * (B_TURNED ? 1 : pb);

                B_TURNED ? ldmatrix_turned(v, at) : ldmatrix(v, at);
                mma(x[2 * j], u, v[0], v[1], T());
                mma(x[2 * j + 1], u, v[2], v[3], T());
            }
        }
    }
    __device__ __forceinline__ void nt(const T *a, int pa, const T *b, int pb,
                                       int K)
    {
        multiply<false, false>(a, pa, b, pb, K);
    }
    __device__ __forceinline__ void nn(const T *a, int pa, const T *b, int pb,
                                       int K)
    {
        multiply<false, true>(a, pa, b, pb, K);
    }
    __device__ __forceinline__ void tn(const T *a, int pa, const T *b, int pb,
                                       int K)
    {
        multiply<true, true>(a, pa, b, pb, K);
    }
    template <class F> __device__ __forceinline__ void each(F f)
    {
        int lane = threadIdx.x % 32;

#pragma unroll
        for (int j = 0; j < WIDTH / 8; j++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                f(row() + lane / 4 + i / 2 * 8,
                  column() + j * 8 + lane % 4 * 2 + i % 2, x[j][i]);
    }
};

/* ---- Filling tiles --------------------------------------------------------- */

/* Four elements of a (row, head) from x on; those beyond `width` are 0.
 * `aligned`: four can be read at once. */
static __device__ __forceinline__ void load_four(const tensor &t, int64_t row,
                                                 int head, int x, int width,
                                                 int aligned, float *out)
{
    int64_t at = place(t, row, head, x);

    if (aligned && x + 4 <= width && t.dtype == DTYPE_FP32) {
        float4 v = *(const float4 *)((const float *)t.data + at);
        out[0] = v.x, out[1] = v.y, out[2] = v.z, out[3] = v.w;
    } else if (aligned && x + 4 <= width) {
        alignas(8) uint16_t h[4];
        *(uint2 *)h = *(const uint2 *)((const uint16_t *)t.data + at);
#pragma unroll
        for (int i = 0; i < 4; i++)
            out[i] = load(t.dtype, h, i);
    } else {
#pragma unroll
        for (int i = 0; i < 4; i++)
            out[i] = x + i < width ? load(t.dtype, t.data, at + i) : 0;
    }
}

/* tile [rows, columns] = f(row of the tile, element) of rows first + .. of t
 * from column x on; 0 from row `end` of t and from the head's width on. */
template <class T, class F>
static __device__ __forceinline__ void fill(T *tile, int rows, int columns,
                                            const tensor &t, int head,
                                            int64_t first, int64_t end, int x,
                                            int aligned, F f)
{
    int fours = columns / 4, pitch = tile_pitch<T>(columns);

    for (int i = threadIdx.x; i < rows * fours; i += BLOCK_THREADS) {
        int r = i / fours, c = i % fours * 4;
        float v[4] = {};

        if (first + r < end && x + c < t.width) {
            load_four(t, first + r, head, x + c, t.width, aligned, v);
#pragma unroll
            for (int j = 0; j < 4; j++)
                v[j] = x + c + j < t.width ? f(r, v[j]) : 0;
        }
#pragma unroll
        for (int j = 0; j < 4; j++)
            tile[r * pitch + c + j] = from_float<T>(v[j]);
    }
}

template <class T>
static __device__ __forceinline__ void fill(T *tile, int rows, int columns,
                                            const tensor &t, int head,
                                            int64_t first, int64_t end, int x,
                                            int aligned)
{
    fill(tile, rows, columns, t, head, first, end, x, aligned,
         [](int, float v) { return v; });
}

/* Four elements at once: 16 bytes of fp32, 8 of 16 bits. */
static inline int reads_four(const struct tensor *t)
{
    return is_aligned(t, t->dtype == DTYPE_FP32 ? 16 : 8);
}

#endif
