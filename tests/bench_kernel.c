/* SPDX-License-Identifier: Apache-2.0
 *
 * Rates of the cpu attention kernels as a share of this core's large-sgemm
 * rate.  Clocks drift and neighbours interfere, so time is the thread's own,
 * every case is measured between two sgemms and against their mean, round after
 * round, and medians are printed.  Only visible flops count: 4 D per visible
 * pair forward, 10 D backward.
 *
 *     bench_kernel [rounds [length]]
 *
 * OPENBLAS_CORETYPE (say HASWELL) picks another sgemm to measure against. */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cblas.h>

#include "kernel/cpu.h"

enum { SGEMM = 2048, MAX_ROUNDS = 99 };

struct bench_case {
    enum dtype dtype;
    int64_t width;
    int causal;
    double forward[MAX_ROUNDS], backward[MAX_ROUNDS];   /* flop/s */
    double forward_ratio[MAX_ROUNDS], backward_ratio[MAX_ROUNDS];
};

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, by_value);
    return (x[(n - 1) / 2] + x[n / 2]) / 2;
}

static float uniform(void)
{
    static uint64_t state = 1;

    state = state * 6364136223846793005u + 1442695040888963407u;
    return (float)(state >> 40) * 0x1p-23f - 1;
}

static struct tensor random_tensor(enum dtype t, int64_t rows, int64_t width)
{
    struct tensor x = { .dtype = t, .rows = rows, .row_stride = width,
                        .heads = 1, .width = (int32_t)width };

    x.data = xalign((size_t)(rows * width) * dtype_size(t));
    for (int64_t i = 0; i < rows * width; i++)
        element_store(x.data, t, i, uniform());
    return x;
}

static double sgemm_rate(void)
{
    static float *a, *b, *c;
    double start;

    if (!a) {
        a = random_tensor(DTYPE_FP32, SGEMM, SGEMM).data;
        b = random_tensor(DTYPE_FP32, SGEMM, SGEMM).data;
        c = random_tensor(DTYPE_FP32, SGEMM, SGEMM).data;
    }
    start = seconds();
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, SGEMM, SGEMM, SGEMM,
                1, a, SGEMM, b, SGEMM, 0, c, SGEMM);
    return 2.0 * SGEMM * SGEMM * SGEMM / (seconds() - start);
}

static void free_all(struct attend_args *a)
{
    struct tensor *all[] = { &a->q, &a->k, &a->v, &a->o, &a->lse, &a->d_o,
                             &a->delta, &a->dq, &a->dk, &a->dv };

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]->data);
}

/* Returns the sgemm rate around it. */
static double bench_run(struct bench_case *c, int64_t n, int round,
                        double sgemm)
{
    struct segment s = { 0, n, 0, n, c->causal ? 0 : BAND_LOW, BAND_HIGH };
    int64_t d = c->width;
    struct attend_args a = {
        .q = random_tensor(c->dtype, n, d), .k = random_tensor(c->dtype, n, d),
        .v = random_tensor(c->dtype, n, d), .o = random_tensor(c->dtype, n, d),
        .lse = random_tensor(DTYPE_FP32, n, 1), .store = 1,
        .d_o = random_tensor(c->dtype, n, d),
        .delta = random_tensor(DTYPE_FP32, n, 1),
        .dq = random_tensor(c->dtype, n, d),
        .dk = random_tensor(c->dtype, n, d),
        .dv = random_tensor(c->dtype, n, d),
        .store_dq = 1, .store_dk = 1, .store_dv = 1, .group = 1, .scale = 0.1f,
        .segments = &s, .n_segments = 1,
    };
    double pairs = c->causal ? 0.5 * (double)n * (double)(n + 1)
                             : (double)n * (double)n;
    double start = seconds(), middle, end;

    cpu_isa_get(0)->attend(&a);
    middle = seconds();
    cpu_isa_get(0)->delta(a.o, a.d_o, a.delta);
    cpu_isa_get(0)->attend_backward(&a);
    end = seconds();
    sgemm = (sgemm + sgemm_rate()) / 2;
    c->forward[round] = 4 * (double)d * pairs / (middle - start);
    c->backward[round] = 10 * (double)d * pairs / (end - middle);
    c->forward_ratio[round] = c->forward[round] / sgemm;
    c->backward_ratio[round] = c->backward[round] / sgemm;
    free_all(&a);
    return sgemm;
}

int main(int argc, char **argv)
{
    static struct bench_case cases[] = {
        { .dtype = DTYPE_FP32, .width = 128, .causal = 1 },
        { .dtype = DTYPE_FP32, .width = 128, .causal = 0 },
        { .dtype = DTYPE_FP32, .width = 64, .causal = 1 },
        { .dtype = DTYPE_FP32, .width = 64, .causal = 0 },
        { .dtype = DTYPE_BF16, .width = 128, .causal = 1 },
        { .dtype = DTYPE_BF16, .width = 128, .causal = 0 },
    };
    int n_cases = sizeof cases / sizeof cases[0];
    int rounds = argc > 1 ? atoi(argv[1]) : 7;
    int64_t length = argc > 2 ? atoll(argv[2]) : 4096;
    static double sgemm[MAX_ROUNDS * 9];
    int n_sgemm = 0;

    if (rounds < 1 || rounds > MAX_ROUNDS || length < 1) {
        fprintf(stderr, "bench_kernel [rounds 1..%d [length]]\n", MAX_ROUNDS);
        return 2;
    }
    openblas_set_num_threads(1);
    sgemm_rate();
    for (int r = 0; r < rounds; r++)
        for (int i = 0; i < n_cases; i++)
            sgemm[n_sgemm++] = bench_run(&cases[i], length, r, sgemm_rate());
    printf("kernels %s; sgemm %d^3 by OpenBLAS (%s): %.1f Gflop/s; "
           "S = %lld, one head, one core, median of %d\n",
           cpu_isa_get(0)->name, SGEMM, openblas_get_corename(),
           median(sgemm, n_sgemm) * 1e-9, (long long)length, rounds);
    printf("%-6s %4s %-7s %18s %18s\n", "dtype", "D", "mask",
           "forward", "backward");
    for (int i = 0; i < n_cases; i++) {
        struct bench_case *c = &cases[i];

        printf("%-6s %4lld %-7s %7.1f Gf/s %4.0f %% %7.1f Gf/s %4.0f %%\n",
               dtype_name(c->dtype), (long long)c->width,
               c->causal ? "causal" : "full",
               median(c->forward, rounds) * 1e-9,
               median(c->forward_ratio, rounds) * 100,
               median(c->backward, rounds) * 1e-9,
               median(c->backward_ratio, rounds) * 100);
    }
    return 0;
}
