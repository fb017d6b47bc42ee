/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <cuda.h>
#include <cuda_runtime.h>
#include <string.h>

#include "kernel/cuda_async.h"
#include "kernel/cuda_streams.h"

#define must(call)                                                            \
    do {                                                                      \
        cudaError_t rc_ = (call);                                             \
        if (rc_ != cudaSuccess)                                               \
            die("CUDA: %s: %s", #call, cudaGetErrorString(rc_));              \
    } while (0)

struct CUstream_st *cuda_stream_handle(int stream)
{
    return cuda_stream(stream);
}

int cuda_device_opened(void)
{
    int number = 0;

    must(cudaGetDevice(&number));
    return number;
}

/* ---- Events -------------------------------------------------------------- */

void *cuda_event_create(int timed)
{
    cudaEvent_t event;

    must(cudaEventCreateWithFlags(&event, timed ? cudaEventDefault
                                  : cudaEventDisableTiming));
    return event;
}

void cuda_event_destroy(void *event)
{
    cudaEventDestroy((cudaEvent_t)event);
}

void cuda_event_record(void *event, int stream)
{
    must(cudaEventRecord((cudaEvent_t)event, cuda_stream(stream)));
}

void cuda_event_wait(void *event, int stream)
{
    must(cudaStreamWaitEvent(cuda_stream(stream), (cudaEvent_t)event, 0));
}

int cuda_event_done(void *event)
{
    cudaError_t rc = cudaEventQuery((cudaEvent_t)event);

    if (rc != cudaSuccess && rc != cudaErrorNotReady)
        die("CUDA: %s", cudaGetErrorString(rc));
    return rc == cudaSuccess;
}

double cuda_event_seconds(void *from, void *to)
{
    float ms = 0;

    must(cudaEventElapsedTime(&ms, (cudaEvent_t)from, (cudaEvent_t)to));
    return ms * 1e-3;
}

static __global__ void trap(void)
{
    __trap();
}

void cuda_trap(int stream)
{
    trap<<<1, 1, 0, cuda_stream(stream)>>>();
    must(cudaGetLastError());
}

/* ---- Memory of other processes ------------------------------------------- */

int cuda_export(void *base, struct cuda_handle *h, struct error *e)
{
    cudaIpcMemHandle_t handle;
    cudaError_t rc = cudaIpcGetMemHandle(&handle, base);

    static_assert(sizeof handle == sizeof h->bytes, "size of an IPC handle");
    if (rc != cudaSuccess)
        return fail(e, "cudaIpcGetMemHandle: %s", cudaGetErrorString(rc));
    memcpy(h->bytes, &handle, sizeof handle);
    return 0;
}

int cuda_import(const struct cuda_handle *h, void **base, struct error *e)
{
    cudaIpcMemHandle_t handle;
    cudaError_t rc;

    memcpy(&handle, h->bytes, sizeof handle);
    rc = cudaIpcOpenMemHandle(base, handle, cudaIpcMemLazyEnablePeerAccess);
    if (rc == cudaSuccess)
        return 0;
    cudaGetLastError();         /* it is told, not kept */
    return fail(e, "cudaIpcOpenMemHandle: %s", cudaGetErrorString(rc));
}

void cuda_unimport(void *base)
{
    if (base)
        cudaIpcCloseMemHandle(base);
}

/* ---- Flags --------------------------------------------------------------- */

typedef CUresult (*write_fn)(CUstream, CUdeviceptr, cuuint32_t, unsigned);

/* Functions of the driver, whose library is not linked. */
static write_fn driver(const char *name)
{
    void *fn = NULL;
    cudaDriverEntryPointQueryResult found;

    must(cudaGetDriverEntryPointByVersion(name, &fn, 12000, cudaEnableDefault,
                                          &found));
    if (!fn || found != cudaDriverEntryPointSuccess)
        die("CUDA: the driver has no %s", name);
    return (write_fn)fn;
}

void cuda_flag_write(int stream, uint32_t *flag, uint32_t value)
{
    static write_fn fn;

    fn = fn ? fn : driver("cuStreamWriteValue32");
    CUresult rc = fn((CUstream)cuda_stream(stream), (CUdeviceptr)flag, value,
                     CU_STREAM_WRITE_VALUE_DEFAULT);
    if (rc != CUDA_SUCCESS)
        die("CUDA: cuStreamWriteValue32: error %d", (int)rc);
}

void cuda_flag_wait(int stream, uint32_t *flag, uint32_t value)
{
    static write_fn fn;

    fn = fn ? fn : driver("cuStreamWaitValue32");
    CUresult rc = fn((CUstream)cuda_stream(stream), (CUdeviceptr)flag, value,
                     CU_STREAM_WAIT_VALUE_GEQ);
    if (rc != CUDA_SUCCESS)
        die("CUDA: cuStreamWaitValue32: error %d", (int)rc);
}

void cuda_stall(int stream)
{
    uint32_t *word;

    must(cudaMalloc(&word, sizeof *word));
    must(cudaMemset(word, 0, sizeof *word));
    cuda_flag_wait(stream, word, 1);
}

/* ---- Reductions of records ----------------------------------------------- */

enum { THREADS = 128 };

struct members {
    const float *data;          /* member k's records at k * step floats */
    size_t step;
    int n, me, width;
    float *out;                 /* [n records][width] */
};

/* One block a record: each thread some of its elements. */
static __global__ void reduce_max(struct members m)
{
    size_t at = (size_t)blockIdx.x * m.width;

    for (int x = threadIdx.x; x < m.width; x += blockDim.x) {
        float most = m.data[at + x];
        for (int k = 1; k < m.n; k++)
            most = fmaxf(most, m.data[k * m.step + at + x]);
        m.out[at + x] = most;
    }
}

static __global__ void reduce_sum(struct members m)
{
    size_t at = (size_t)blockIdx.x * m.width;

    for (int x = threadIdx.x; x < m.width; x += blockDim.x) {
        float total = 0;
        for (int k = 0; k < m.n; k++)
            total += m.data[k * m.step + at + x];
        m.out[at + x] = total;
    }
}

/* (o, lse): weights relative to the largest lse; the last element is lse. */
static __global__ void reduce_merge(struct members m)
{
    size_t at = (size_t)blockIdx.x * m.width;
    int last = m.width - 1;
    float most = -INFINITY, total = 0;

    for (int k = 0; k < m.n; k++)
        most = fmaxf(most, m.data[k * m.step + at + last]);
    for (int k = 0; k < m.n && most > -INFINITY; k++)
        total += expf(m.data[k * m.step + at + last] - most);
    for (int x = threadIdx.x; x < last; x += blockDim.x) {
        float o = 0;
        for (int k = 0; k < m.n && total > 0; k++) {
            const float *r = m.data + k * m.step + at;
            o += expf(r[last] - most) * r[x];
        }
        m.out[at + x] = total > 0 ? o / total : 0;
    }
    if (threadIdx.x == 0)
        m.out[at + last] = total > 0 ? most + logf(total) : -INFINITY;
}

/* (state, factor) of the members before me. */
static __global__ void reduce_scan(struct members m)
{
    size_t at = (size_t)blockIdx.x * m.width;
    int last = m.width - 1;

    for (int x = threadIdx.x; x < last; x += blockDim.x) {
        float sum = 0;
        for (int k = 0; k < m.me; k++) {
            const float *r = m.data + k * m.step + at;
            sum = r[last] * sum + r[x];
        }
        m.out[at + x] = sum;
    }
}

void cuda_reduce(int stream, enum cuda_reduction what, const float *data,
                 size_t step, int members, int me, int64_t records, int width,
                 float *out)
{
    static void (*const kernels[])(struct members) = { reduce_max, reduce_sum,
                                                       reduce_merge,
                                                       reduce_scan };
    struct members m = { data, step, members, me, width, out };

    if (!records)
        return;
    kernels[what]<<<(unsigned)records, THREADS, 0, cuda_stream(stream)>>>(m);
    must(cudaGetLastError());
}
