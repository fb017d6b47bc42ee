/* SPDX-License-Identifier: Apache-2.0
 *
 * How long the cuda backend takes for linear attention, bf16: median of device
 * times.  `forward` and `backward` are whole causal attention of one rank;
 * `state` (of k, v), `state-back` (of q, do), `inter`, `inter-dq` and
 * `inter-dkv`, which add to fp32, are what else a rank of several has.
 *   bench_cuda_linear [-w WIDTH] [-h HEADS] [TOKENS...]
 * prints tokens,heads,width,decay,op,ms. */
#include <config.h>

#include <stdio.h>

#ifndef HAVE_CUDA
int main(void)
{
    printf("built without CUDA\n");
    return 0;
}
#else

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench_device.h"
#include "kernel/cuda_async.h"

enum { REPEATS = 15 };

static int64_t heads = 32, width = 128;

static struct tensor make(enum dtype type, int64_t rows, int64_t w)
{
    return random_on_device(type, rows, heads, w);
}

/* ---- What is timed ------------------------------------------------------- */

static void state_of_kv(const struct linear_args *a)
{
    kernel_cuda.state(a, 0);
}

static void state_of_q(const struct linear_args *a)
{
    kernel_cuda.state(a, 1);
}

typedef void (*linear_fn)(const struct linear_args *a);

static const linear_fn state_forward = state_of_kv, state_backward = state_of_q;

static const struct op {
    const char *name;
    const linear_fn *fn;
    int store;
} ops[] = {
    { "forward", &kernel_cuda.linear_intra, 1 },
    { "backward", &kernel_cuda.linear_intra_backward, 1 },
    { "state", &state_forward, 1 },
    { "state-back", &state_backward, 1 },
    { "inter", &kernel_cuda.linear_inter, 0 },
    { "inter-dq", &kernel_cuda.linear_inter_dq, 0 },
    { "inter-dkv", &kernel_cuda.linear_inter_dkv, 0 },
};

static double median(const struct op *op, const struct linear_args *a)
{
    void *from = cuda_event_create(1), *to = cuda_event_create(1);
    double seconds[REPEATS];

    for (int i = -5; i < REPEATS; i++) {
        cuda_event_record(from, 0);
        (*op->fn)(a);
        cuda_event_record(to, 0);
        device_cuda.sync();
        if (i >= 0)
            seconds[i] = cuda_event_seconds(from, to);
    }
    cuda_event_destroy(from);
    cuda_event_destroy(to);
    qsort(seconds, REPEATS, sizeof *seconds, compare_doubles);
    return seconds[REPEATS / 2];
}

static void time_op(const struct op *op, int64_t n, const double *slopes)
{
    enum dtype type = op->store ? DTYPE_BF16 : DTYPE_FP32;
    struct linear_args a = {
        .q = make(DTYPE_BF16, n, width), .k = make(DTYPE_BF16, n, width),
        .v = make(DTYPE_BF16, n, width), .d_o = make(DTYPE_BF16, n, width),
        .o = make(type, n, width), .dq = make(type, n, width),
        .dk = make(type, n, width), .dv = make(type, n, width),
        .state = make(DTYPE_FP32, 1, width * width), .store_o = op->store,
        .store_dq = op->store, .store_dk = op->store, .store_dv = op->store,
        .group = 1, .slopes = slopes,
    };
    struct tensor *all[] = { &a.q, &a.k, &a.v, &a.d_o, &a.o, &a.dq, &a.dk,
                             &a.dv, &a.state };

    for (int i = 0; i < 2; i++) {
        a.slopes = i ? NULL : slopes;
        printf("%lld,%lld,%lld,%d,%s,%.4f\n", (long long)n, (long long)heads,
               (long long)width, !i, op->name, 1e3 * median(op, &a));
        fflush(stdout);
    }
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        device_cuda.free(all[i]->data);
}

static void time_all(int64_t n)
{
    double *slopes = xmalloc((size_t)heads * sizeof *slopes);

    for (int64_t h = 0; h < heads; h++)
        slopes[h] = exp2(-8.0 * (double)(h + 1) / (double)heads);
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        time_op(&ops[i], n, slopes);
    free(slopes);
}

int main(int argc, char **argv)
{
    static const int64_t tokens[] = { 8192, 16384, 65536 };
    struct error e;
    int c;

    while ((c = getopt(argc, argv, "w:h:")) != -1) {
        if (c == '?')
            return 2;
        *(c == 'w' ? &width : &heads) = strtoll(optarg, NULL, 10);
    }
    if (device_cuda.count() == 0 || device_cuda.open(0, &e)) {
        printf("no CUDA device\n");
        return 0;
    }
    for (int i = optind; i < argc; i++)
        time_all(strtoll(argv[i], NULL, 10));
    for (int i = 0; i < 3 && optind == argc; i++)
        time_all(tokens[i]);
    return 0;
}

#endif
