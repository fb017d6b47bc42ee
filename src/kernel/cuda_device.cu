/* SPDX-License-Identifier: Apache-2.0
 *
 * CUDA devices: memory, copies, streams.  One device a process at a time, as
 * ranks have it. */
#include <config.h>

#include <cuda_runtime.h>

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

void *cuda_workspace(enum cuda_work use, size_t bytes)
{
    struct space *s = &spaces[current][use];

    if (bytes > s->bytes) {
        if (s->data)
            cudaFree(s->data);  /* waits until nothing uses it */
        must(cudaMalloc(&s->data, bytes));
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

static void cuda_copy_rows(void *dst, size_t dst_step, const void *src,
                           size_t src_step, size_t block, size_t rows)
{
    int dense = dst_step == block && src_step == block;

    if (!block || !rows)
        return;
    if (dense || rows == 1)
        must(cudaMemcpyAsync(dst, src, block * rows, cudaMemcpyDefault,
                             cuda_stream_current()));
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

extern "C" const struct device device_cuda = {
    "cuda", cuda_count, cuda_open, cuda_alloc, cuda_free, cuda_memory,
    cuda_fill, cuda_move, cuda_move, cuda_copy_rows, cuda_set_stream,
    cuda_sync
};
