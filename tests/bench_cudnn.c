/* SPDX-License-Identifier: Apache-2.0
 *
 * How long the cuDNN backend takes for attention of 4 K, 16 K and 64 K tokens
 * in bf16, 32 query heads on 8 KV heads of 128: median of device times, and
 * what a call costs the host.  `store` writes results as bf16, `add` adds them
 * to fp32, as the steps of a ring do.
 *   bench_cudnn [TOKENS...] */
#include <config.h>

#include <stdio.h>

#ifndef HAVE_CUDNN
int main(void)
{
    printf("built without cuDNN\n");
    return 0;
}
#else

#include <cuda_runtime.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "kernel/backends.h"
#include "kernel/cudnn_backend.h"
#include "kernel/cudnn_device.h"

enum { HEADS = 32, KV_HEADS = 8, WIDTH = 128, REPEATS = 15, BLOCK = 1 << 22 };

static uint64_t state = 1;

static float draw(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (float)(state >> 40) * 0x1p-23f - 1;
}

/* Random numbers of uniform distribution in -sqrt 3 .. sqrt 3, in blocks. */
static struct tensor make(enum dtype type, int64_t rows, int32_t heads,
                          int32_t width)
{
    struct tensor t = { .dtype = type, .rows = rows, .heads = heads,
                        .width = width, .row_stride = (int64_t)heads * width };
    size_t bytes = (size_t)(rows * t.row_stride) * dtype_size(type);
    size_t block = (size_t)BLOCK * dtype_size(type);
    char *host = xmalloc(block);
    struct error e;

    t.data = device_cuda.alloc(bytes, &e);
    if (!t.data)
        die("%s", e.text);
    for (int64_t i = 0; i < BLOCK; i++)
        element_store(host, type, i, draw() * sqrtf(3));
    for (size_t at = 0; at < bytes; at += block)
        device_cuda.put((char *)t.data + at, host,
                        bytes - at < block ? bytes - at : block);
    free(host);
    return t;
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void call(const struct attend_args *a, int backward)
{
    if (backward)
        kernel_cudnn.attend_backward(a);
    else
        kernel_cudnn.attend(a);
}

/* Until the device's clocks are up. */
static void warm_up(const struct attend_args *a, int backward)
{
    double start = now();

    do {
        call(a, backward);
        device_cuda.sync();
    } while (now() < start + 0.3);
}

/* Seconds of the device, and in *host of the calls alone. */
static double median(const struct attend_args *a, int backward, double *host)
{
    int repeats = a->q.rows > 20000 ? 5 : REPEATS;
    cudaEvent_t from, to;
    float ms[REPEATS];
    double start;

    *host = 0;
    cudaEventCreate(&from);
    cudaEventCreate(&to);
    warm_up(a, backward);
    for (int i = 0; i < repeats; i++) {
        start = now();
        cudaEventRecord(from, cudnn_stream());
        call(a, backward);
        cudaEventRecord(to, cudnn_stream());
        *host += (now() - start) / repeats;
        device_cuda.sync();
        cudaEventElapsedTime(&ms[i], from, to);
    }
    cudaEventDestroy(from);
    cudaEventDestroy(to);
    qsort(ms, (size_t)repeats, sizeof *ms, compare_floats);
    return 1e-3 * (double)ms[repeats / 2];
}

static void print_time(struct attend_args *a, int store)
{
    const struct segment *s = a->segments;
    double flop = 4.0 * WIDTH * HEADS * (double)segment_pairs(s), host, t;

    a->store = a->store_dq = a->store_dk = a->store_dv = store;
    for (int backward = 0; backward < 2; backward++) {
        if (!cudnn_prepare(a, backward))
            die("cuDNN does not take %lld tokens", (long long)s->q_count);
        t = median(a, backward, &host);
        printf("%6lld %-6s %-5s %-8s %9.3f ms %6.1f TFLOP/s, host %4.0f us\n",
               (long long)s->q_count, s->low == 0 ? "causal" : "full",
               store ? "store" : "add", backward ? "backward" : "forward",
               1e3 * t, flop * (backward ? 2.5 : 1) / t * 1e-12, 1e6 * host);
        fflush(stdout);
    }
}

static void time_tokens(int64_t n, int store)
{
    enum dtype in = DTYPE_BF16, out = store ? DTYPE_BF16 : DTYPE_FP32;
    struct segment s = { 0, n, 0, n, 0, BAND_HIGH };
    struct attend_args a = {
        .q = make(in, n, HEADS, WIDTH), .k = make(in, n, KV_HEADS, WIDTH),
        .v = make(in, n, KV_HEADS, WIDTH), .d_o = make(in, n, HEADS, WIDTH),
        .o = make(out, n, HEADS, WIDTH), .lse = make(DTYPE_FP32, n, HEADS, 1),
        .delta = make(DTYPE_FP32, n, HEADS, 1),
        .dq = make(out, n, HEADS, WIDTH), .dk = make(out, n, KV_HEADS, WIDTH),
        .dv = make(out, n, KV_HEADS, WIDTH), .group = HEADS / KV_HEADS,
        .scale = 1 / sqrtf(WIDTH), .segments = &s, .n_segments = 1,
    };
    struct tensor *all[] = { &a.q, &a.k, &a.v, &a.d_o, &a.o, &a.lse, &a.delta,
                             &a.dq, &a.dk, &a.dv };

    print_time(&a, store);
    s.low = BAND_LOW;
    print_time(&a, store);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        device_cuda.free(all[i]->data);
}

static void time_both(int64_t n)
{
    time_tokens(n, 1);
    time_tokens(n, 0);
}

int main(int argc, char **argv)
{
    static const int64_t tokens[] = { 4096, 16384, 65536 };
    struct error e;

    if (device_cuda.count() == 0 || device_cuda.open(0, &e) ||
        kernel_cudnn.available(&e)) {
        printf("no CUDA device\n");
        return 0;
    }
    for (int i = 1; i < argc; i++)
        time_both(strtoll(argv[i], NULL, 10));
    for (int i = 0; i < 3 && argc == 1; i++)
        time_both(tokens[i]);
    return 0;
}

#endif
