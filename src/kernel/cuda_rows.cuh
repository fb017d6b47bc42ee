/* SPDX-License-Identifier: Apache-2.0
 *
 * For the kernels that go over rows once, bound by memory: elements 16 bytes at a
 * time where the tensors allow it, of a type that is looked at when they run. */
#ifndef SPAR_CUDA_ROWS_CUH
#define SPAR_CUDA_ROWS_CUH

#include "kernel/cuda_common.cuh"

enum { ROW_THREADS = 256 };     /* of a block */

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

/* ---- Rows ---------------------------------------------------------------- */

static inline struct tensor rows_of(struct tensor t, int64_t first,
                                    int64_t count)
{
    t.data = (char *)t.data + first * t.row_stride *
                              (int64_t)dtype_size(t.dtype);
    t.rows = count;
    return t;
}

/* f(first row, rows) of launches in which all items, `each` a row, are numbered
 * in 31 bits. */
template <class F>
static inline void by_launch(int64_t rows, int64_t each, F f)
{
    int64_t most = INT32_MAX / each;

    for (int64_t first = 0; first < rows; first += most)
        f(first, min64(most, rows - first));
}

#endif
