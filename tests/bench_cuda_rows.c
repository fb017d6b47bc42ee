/* SPDX-License-Identifier: Apache-2.0
 *
 * What the row kernels of the cuda backend reach of a device copy's bandwidth,
 * and decoding of the memory's: medians of device times, random numbers, tensors
 * of 32 heads of 128 larger than the cache.  Bytes are those read and written.
 *   bench_cuda_rows rows [ROWS...]
 *   bench_cuda_rows decode [TOKENS...]   32 query heads on 8 KV heads, bf16 */
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

#include "bench_device.h"
#include "kernel/cuda_async.h"

enum { HEADS = 32, KV_HEADS = 8, WIDTH = 128, REPEATS = 15, MOST = 8 };

static double bytes_of(struct tensor t)
{
    return (double)(t.rows * t.heads * t.width) * (double)dtype_size(t.dtype);
}

/* ---- Times --------------------------------------------------------------- */

/* Median seconds of the device. */
static double median(void (*call)(void *), void *arg)
{
    void *event[REPEATS + 1];
    double seconds[REPEATS];

    for (int i = 0; i <= REPEATS; i++)
        event[i] = cuda_event_create(1);
    for (int i = 0; i < 5; i++)
        call(arg);
    cuda_event_record(event[0], 0);
    for (int i = 1; i <= REPEATS; i++) {
        call(arg);
        cuda_event_record(event[i], 0);
    }
    device_cuda.sync();
    for (int i = 0; i < REPEATS; i++)
        seconds[i] = cuda_event_seconds(event[i], event[i + 1]);
    for (int i = 0; i <= REPEATS; i++)
        cuda_event_destroy(event[i]);
    qsort(seconds, REPEATS, sizeof *seconds, compare_doubles);
    return seconds[REPEATS / 2];
}

/* ---- Rows ---------------------------------------------------------------- */

struct rows {
    struct tensor src[3][MOST], lse[MOST], dst[3];      /* [dtype] */
    struct tensor sum, most;                            /* [rows, HEADS, 1] */
    double copy;                                        /* bytes a second */
    const struct row_case *now;
};

struct row_case {
    const char *name;
    void (*call)(struct rows *r, const struct row_case *c);
    enum dtype from, to;
    int n, store;
    int lse;                    /* of each source, and of the result */
};

static void call_copy(struct rows *r, const struct row_case *c)
{
    size_t row = HEADS * WIDTH * dtype_size(c->from);

    device_cuda.copy_rows(r->dst[c->to].data, row, r->src[c->from][0].data, row,
                          row, (size_t)r->dst[0].rows);
}

/* Heads in n parts: one of them to dense rows. */
static void call_slice(struct rows *r, const struct row_case *c)
{
    size_t row = HEADS * WIDTH * dtype_size(c->from), part = row / (size_t)c->n;

    for (int i = 0; i < c->n; i++)
        device_cuda.copy_rows((char *)r->dst[c->to].data +
                              (size_t)i * part * (size_t)r->dst[0].rows, part,
                              (char *)r->src[c->from][0].data +
                              (size_t)i * part, row, part,
                              (size_t)r->dst[0].rows);
}

static void call_merge(struct rows *r, const struct row_case *c)
{
    kernel_cuda.merge(r->dst[c->to], r->sum, c->store, r->src[c->from], r->lse,
                      c->n);
}

static void call_sum(struct rows *r, const struct row_case *c)
{
    kernel_cuda.sum(r->dst[c->to], c->store, r->src[c->from], c->n);
}

static void call_delta(struct rows *r, const struct row_case *c)
{
    kernel_cuda.delta(r->src[c->from][0], r->src[c->from][1], r->sum);
}

static void call_rescale(struct rows *r, const struct row_case *c)
{
    kernel_cuda.rescale(r->src[c->from][0], r->lse[0], r->most, r->dst[c->to],
                        r->sum);
}

static void call_normalize(struct rows *r, const struct row_case *c)
{
    kernel_cuda.normalize(r->src[c->from][0], r->lse[0], r->most,
                          r->dst[c->to], r->sum);
}

#define F DTYPE_FP32
#define B DTYPE_BF16
static const struct row_case row_cases[] = {
    { "copy", call_copy, F, F, 1, 1, 0 },
    { "copy", call_copy, B, B, 1, 1, 0 },
    { "slices", call_slice, B, B, 2, 1, 0 },
    { "slices", call_slice, B, B, 8, 1, 0 },
    { "slices", call_slice, B, B, 32, 1, 0 },
    { "merge", call_merge, B, B, 1, 1, 1 },
    { "merge", call_merge, B, B, 2, 1, 1 },
    { "merge", call_merge, B, B, 4, 1, 1 },
    { "merge", call_merge, B, B, 8, 1, 1 },
    { "merge", call_merge, B, F, 1, 0, 1 },
    { "merge", call_merge, B, F, 2, 0, 1 },
    { "merge", call_merge, B, F, 4, 1, 1 },
    { "merge", call_merge, B, F, 8, 1, 1 },
    { "merge", call_merge, F, B, 2, 1, 1 },
    { "merge", call_merge, F, F, 1, 0, 1 },
    { "merge", call_merge, F, B, 8, 1, 1 },
    { "sum", call_sum, B, B, 1, 1, 0 },
    { "sum", call_sum, B, B, 2, 1, 0 },
    { "sum", call_sum, B, B, 8, 1, 0 },
    { "sum", call_sum, B, F, 1, 0, 0 },
    { "sum", call_sum, B, F, 8, 0, 0 },
    { "sum", call_sum, F, F, 1, 0, 0 },
    { "sum", call_sum, F, F, 8, 1, 0 },
    { "sum", call_sum, F, B, 1, 1, 0 },
    { "delta", call_delta, B, B, 2, -1, 0 },
    { "delta", call_delta, F, F, 2, -1, 0 },
    { "rescale", call_rescale, B, F, 1, 1, 1 },
    { "rescale", call_rescale, F, F, 1, 1, 1 },
    { "normalize", call_normalize, F, B, 1, 1, 1 },
    { "normalize", call_normalize, F, F, 1, 1, 1 },
};
#undef F
#undef B

