/* SPDX-License-Identifier: Apache-2.0
 *
 * The cuda backend: scans over the states of linear attention, of the blocks of
 * a chunk and of chunks. */
#include <config.h>

#include "kernel/cuda_kernels.h"
#include "kernel/cuda_linear.cuh"

/* ---- Blocks -------------------------------------------------------------- */

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

void linear_scan(const block_scan &s)
{
    dim3 grid((unsigned)ceil_div(s.width, SCAN_THREADS), (unsigned)s.c.heads);

    scan<<<grid, SCAN_THREADS, 0, cuda_stream_current()>>>(s);
    launched("scan of linear attention");
}

/* ---- Chunks -------------------------------------------------------------- */

enum { SOURCES_NEAR = 64 };

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
