/* SPDX-License-Identifier: Apache-2.0
 *
 * CUDA devices: memory, copies, streams.  One device a process at a time, as
 * ranks have it. */
#include <config.h>

#include <cuda_runtime.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/cuda_facts.h"
#include "kernel/cuda_streams.h"

#define must(call)                                                            \
    do {                                                                      \
        cudaError_t rc_ = (call);                                             \
        if (rc_ != cudaSuccess)                                               \
            die("CUDA: %s: %s", #call, cudaGetErrorString(rc_));              \
    } while (0)

static cudaStream_t streams[DEVICE_STREAMS];
static int current;

cudaStream_t cuda_stream(int number)
{
    if (!streams[number])
        must(cudaStreamCreateWithFlags(&streams[number],
                                       cudaStreamNonBlocking));
    return streams[number];
}

cudaStream_t cuda_stream_current(void)
{
    return cuda_stream(current);
}

static int cuda_count(void)
{
    int n = 0;

    /* Before the first call: streams that wait must not hold up others, and
     * under MPS all processes of a device have 96 connections together: with 32
     * each, a fourth was seen to be told "out of memory". */
    setenv("CUDA_DEVICE_MAX_CONNECTIONS", "12", 0);
    if (cudaGetDeviceCount(&n) == cudaSuccess)
        return n;
    cudaGetLastError();         /* no driver is no error */
    return 0;
}

/* ---- Work space ---------------------------------------------------------- */

static struct space {
    void *data;
    size_t bytes;
} spaces[DEVICE_STREAMS][CUDA_WORK_USES];

static void get_space(void **data, size_t bytes)
{
    size_t left = 0, total = 0;
    cudaError_t rc = cudaMalloc(data, bytes);

    if (rc == cudaSuccess)
        return;
    cudaMemGetInfo(&left, &total);
    die("out of memory: a kernel needs %.3f GiB of work space, %.3f GiB "
        "available on its device (%s)", (double)bytes / 0x1p30,
        (double)left / 0x1p30, cudaGetErrorString(rc));
}

void *cuda_workspace(enum cuda_work use, size_t bytes)
{
    struct space *s = &spaces[current][use];

    if (bytes > s->bytes) {
        if (s->data)
            cudaFree(s->data);  /* waits until nothing uses it */
        get_space(&s->data, bytes);
        s->bytes = bytes;
    }
    return s->data;
}

static void forget_spaces(struct space *s)
{
    for (int i = 0; i < CUDA_WORK_USES; i++) {
        if (s[i].data)          /* freeing nothing would start device 0 */
            cudaFree(s[i].data);
        s[i] = {};
    }
}

static void forget_streams(void)
{
    for (int i = 0; i < DEVICE_STREAMS; i++) {
        forget_spaces(spaces[i]);
        if (streams[i])
            cudaStreamDestroy(streams[i]);
        streams[i] = NULL;
    }
}

static int cuda_open(int number, struct error *e)
{
    int n = cuda_count();

    if (number < 0 || number >= n)
        return fail(e, "there is no CUDA device %d, but %d", number, n);
    forget_streams();
    current = 0;
    cudaError_t rc = cudaSetDevice(number);
    if (rc != cudaSuccess)
        return fail(e, "CUDA device %d: %s", number, cudaGetErrorString(rc));
    return 0;
}

static void *cuda_alloc(size_t bytes, struct error *e)
{
    void *p = NULL;
    cudaError_t rc = cudaMalloc(&p, bytes ? bytes : 64);

    if (rc == cudaSuccess)
        return p;
    cudaGetLastError();         /* it is told, not kept */
    fail(e, "the device refused: %s", cudaGetErrorString(rc));
    return NULL;
}

static void cuda_free(void *p)
{
    cudaFree(p);
}

static void *cuda_alloc_host(size_t bytes, struct error *e)
{
    void *p = NULL;
    cudaError_t rc = cudaMallocHost(&p, bytes ? bytes : 64);

    if (rc == cudaSuccess)
        return p;
    cudaGetLastError();
    fail(e, "pinning refused: %s", cudaGetErrorString(rc));
    return NULL;
}

static void cuda_free_host(void *p)
{
    cudaFreeHost(p);
}

static int cuda_memory(size_t *available, size_t *total)
{
    return cudaMemGetInfo(available, total) == cudaSuccess ? 0 : -1;
}

static void cuda_fill(void *dst, int byte, size_t bytes)
{
    must(cudaMemsetAsync(dst, byte, bytes, cuda_stream_current()));
}

static void cuda_move(void *dst, const void *src, size_t bytes)
{
    must(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDefault,
                         cuda_stream_current()));
    must(cudaStreamSynchronize(cuda_stream_current()));
}

enum { FLOATS = 256 };
struct floats {
    float x[FLOATS];
};

static __global__ void spread(char *dst, size_t step, struct floats f)
{
    *(float *)(dst + threadIdx.x * step) = f.x[threadIdx.x];
}

static void cuda_put_floats(void *dst, size_t step, const float *host,
                            size_t n)
{
    for (size_t i = 0; i < n; i += FLOATS) {
        struct floats f = {};
        unsigned count = n - i < FLOATS ? (unsigned)(n - i) : FLOATS;
        memcpy(f.x, host + i, count * sizeof(float));
        spread<<<1, count, 0, cuda_stream_current()>>>((char *)dst + i * step,
                                                       step, f);
        must(cudaGetLastError());
    }
}

/* Of the open device. */
static int is_here(const void *p)
{
    cudaPointerAttributes a;
    int device;

    must(cudaGetDevice(&device));
    must(cudaPointerGetAttributes(&a, p));
    return a.type == cudaMemoryTypeDevice && a.device == device;
}

static void cuda_copy_rows(void *dst, size_t dst_step, const void *src,
                           size_t src_step, size_t block, size_t rows)
{
    int dense = dst_step == block && src_step == block;

    if (!block || !rows)
        return;
    if (dense || rows == 1)
        must(cudaMemcpyAsync(dst, src, block * rows, cudaMemcpyDefault,
                             cuda_stream_current()));
    else if (is_here(dst) && is_here(src))
        cuda_copy_strided(dst, dst_step, src, src_step, block, rows);
    else
        must(cudaMemcpy2DAsync(dst, dst_step, src, src_step, block, rows,
                               cudaMemcpyDefault, cuda_stream_current()));
}

static void cuda_set_stream(int number)
{
    current = number;
}

static void cuda_sync(void)
{
    must(cudaDeviceSynchronize());
}

static size_t cuda_work_bytes(void)
{
    size_t bytes = 0;

    for (int i = 0; i < DEVICE_STREAMS; i++)
        for (int use = 0; use < CUDA_WORK_USES; use++)
            bytes += spaces[i][use].bytes;
    return bytes;
}

extern "C" const struct device device_cuda = {
    "cuda", cuda_count, cuda_facts, cuda_open, cuda_alloc, cuda_free,
    cuda_alloc_host, cuda_free_host, cuda_memory, cuda_fill, cuda_move,
    cuda_move, cuda_put_floats, cuda_copy_rows, cuda_set_stream, cuda_sync,
    cuda_work_bytes
};
