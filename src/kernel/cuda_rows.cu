/* SPDX-License-Identifier: Apache-2.0
 *
 * The cuda backend: merges and sums of tensors of equal shape, row sums, the
 * parts of a merge.  All are bound by memory: elements are read and written
 * once, 16 bytes at a time where the tensors allow it. */
#include <config.h>

#include "kernel/cuda_common.cuh"
#include "kernel/cuda_kernels.h"

enum { THREADS = 256, SOURCES = 8, LANES = 16 };

static unsigned blocks_of(int64_t threads)
{
    return (unsigned)ceil_div(threads, THREADS);
}

static __device__ __forceinline__ int64_t thread_number(void)
{
    return (int64_t)blockIdx.x * THREADS + threadIdx.x;
}

/* ---- Groups of elements -------------------------------------------------- */

/* V elements as they lie in memory. */
template <class T, int V> struct raw {
    enum { WORDS = V * sizeof(T) / 16 };
    uint4 w[WORDS];
    __device__ __forceinline__ void read(const T *p)
    {
#pragma unroll
        for (int i = 0; i < WORDS; i++)
            w[i] = ((const uint4 *)p)[i];
    }
    __device__ __forceinline__ float get(int i) const
    {
        return to_float(((const T *)w)[i]);
    }
};

template <class T> struct raw<T, 1> {
    T x;
    __device__ __forceinline__ void read(const T *p) { x = *p; }
    __device__ __forceinline__ float get(int) const { return to_float(x); }
};

template <class T, int V>
static __device__ __forceinline__ void add_group(const void *data, int64_t at,
                                                 float weight, float *x)
{
    raw<T, V> r;

    r.read((const T *)data + at);
#pragma unroll
    for (int i = 0; i < V; i++)
        x[i] = weight != 0 ? fmaf(weight, r.get(i), x[i]) : x[i];
}

template <int V>
static __device__ __forceinline__ void add_any(enum dtype t, const void *data,
                                               int64_t at, float weight,
                                               float *x)
{
    if (t == DTYPE_FP32)
        add_group<float, V>(data, at, weight, x);
    else if (t == DTYPE_BF16)
        add_group<bf16, V>(data, at, weight, x);
    else
        add_group<fp16, V>(data, at, weight, x);
}

template <class T, int V>
static __device__ __forceinline__ void write_group(void *data, int64_t at,
                                                   const float *x)
{
    alignas(16) T y[V];

#pragma unroll
    for (int i = 0; i < V; i++)
        y[i] = from_float<T>(x[i]);
    if (V == 1)
        ((T *)data)[at] = y[0];
    else
#pragma unroll
        for (int i = 0; i < (int)(V * sizeof(T) / 16); i++)
            ((uint4 *)((T *)data + at))[i] = ((const uint4 *)y)[i];
}

template <int V>
static __device__ __forceinline__ void write_any(enum dtype t, void *data,
                                                 int64_t at, const float *x)
{
    if (t == DTYPE_FP32)
        write_group<float, V>(data, at, x);
    else if (t == DTYPE_BF16)
        write_group<bf16, V>(data, at, x);
    else
        write_group<fp16, V>(data, at, x);
}

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
    struct source src[SOURCES];
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
 * written. */
template <class T, int N, int V>
static __global__ void __launch_bounds__(THREADS) join(
    const __grid_constant__ joint j)
{
    unsigned t = blockIdx.x * j.threads + threadIdx.x, row = t / j.groups;
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
        write_any<V>(j.dst.dtype, j.dst.data, row * j.dst.row_stride + x, sum);
    }
    if (!j.merge)
        return;
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

/* Rows of a launch: their groups are numbered in 32 bits. */
static void join_rows(joint j, int V)
{
    int64_t rows = j.dst.rows, most, size = (int64_t)dtype_size(j.dst.dtype);
    int64_t head = j.merge ? j.dst.width / V : 1;

    if (head > THREADS)
        die("cuda: merge of heads of %d elements, at most %d", j.dst.width,
            THREADS);
    j.groups = (unsigned)((int64_t)j.dst.heads * j.dst.width / V);
    j.threads = (unsigned)(THREADS / head * head);
    most = UINT32_MAX / 2 / j.groups;
    for (int64_t first = 0; first < rows; first += most) {
        j.dst.rows = min64(most, rows - first);
        unsigned n = (unsigned)ceil_div(j.dst.rows * j.groups, j.threads);

        V == 1 ? join_types<1>(j, n) : join_types<8>(j, n);
        j.dst.data = (char *)j.dst.data + most * j.dst.row_stride * size;
        j.lse.data = (float *)j.lse.data + most * j.lse.row_stride;
        for (int i = 0; i < j.n; i++) {
            j.src[i].data = (const char *)j.src[i].data + most *
                j.src[i].row_stride * (int64_t)dtype_size(j.src[i].dtype);
            j.src[i].lse += most * j.src[i].lse_stride;
        }
    }
}

