/* SPDX-License-Identifier: Apache-2.0
 *
 * The cuda backend: merges and sums of tensors of equal shape. */
#include <config.h>

#include <stdlib.h>

#include "kernel/cuda_kernels.h"
#include "kernel/cuda_rows.cuh"

enum { THREADS = ROW_THREADS, SOURCES = 8 };

/* ---- Merge and sum ------------------------------------------------------- */

struct source {
    const void *data;
    int64_t row_stride;
    const float *lse;
    int64_t lse_stride;
    enum dtype dtype;
};

struct joint {
    struct tensor dst, lse;     /* lse: merge only */
    int store, n, merge;
    unsigned groups;            /* a row has, of V elements */
    unsigned threads;           /* of a block: whole heads */
    int64_t first;              /* row of the launch's first */
    struct source src[SOURCES];
    int n_more;                 /* of a sum, in device memory */
    const struct source *more;
};

/* V elements of dst from N >= n sources of type T; void: of any. */
template <class T, int N, int V> struct reader {
    raw<T, V> r[N];
    __device__ __forceinline__ void read(const joint &j, int64_t row, int x)
    {
#pragma unroll
        for (int i = 0; i < N; i++)
            if (i < j.n)
                r[i].read((const T *)j.src[i].data +
                          row * j.src[i].row_stride + x);
    }
    __device__ __forceinline__ void add(const joint &, int64_t, int, int i,
                                        float weight, float *sum) const
    {
#pragma unroll
        for (int v = 0; v < V; v++)
            sum[v] = weight != 0 ? fmaf(weight, r[i].get(v), sum[v]) : sum[v];
    }
};

template <int N, int V> struct reader<void, N, V> {
    __device__ __forceinline__ void read(const joint &, int64_t, int) { }
    __device__ __forceinline__ void add(const joint &j, int64_t row, int x,
                                        int i, float weight, float *sum) const
    {
        add_any<V>(j.src[i].dtype, j.src[i].data,
                   row * j.src[i].row_stride + x, weight, sum);
    }
};

/* Weights of the sources, and of dst itself; returns the new lse. */
template <int N>
static __device__ __forceinline__ float weigh(const joint &j, int64_t row,
                                              int head, float *weight,
                                              float *own)
{
    float lse[N], most = -INFINITY, total = 0;
    float old = j.store ? -INFINITY
                : ((const float *)j.lse.data)[row * j.lse.row_stride + head];

#pragma unroll
    for (int i = 0; i < N; i++)
        lse[i] = i < j.n ? j.src[i].lse[row * j.src[i].lse_stride + head]
                         : -INFINITY;
#pragma unroll
    for (int i = 0; i < N; i++)
        most = fmaxf(most, lse[i]);
    most = fmaxf(most, old);
    *own = old == -INFINITY ? 0 : expf(old - most);
    total = *own;
#pragma unroll
    for (int i = 0; i < N; i++) {
        weight[i] = lse[i] == -INFINITY ? 0 : expf(lse[i] - most);
        total += weight[i];
    }
    float inverse = total > 0 ? 1 / total : 0;
    *own *= inverse;
#pragma unroll
    for (int i = 0; i < N; i++)
        weight[i] *= inverse;
    return total > 0 ? most + logf(total) : -INFINITY;
}

/* A block has whole heads, so that all of a head's lse is read before it is
 * written, where the result is merged into itself. */
template <class T, int N, int V>
static __global__ void __launch_bounds__(THREADS) join(
    const __grid_constant__ joint j)
{
    unsigned t = blockIdx.x * j.threads + threadIdx.x;
    int64_t row = j.first + t / j.groups;
    int x = (int)(t % j.groups) * V, head = x / j.dst.width;
    int mine = threadIdx.x < j.threads && row < j.dst.rows;
    float weight[N], own = 1, sum[V] = {}, lse = 0;
    reader<T, N, V> r;

    if (mine) {
        r.read(j, row, x);
        if (j.merge)
            lse = weigh<N>(j, row, head, weight, &own);
        if (!j.store)
            add_any<V>(j.dst.dtype, j.dst.data, row * j.dst.row_stride + x,
                       own, sum);
#pragma unroll
        for (int i = 0; i < N; i++)
            if (i < j.n)
                r.add(j, row, x, i, j.merge ? weight[i] : 1, sum);
        for (int i = 0; i < j.n_more; i++)
            add_any<V>(j.more[i].dtype, j.more[i].data,
                       row * j.more[i].row_stride + x, 1, sum);
        write_any<V>(j.dst.dtype, j.dst.data, row * j.dst.row_stride + x, sum);
    }
    if (!j.merge)
        return;
    if (!j.store)
        __syncthreads();
    if (mine && x == head * j.dst.width)
        ((float *)j.lse.data)[row * j.lse.row_stride + head] = lse;
}

