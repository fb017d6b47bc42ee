/* SPDX-License-Identifier: Apache-2.0
 *
 * For the CUDA sources of the cuda backend: errors, elements of tensors, work
 * space, lists of any length as kernel parameters.
 *
 * Kernels take struct tensor by value: data is an address of the device. */
#ifndef SPAR_CUDA_COMMON_CUH
#define SPAR_CUDA_COMMON_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "kernel/cuda_streams.h"
#include "kernel/kernel.h"

typedef __nv_bfloat16 bf16;
typedef __half fp16;

/* ---- Errors -------------------------------------------------------------- */

static inline void must(cudaError_t rc, const char *what)
{
    if (rc != cudaSuccess)
        die("CUDA: %s: %s", what, cudaGetErrorString(rc));
}

/* After a launch. */
static inline void launched(const char *what)
{
    must(cudaGetLastError(), what);
}

/* A kernel that needs more shared memory than every device has. */
template <class Kernel>
static inline void allow_shared(Kernel kernel, size_t bytes, const char *what)
{
    if (bytes > 48 << 10)
        must(cudaFuncSetAttribute(kernel,
                                  cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  (int)bytes), what);
}

/* Multiprocessors of the open device. */
static inline int processors(void)
{
    static thread_local int known = -1, n;
    int device = 0;

    must(cudaGetDevice(&device), "device");
    if (device != known)
        must(cudaDeviceGetAttribute(&n, cudaDevAttrMultiProcessorCount,
                                    device), "multiprocessors");
    known = device;
    return n;
}

/* ---- Kernels that overlap --------------------------------------------------- */

/* A kernel launched by launch_early() may take its place on the device as soon
 * as all blocks of the kernel before have come here or ended; it waits for that
 * kernel's results with await_results().  Needs compute capability 9.0; before,
 * it starts once the kernel before has ended. */
static __device__ __forceinline__ void let_dependents_start(void)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}

static __device__ __forceinline__ void await_results(void)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

static inline int can_overlap(void)
{
    static thread_local int known = -1, major;
    int device = 0;

    must(cudaGetDevice(&device), "device");
    if (device != known)
        must(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor,
                                    device), "compute capability");
    known = device;
    return major >= 9;
}

template <class Arg>
static inline void launch_early(void (*kernel)(Arg), dim3 grid, dim3 block,
                                const Arg &arg, const char *what)
{
    cudaLaunchAttribute early = {};
    cudaLaunchConfig_t c = {};

    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    c.gridDim = grid;
    c.blockDim = block;
    c.stream = cuda_stream_current();
    c.attrs = &early;
    c.numAttrs = can_overlap();
    must(cudaLaunchKernelEx(&c, kernel, arg), what);
}

/* ---- Elements ------------------------------------------------------------ */

static __device__ __forceinline__ float to_float(float x) { return x; }
static __device__ __forceinline__ float to_float(bf16 x)
{
    return __bfloat162float(x);
}
static __device__ __forceinline__ float to_float(fp16 x)
{
    return __half2float(x);
}

template <class T> static __device__ __forceinline__ T from_float(float x);
template <> __device__ __forceinline__ float from_float<float>(float x)
{
    return x;
}
template <> __device__ __forceinline__ bf16 from_float<bf16>(float x)
{
    return __float2bfloat16_rn(x);
}
template <> __device__ __forceinline__ fp16 from_float<fp16>(float x)
{
    return __float2half_rn(x);
}

template <class T> struct dtype_of;
template <> struct dtype_of<float> { enum { value = DTYPE_FP32 }; };
template <> struct dtype_of<bf16> { enum { value = DTYPE_BF16 }; };
template <> struct dtype_of<fp16> { enum { value = DTYPE_FP16 }; };

/* f(T()) with the type of the dtype. */
template <class F> static inline void by_type(enum dtype t, F f)
{
    if (t == DTYPE_FP32)
        f(float());
    else if (t == DTYPE_BF16)
        f(bf16());
    else
        f(fp16());
}

/* The type is looked at when it runs: for results, and where speed is not
 * asked for. */
static __device__ __forceinline__ float load(enum dtype t, const void *p,
                                             int64_t i)
{
    if (t == DTYPE_FP32)
        return ((const float *)p)[i];
    if (t == DTYPE_BF16)
        return to_float(((const bf16 *)p)[i]);
    return to_float(((const fp16 *)p)[i]);
}

static __device__ __forceinline__ void store(enum dtype t, void *p, int64_t i,
                                             float x)
{
    if (t == DTYPE_FP32)
        ((float *)p)[i] = x;
    else if (t == DTYPE_BF16)
        ((bf16 *)p)[i] = from_float<bf16>(x);
    else
        ((fp16 *)p)[i] = from_float<fp16>(x);
}

static __device__ __forceinline__ int64_t place(const tensor &t, int64_t row,
                                                int64_t head, int64_t x)
{
    return row * t.row_stride + head * t.width + x;
}

static __device__ __forceinline__ float load(const tensor &t, int64_t row,
                                             int64_t head, int64_t x)
{
    return load(t.dtype, t.data, place(t, row, head, x));
}

/* t (+)= value */
static __device__ __forceinline__ void store(const tensor &t, int64_t row,
                                             int64_t head, int64_t x,
                                             float value, int overwrite)
{
    int64_t i = place(t, row, head, x);

    if (!overwrite)
        value += load(t.dtype, t.data, i);
    store(t.dtype, t.data, i, value);
}

/* Can every head of every row be read `bytes` bytes at a time? */
static inline int is_aligned(const struct tensor *t, size_t bytes)
{
    size_t size = t->dtype == DTYPE_FP32 ? 4 : 2;

    return (uintptr_t)t->data % bytes == 0
           && (size_t)t->row_stride * size % bytes == 0
           && (size_t)t->width * size % bytes == 0;
}

/* ---- Lists --------------------------------------------------------------- */

/* A list as a kernel parameter; a long one lies in device memory. */
template <class T, int N> struct few {
    int n;
    const T *many;
    T list[N];
    __device__ __forceinline__ T at(int i) const
    {
        return many ? many[i] : list[i];
    }
};

template <class T, int N>
static inline void few_set(few<T, N> *f, const T *list, int64_t n,
                           enum cuda_work use = CUDA_WORK_LIST)
{
    f->n = (int)n;
    f->many = NULL;
    if (n <= N) {
        for (int64_t i = 0; i < n; i++)
            f->list[i] = list[i];
        return;
    }
    size_t bytes = (size_t)n * sizeof *list;
    void *to = cuda_workspace(use, bytes);

    must(cudaMemcpyAsync(to, list, bytes, cudaMemcpyHostToDevice,
                         cuda_stream_current()), "list");
    f->many = (const T *)to;
}

#endif
