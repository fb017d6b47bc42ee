/* SPDX-License-Identifier: Apache-2.0
 *
 * Tiles of 16-bit rows in shared memory and products of a warp's 16 rows with
 * them, sums in registers.
 *
 * A tile of W columns, W a multiple of 64, has rows of 2 W bytes whose pieces of
 * 16 bytes are exchanged within groups of eight, so that eight rows of a column
 * of pieces lie in different banks. */
#ifndef SPAR_CUDA_WARP_CUH
#define SPAR_CUDA_WARP_CUH

#include "kernel/cuda_attend.cuh"
#include "kernel/cuda_mma.cuh"

template <int W>
static __device__ __forceinline__ uint32_t piece(uint32_t tile, int row, int c)
{
    return tile + row * (2 * W) + ((c ^ (row & 7)) << 4);
}

/* Row r of the tile is what starts at element where(r) of `data`, 0 if that is
 * negative; `width` elements, the rest 0.  Thread `thread` of THREADS. */
template <class T, int W, int ROWS, int THREADS, class F>
static __device__ __forceinline__ void load_rows(uint32_t tile,
                                                 const void *data, int width,
                                                 int aligned, F where,
                                                 int thread = threadIdx.x)
{
    enum { PIECES = W / 8 };

    for (int i = thread; i < ROWS * PIECES; i += THREADS) {
        int r = i / PIECES, c = i % PIECES;
        int64_t at = where(r);
        int inside = at >= 0 && c * 8 < width;
        const T *from = (const T *)data + (inside ? at + c * 8 : 0);
        uint32_t to = piece<W>(tile, r, c);

        if (aligned) {
            copy_async(to, from, inside ? 16 : 0);
            continue;
        }
        alignas(16) T x[8];
#pragma unroll
        for (int j = 0; j < 8; j++)
            x[j] = inside && c * 8 + j < width ? from[j] : from_float<T>(0);
        const uint32_t *w = (const uint32_t *)x;
        asm volatile("st.shared.v4.b32 [%0], {%1,%2,%3,%4};" :: "r"(to),
                     "r"(w[0]), "r"(w[1]), "r"(w[2]), "r"(w[3]) : "memory");
    }
}

/* Rows first .. end of one head. */
template <class T, int W, int ROWS, int THREADS>
static __device__ __forceinline__ void load_head(uint32_t tile, const tensor &t,
                                                 int head, int first, int end,
                                                 int aligned,
                                                 int thread = threadIdx.x)
{
    load_rows<T, W, ROWS, THREADS>(tile, t.data, t.width, aligned, [&](int r) {
        return first + r < end ? place(t, first + r, head, 0) : -1;
    }, thread);
}

/* Left operand: rows `row` .. row + 16 of a tile, columns 16 k on. */
template <int W>
static __device__ __forceinline__ void left(uint32_t a[4], uint32_t tile,
                                            int row, int k)
{
    int lane = threadIdx.x % 32;

    ldmatrix(a, piece<W>(tile, row + lane % 16, 2 * k + lane / 16));
}

/* s [16, N] += a bT over columns 16 k of a tile of N rows. */
template <class T, int W, int N>
static __device__ __forceinline__ void times_rows(float s[][4],
                                                  const uint32_t a[4],
                                                  uint32_t tile, int k)
{
    int lane = threadIdx.x % 32;

#pragma unroll
    for (int j = 0; j < N / 16; j++) {
        uint32_t b[4];

        ldmatrix(b, piece<W>(tile, j * 16 + lane / 16 * 8 + lane % 8,
                             2 * k + lane / 8 % 2));
        mma(s[2 * j], a, b[0], b[1], T());
        mma(s[2 * j + 1], a, b[2], b[3], T());
    }
}

/* s [16, W] += a b over rows 16 k of a tile. */
template <class T, int W>
static __device__ __forceinline__ void times_columns(float s[][4],
                                                     const uint32_t a[4],
                                                     uint32_t tile, int k)
{
    int lane = threadIdx.x % 32;

#pragma unroll
    for (int j = 0; j < W / 16; j++) {
        uint32_t b[4];

        ldmatrix_turned(b, piece<W>(tile, 16 * k + lane / 8 % 2 * 8 + lane % 8,
                                    2 * j + lane / 16));
        mma(s[2 * j], a, b[0], b[1], T());
        mma(s[2 * j + 1], a, b[2], b[3], T());
    }
}

/* Left operand of columns 16 k of sums. */
template <class T>
static __device__ __forceinline__ void left_of(uint32_t a[4], float s[][4],
                                               int k)
{
    a[0] = pack(s[2 * k][0], s[2 * k][1], T());
    a[1] = pack(s[2 * k][2], s[2 * k][3], T());
    a[2] = pack(s[2 * k + 1][0], s[2 * k + 1][1], T());
    a[3] = pack(s[2 * k + 1][2], s[2 * k + 1][3], T());
}