template <class T, int V> static void join_sources(const joint &j, unsigned n)
{
    cudaStream_t stream = cuda_stream_current();

    if (j.n <= 1)
        join<T, 1, V><<<n, THREADS, 0, stream>>>(j);
    else if (j.n <= 2)
        join<T, 2, V><<<n, THREADS, 0, stream>>>(j);
    else if (j.n <= 4)
        join<T, 4, V><<<n, THREADS, 0, stream>>>(j);
    else
        join<T, SOURCES, V><<<n, THREADS, 0, stream>>>(j);
    launched("merge or sum");
}

template <int V> static void join_types(const joint &j, unsigned n)
{
    int same = 1;

    for (int i = 1; i < j.n; i++)
        same &= j.src[i].dtype == j.src[0].dtype;
    if (!same || !j.n)
        join_sources<void, V>(j, n);
    else
        by_type(j.src[0].dtype, [&](auto t) {
            join_sources<decltype(t), V>(j, n);
        });
}

static void join_rows(joint j, int V)
{
    int64_t head = j.merge ? j.dst.width / V : 1, rows = j.dst.rows;

    if (head > THREADS)
        die("cuda: merge of heads of %d elements, at most %d", j.dst.width,
            THREADS);
    j.groups = (unsigned)((int64_t)j.dst.heads * j.dst.width / V);
    j.threads = (unsigned)(THREADS / head * head);
    by_launch(rows, j.groups, [&](int64_t first, int64_t count) {
        unsigned n = (unsigned)ceil_div(count * j.groups, j.threads);

        j.first = first;
        j.dst.rows = first + count;
        V == 1 ? join_types<1>(j, n) : join_types<8>(j, n);
    });
}

static source source_of(const struct tensor *t, const struct tensor *lse)
{
    return { t->data, t->row_stride, lse ? (const float *)lse->data : NULL,
             lse ? lse->row_stride : 0, t->dtype };
}

/* Sources after the first SOURCES. */
static void set_more(joint *j, const struct tensor *src, int64_t n)
{
    size_t bytes = (size_t)n * sizeof(source);
    source *list = (source *)xmalloc(bytes);
    void *to = cuda_workspace(CUDA_WORK_LIST, bytes);

    for (int64_t i = 0; i < n; i++)
        list[i] = source_of(&src[i], NULL);
    must(cudaMemcpyAsync(to, list, bytes, cudaMemcpyHostToDevice,
                         cuda_stream_current()), "sources of a sum");
    free(list);
    j->more = (const source *)to;
    j->n_more = (int)n;
}

static void join_all(joint *j, const struct tensor *src,
                     const struct tensor *lse, int64_t n)
{
    int aligned = j->dst.width % 8 == 0 && is_aligned(&j->dst, 16);

    if (!j->dst.rows || !j->dst.heads)
        return;
    j->n = (int)min64(n, SOURCES);
    for (int i = 0; i < j->n; i++)
        j->src[i] = source_of(&src[i], lse ? &lse[i] : NULL);
    for (int64_t i = 0; i < n; i++)
        aligned &= is_aligned(&src[i], 16);
    if (n > SOURCES)
        set_more(j, src + SOURCES, n - SOURCES);
    join_rows(*j, aligned ? 8 : 1);
}

void cuda_merge(struct tensor o, struct tensor lse, int store,
                const struct tensor *po, const struct tensor *plse, int64_t n)
{
    struct joint j = {};

    j.dst = o;
    j.lse = lse;
    j.store = store;
    j.merge = 1;
    join_all(&j, po, plse, n);
}

void cuda_sum(struct tensor dst, int store, const struct tensor *src,
              int64_t n)
{
    struct joint j = {};

    j.dst = dst;
    j.store = store;
    join_all(&j, src, NULL, n);
}