/* Of elements; store -1: nothing is written. */
static double case_bytes(const struct rows *r, const struct row_case *c)
{
    double in = bytes_of(r->src[c->from][0]), out = bytes_of(r->dst[c->to]);
    int sources = c->call == call_slice ? 1 : c->n;

    return sources * in + (c->store < 0 ? 0 : c->store ? 1 : 2) * out +
           (c->lse ? sources + 2 - c->store : 0) * bytes_of(r->sum);
}

static void call_row_case(void *arg)
{
    struct rows *r = arg;

    r->now->call(r, r->now);
}

static void print_case(struct rows *r, const struct row_case *c)
{
    static const char *const names[] = { "fp32", "bf16", "fp16" };
    double t, rate;

    r->now = c;
    t = median(call_row_case, r);
    rate = case_bytes(r, c) / t;
    if (c == row_cases)
        r->copy = rate;
    printf("%-9s %6lld rows %d x %s -> %s%s %9.1f us %6.3f TB/s %6.3f of copy\n",
           c->name, (long long)r->dst[0].rows, c->n, names[c->from],
           names[c->to], c->store ? "      " : ", add ", 1e6 * t, 1e-12 * rate,
           rate / r->copy);
    fflush(stdout);
}

static void bench_rows(int64_t n)
{
    static const enum dtype types[] = { DTYPE_FP32, DTYPE_BF16 };
    struct rows r = { .sum = random_on_device(DTYPE_FP32, n, HEADS, 1),
                      .most = random_on_device(DTYPE_FP32, n, HEADS, 1) };

    for (int t = 0; t < 2; t++)
        r.dst[types[t]] = random_on_device(types[t], n, HEADS, WIDTH);
    for (int i = 0; i < MOST; i++) {
        r.lse[i] = random_on_device(DTYPE_FP32, n, HEADS, 1);
        for (int t = 0; t < 2; t++)
            r.src[types[t]][i] = random_on_device(types[t], n, HEADS, WIDTH);
    }
    for (size_t i = 0; i < sizeof row_cases / sizeof *row_cases; i++)
        print_case(&r, &row_cases[i]);
    device_cuda.free(r.sum.data);
    device_cuda.free(r.most.data);
    for (int t = 0; t < 2; t++)
        device_cuda.free(r.dst[types[t]].data);
    for (int i = 0; i < MOST; i++) {
        device_cuda.free(r.lse[i].data);
        for (int t = 0; t < 2; t++)
            device_cuda.free(r.src[types[t]][i].data);
    }
}

/* ---- Decoding ------------------------------------------------------------ */

static void call_attend(void *arg)
{
    kernel_cuda.attend(arg);
}

static void bench_decode(int64_t tokens)
{
    enum dtype b = DTYPE_BF16;
    struct segment s = { 0, 0, 0, tokens, 0, BAND_HIGH };
    struct attend_args a = {
        .q = random_on_device(b, 2 * MOST, HEADS, WIDTH),
        .k = random_on_device(b, tokens, KV_HEADS, WIDTH),
        .v = random_on_device(b, tokens, KV_HEADS, WIDTH),
        .o = random_on_device(b, 2 * MOST, HEADS, WIDTH),
        .lse = random_on_device(DTYPE_FP32, 2 * MOST, HEADS, 1), .store = 1,
        .group = HEADS / KV_HEADS, .scale = 1 / sqrtf(WIDTH), .segments = &s,
        .n_segments = 1,
    };

    for (int q = 1; q <= 2 * MOST; q *= 2) {
        /* the queries are the last of the tokens */
        a.q.rows = a.o.rows = a.lse.rows = s.q_count = q;
        s.low = q - tokens;
        double t = median(call_attend, &a);
        printf("decode %8lld tokens %3d queries %9.1f us %6.3f TB/s\n",
               (long long)tokens, q, 1e6 * t,
               1e-12 * (bytes_of(a.k) + bytes_of(a.v)) / t);
        fflush(stdout);
    }
    struct tensor all[] = { a.q, a.k, a.v, a.o, a.lse };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        device_cuda.free(all[i].data);
}

int main(int argc, char **argv)
{
    static const struct part {
        const char *name;
        void (*bench)(int64_t n);
        int64_t sizes[2];
    } parts[] = {
        { "rows", bench_rows, { 16384, 65536 } },
        { "decode", bench_decode, { 131072, 1048576 } },
    };
    struct error e;

    if (device_cuda.count() == 0 || device_cuda.open(0, &e)) {
        printf("no CUDA device\n");
        return 0;
    }
    for (int i = 0; i < 2; i++) {
        if (argc > 1 && strcmp(argv[1], parts[i].name))
            continue;
        for (int k = 2; k < argc; k++)
            parts[i].bench(strtoll(argv[k], NULL, 10));
        for (int k = 0; k < 2 && argc <= 2; k++)
            parts[i].bench(parts[i].sizes[k]);
    }
    return 0;
}

#endif
