/* SPDX-License-Identifier: Apache-2.0
 *
 * Rates of the cpu attention kernels as a share of this core's large-sgemm
 * rate: softmax attention, then linear attention op by op.  Clocks drift and
 * neighbours interfere, so time is the thread's own, every case is measured
 * between two sgemms and against their mean, round after round, and medians are
 * printed.  Only visible flops count: 4 D per visible pair forward, 10 D
 * backward; of linear attention what op_work() counts.
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
#include "schedule/schedule.h"

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

    cpu_isa_get(0)->kernels.attend(&a);
    middle = seconds();
    cpu_isa_get(0)->kernels.delta(a.o, a.d_o, a.delta);
    cpu_isa_get(0)->kernels.attend_backward(&a);
    end = seconds();
    sgemm = (sgemm + sgemm_rate()) / 2;
    c->forward[round] = 4 * (double)d * pairs / (middle - start);
    c->backward[round] = 10 * (double)d * pairs / (end - middle);
    c->forward_ratio[round] = c->forward[round] / sgemm;
    c->backward_ratio[round] = c->backward[round] / sgemm;
    free_all(&a);
    return sgemm;
}

/* ---- Linear attention, fp32, D = E = LINEAR_WIDTH, ALiBi decay ----------- */

enum { LINEAR_WIDTH = 128, LINEAR_HEADS = 8 };
enum linear_op { STATE, INTRA, INTER, FORWARD, STATE_BACKWARD, INTRA_BACKWARD,
                 INTER_DQ, INTER_DKV, BACKWARD, LINEAR_OPS };
static const char *const linear_names[] = {
    "state", "intra", "inter", "total", "state", "intra", "inter dq",
    "inter dk dv", "total",
};

struct linear_case {
    int64_t n;
    double rate[LINEAR_OPS][MAX_ROUNDS], ratio[LINEAR_OPS][MAX_ROUNDS];
};

/* Of one head, as op_work() counts. */
static double linear_flops(enum linear_op op, int64_t n)
{
    double D = LINEAR_WIDTH, rows = (double)n, B = LINEAR_BLOCK;
    double tail = (double)(n % LINEAR_BLOCK), carried = rows > B ? rows - B : 0;
    double pairs = (double)(n / LINEAR_BLOCK) * B * (B + 1) / 2
                   + tail * (tail + 1) / 2;

    if (op == INTRA)
        return 4 * D * pairs + 4 * D * D * carried;
    if (op == INTRA_BACKWARD)
        return 10 * D * pairs + 10 * D * D * carried;
    return (op == INTER_DKV ? 4 : 2) * D * D * rows;
}

static void linear_call(const struct linear_args *a, enum linear_op op)
{
    const struct kernel_backend *isa = &cpu_isa_get(0)->kernels;
    void (*const calls[LINEAR_OPS])(const struct linear_args *) = {
        [INTRA] = isa->linear_intra, [INTER] = isa->linear_inter,
        [INTRA_BACKWARD] = isa->linear_intra_backward,
        [INTER_DQ] = isa->linear_inter_dq,
        [INTER_DKV] = isa->linear_inter_dkv,
    };

    if (calls[op])
        calls[op](a);
    else
        isa->state(a, op == STATE_BACKWARD);
}

static struct tensor random_heads(int64_t rows, int64_t width)
{
    struct tensor t = random_tensor(DTYPE_FP32, rows, width * LINEAR_HEADS);

    t.heads = LINEAR_HEADS;
    t.width = (int32_t)width;
    return t;
}

/* The ops of a pass, [first, total), and their total. */
static void linear_pass(struct linear_case *c, const struct linear_args *a,
                        int round, enum linear_op first, enum linear_op total)
{
    double seconds_of[LINEAR_OPS] = { 0 }, flops[LINEAR_OPS] = { 0 };
    double sgemm = sgemm_rate();

    for (enum linear_op op = first; op < total; op++) {
        double start = seconds();

        linear_call(a, op);
        seconds_of[op] = seconds() - start;
        flops[op] = LINEAR_HEADS * linear_flops(op, c->n);
        seconds_of[total] += seconds_of[op];
        flops[total] += flops[op];
    }
    sgemm = (sgemm + sgemm_rate()) / 2;
    for (enum linear_op op = first; op <= total; op++) {
        c->rate[op][round] = flops[op] / seconds_of[op];
        c->ratio[op][round] = c->rate[op][round] / sgemm;
    }
}

static void linear_run(struct linear_case *c, int round)
{
    int64_t n = c->n, d = LINEAR_WIDTH;
    double slopes[LINEAR_HEADS];
    struct linear_args a = {
        .q = random_heads(n, d), .k = random_heads(n, d),
        .v = random_heads(n, d), .d_o = random_heads(n, d),
        .o = random_heads(n, d), .dq = random_heads(n, d),
        .dk = random_heads(n, d), .dv = random_heads(n, d),
        .state = random_heads(1, d * d), .group = 1, .slopes = slopes,
    };
    struct tensor *all[] = { &a.q, &a.k, &a.v, &a.d_o, &a.o, &a.dq, &a.dk,
                             &a.dv, &a.state };

    alibi_slopes(LINEAR_HEADS, slopes);
    linear_pass(c, &a, round, STATE, FORWARD);
    linear_pass(c, &a, round, STATE_BACKWARD, BACKWARD);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]->data);
}

static void bench_linear(int rounds, int64_t length)
{
    static struct linear_case cases[2];

    cases[0].n = length;
    cases[1].n = 1213;
    for (int r = 0; r < rounds; r++)
        for (int i = 0; i < 2; i++)
            linear_run(&cases[i], r);
    for (int i = 0; i < 2; i++) {
        printf("\nlinear attention, fp32, D = E = %d, S = %lld, %d heads\n",
               LINEAR_WIDTH, (long long)cases[i].n, LINEAR_HEADS);
        for (int op = 0; op < LINEAR_OPS; op++)
            printf("%-8s %-12s %7.1f Gf/s %4.0f %%\n",
                   op <= FORWARD ? "forward" : "backward",
                   linear_names[op],
                   median(cases[i].rate[op], rounds) * 1e-9,
                   median(cases[i].ratio[op], rounds) * 100);
    }
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
           cpu_isa_get(0)->kernels.name, SGEMM, openblas_get_corename(),
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
    bench_linear(rounds, length);
    return 0;
}