static void join_all(joint *j, const struct tensor *src,
                     const struct tensor *lse, int64_t n)
{
    int aligned = j->dst.width % 8 == 0 && is_aligned(&j->dst, 16);

    if (!j->dst.rows || !j->dst.heads)
        return;
    j->n = (int)n;
    for (int64_t i = 0; i < n; i++) {
        aligned &= is_aligned(&src[i], 16);
        j->src[i] = { src[i].data, src[i].row_stride,
                      lse ? (const float *)lse[i].data : NULL,
                      lse ? lse[i].row_stride : 0, src[i].dtype };
    }
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
static __global__ void __launch_bounds__(THREADS) row_sums(
    struct tensor o, struct tensor d_o, struct tensor delta, int aligned)
{
    int64_t t = thread_number() / LANES, row = t / o.heads, head = t % o.heads;
    int lane = threadIdx.x % LANES;
    float sum = 0;

    for (int x = lane * 8; row < o.rows && x < o.width; x += LANES * 8) {
        float a[8] = {}, b[8] = {};

        read_eight(o, row, head, x, aligned, a);
        read_eight(d_o, row, head, x, aligned, b);
#pragma unroll
        for (int i = 0; i < 8; i++)
            sum = fmaf(a[i], b[i], sum);
    }
    for (int step = LANES / 2; step; step /= 2)
        sum += __shfl_xor_sync(~0u, sum, step);
    if (lane == 0 && row < o.rows)
        store(delta, row, head, 0, sum, 1);
}

void cuda_delta(struct tensor o, struct tensor d_o, struct tensor delta)
{
    int64_t items = o.rows * o.heads;
    int aligned = o.width % 8 == 0 && is_aligned(&o, 16) &&
                  is_aligned(&d_o, 16);

    if (!items)
        return;
    row_sums<<<blocks_of(items * LANES), THREADS, 0, cuda_stream_current()>>>(
        o, d_o, delta, aligned);
    launched("delta");
}

/* ---- Parts of a merge ---------------------------------------------------- */

/* One thread an element: these are of the few rows of a decode step. */
struct parts {
    struct tensor o, lse, m, num, den;
};

static __global__ void rescale(const __grid_constant__ parts p)
{
    int64_t t = thread_number(), each = (int64_t)p.o.heads * p.o.width;
    int64_t row = t / each, head = t % each / p.o.width, x = t % p.o.width;

    if (row >= p.o.rows)
        return;
    float own = load(p.lse, row, head, 0);
    float w = own == -INFINITY ? 0 : expf(own - load(p.m, row, head, 0));

    store(p.num, row, head, x, w != 0 ? w * load(p.o, row, head, x) : 0, 1);
    if (x == 0)
        store(p.den, row, head, 0, w, 1);
}

static __global__ void normalize(const __grid_constant__ parts p)
{
    int64_t t = thread_number(), each = (int64_t)p.o.heads * p.o.width;
    int64_t row = t / each, head = t % each / p.o.width, x = t % p.o.width;

    if (row >= p.o.rows)
        return;
    float total = load(p.den, row, head, 0);

    store(p.o, row, head, x,
          total != 0 ? load(p.num, row, head, x) / total : 0, 1);
    if (x == 0)
        store(p.lse, row, head, 0,
              total != 0 ? load(p.m, row, head, 0) + logf(total) : -INFINITY,
              1);
}

static void per_element(void (*kernel)(parts), const struct parts *p,
                        const char *what)
{
    int64_t n = p->o.rows * p->o.heads * p->o.width;

    if (!n)
        return;
    kernel<<<blocks_of(n), THREADS, 0, cuda_stream_current()>>>(*p);
    launched(what);
}

void cuda_rescale(struct tensor o, struct tensor lse, struct tensor m,
                  struct tensor num, struct tensor den)
{
    struct parts p = { o, lse, m, num, den };

    per_element(rescale, &p, "rescale");
}

void cuda_normalize(struct tensor num, struct tensor den, struct tensor m,
                    struct tensor o, struct tensor lse)
{
    struct parts p = { o, lse, m, num, den };

    per_element(normalize, &p, "normalize");
}