template <int N> static __device__ __forceinline__ void clear(float s[][4])
{
#pragma unroll
    for (int j = 0; j < N / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            s[j][i] = 0;
}

/* f(which of the lane's two rows, column, sum) */
template <int N, class F>
static __device__ __forceinline__ void each(float s[][4], F f)
{
    int t = threadIdx.x % 4;

#pragma unroll
    for (int j = 0; j < N / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            f(i / 2, j * 8 + t * 2 + i % 2, s[j][i]);
}

/* ---- The online softmax ------------------------------------------------------ */

/* Of a lane's two rows: the largest score (not scaled) and the sum of the
 * lane's weights relative to it. */
struct running {
    float most[2], total[2];
};

static __device__ __forceinline__ float over_quad(float x, bool sum)
{
#pragma unroll
    for (int step = 1; step < 4; step *= 2) {
        float other = __shfl_xor_sync(~0u, x, step);
        x = sum ? x + other : fmaxf(x, other);
    }
    return x;
}

/* Scores [16, N] become weights; factor[] is what earlier sums are times now.
 * scale: of scores, times log2(e). */
template <int N>
static __device__ __forceinline__ void softmax(float s[][4], running &run,
                                               float scale, float factor[2])
{
    float base[2];

#pragma unroll
    for (int i = 0; i < 2; i++) {
        float top = run.most[i];

#pragma unroll
        for (int j = 0; j < N / 8; j++)
            top = fmaxf(top, fmaxf(s[j][2 * i], s[j][2 * i + 1]));
        top = over_quad(top, false);
        base[i] = top == -INFINITY ? 0 : top * scale;
        factor[i] = power2(fmaf(run.most[i], scale, -base[i]));
        run.most[i] = top;
        run.total[i] *= factor[i];
    }
#pragma unroll
    for (int j = 0; j < N / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            s[j][i] = power2(fmaf(s[j][i], scale, -base[i / 2]));
            run.total[i / 2] += s[j][i];
        }
}

template <int N>
static __device__ __forceinline__ void multiply(float s[][4],
                                                const float factor[2])
{
#pragma unroll
    for (int j = 0; j < N / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            s[j][i] *= factor[i / 2];
}

/* ---- Results ------------------------------------------------------------------ */

/* One of the lane's rows of o and its lse; merged into what is there unless
 * a.store.  All lanes of a warp come here, `mine` or not. */
template <int E>
static __device__ __forceinline__ void finish_row(const attention &a,
                                                  float s[][4], int i,
                                                  const running &run,
                                                  int64_t row, int head,
                                                  int mine)
{
    float total = over_quad(run.total[i], true);
    float lse = total > 0 ? run.most[i] * a.scale + logf(total) : -INFINITY;
    float old = mine && !a.store ? load(a.lse, row, head, 0) : -INFINITY;
    joined both = { 0, 1, lse };
    int t = threadIdx.x % 4;

    __syncwarp();
    if (!mine || (!a.store && lse == -INFINITY))
        return;
    if (old != -INFINITY)
        both = join(old, lse);
    both.add *= total > 0 ? 1 / total : 0;
#pragma unroll
    for (int j = 0; j < E / 8; j++) {
        int x = j * 8 + t * 2;
        float u = s[j][2 * i] * both.add, v = s[j][2 * i + 1] * both.add;

        if (both.keep != 0) {
            u += x < a.o.width ? both.keep * load(a.o, row, head, x) : 0;
            v += x + 1 < a.o.width ? both.keep * load(a.o, row, head, x + 1)
                                   : 0;
        }
        write_two(a.o, row, head, x, u, v, 1);
    }
    if (t == 0)
        store(a.lse, row, head, 0, both.lse, 1);
}

/* 16 rows of t (+)= sums * scale */
template <int W>
static __device__ __forceinline__ void write_rows(const tensor &t,
                                                  float s[][4], int64_t first,
                                                  int head, float scale,
                                                  int overwrite)
{
    int lane = threadIdx.x % 32;

#pragma unroll
    for (int i = 0; i < 2; i++) {
        int64_t row = first + lane / 4 + 8 * i;

        if (row >= t.rows)
            continue;
#pragma unroll
        for (int j = 0; j < W / 8; j++)
            write_two(t, row, head, j * 8 + lane % 4 * 2, s[j][2 * i] * scale,
                      s[j][2 * i + 1] * scale, overwrite);
    }
}

#endif
