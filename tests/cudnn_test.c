/* SPDX-License-Identifier: Apache-2.0
 *
 * The cuDNN backend against the reference backend (fp64), call by call, by the
 * gate of doc/interface.md; prints TAP and needs no test library, so that it
 * can be built on a GPU host (scripts/gpu-cudnn).  Skipped without cuDNN or
 * without a device. */
#include <config.h>

#include <stdio.h>

#ifndef HAVE_CUDNN
int main(void)
{
    printf("1..0 # SKIP built without cuDNN\n");
    return 0;
}
#else

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/cudnn_backend.h"
#include "tests/cudnn_plain.h"

static struct tensor to_device(const struct tensor *t)
{
    struct error e;
    struct tensor d = *t;

    d.data = device_cuda.alloc(bytes_of(t), &e);
    if (!d.data)
        die("%s", e.text);
    device_cuda.put(d.data, t->data, bytes_of(t));
    return d;
}

/* ---- What is tried ----------------------------------------------------- */

enum { SEGMENTS = 4 };
enum { STORE = 1, ADD = 0 };
#define LOW BAND_LOW
#define HIGH BAND_HIGH

struct trial {
    const char *name;
    enum dtype type;
    int64_t n_q, n_k;
    int32_t heads, kv_heads, head_dim, value_dim;
    int store;
    enum dtype out;             /* of o and the gradients */
    int pad;
    int fused;                  /* is cuDNN to take it? */
    struct segment segments[SEGMENTS];
};

#define BF DTYPE_BF16
#define FP DTYPE_FP16
#define F32 DTYPE_FP32

static const struct trial trials[] = {
    { "full", BF, 256, 384, 4, 2, 128, 128, STORE, BF, 0, 1,
      {{ 0, 256, 0, 384, LOW, HIGH }} },
    { "full, one head a group, padded rows", BF, 200, 203, 3, 3, 128, 128,
      STORE, BF, 8, 1, {{ 0, 200, 0, 203, LOW, HIGH }} },
    { "causal", BF, 384, 384, 4, 1, 128, 128, STORE, BF, 8, 1,
      {{ 0, 384, 0, 384, 0, HIGH }} },
    { "causal, more queries than keys", BF, 301, 177, 4, 2, 128, 128, STORE, BF,
      0, 1, {{ 0, 301, 0, 177, 0, HIGH }} },
    { "strictly causal", BF, 300, 300, 4, 2, 128, 128, STORE, BF, 0, 1,
      {{ 1, 299, 0, 299, 0, HIGH }} },
    { "causal at the bottom right", BF, 200, 333, 4, 2, 128, 128, STORE, BF, 0,
      1, {{ 0, 200, 0, 333, -133, HIGH }} },
    { "causal by an offset", BF, 300, 333, 4, 2, 128, 128, STORE, BF, 0, 1,
      {{ 0, 300, 0, 333, -60, HIGH }} },
    { "window", BF, 333, 333, 4, 2, 128, 128, STORE, BF, 0, 1,
      {{ 0, 333, 0, 333, 0, 99 }} },
    { "window by an offset", BF, 400, 308, 4, 2, 128, 128, STORE, BF, 0, 1,
      {{ 0, 400, 0, 308, -10, 92 }} },
    { "end of a window", BF, 260, 260, 4, 2, 128, 128, STORE, BF, 0, 1,
      {{ 0, 260, 0, 260, LOW, 0 }} },
    { "added to fp32", BF, 300, 300, 4, 2, 128, 128, ADD, F32, 8, 1,
      {{ 0, 300, 0, 300, 0, HIGH }} },
    { "stored as fp32", BF, 300, 300, 4, 2, 128, 128, STORE, F32, 0, 1,
      {{ 0, 300, 0, 300, 0, HIGH }} },
    { "packed sequences, rows left over", BF, 400, 420, 3, 1, 128, 128, STORE,
      BF, 8, 1,
      {{ 10, 100, 0, 100, 0, HIGH }, { 120, 150, 110, 150, 0, HIGH },
       { 270, 128, 290, 128, 0, HIGH }} },
    { "packed sequences, added", BF, 250, 250, 4, 2, 128, 128, ADD, F32, 0, 1,
      {{ 0, 100, 0, 100, 0, HIGH }, { 100, 150, 100, 150, 0, HIGH }} },
    { "segments with rows in common, fp32", BF, 256, 256, 4, 2, 128, 128, STORE,
      F32, 0, 1,
      {{ 0, 250, 0, 64, LOW, HIGH }, { 64, 128, 64, 128, 0, HIGH },
       { 64, 150, 200, 40, LOW, HIGH }} },
    { "segments with rows in common, bf16", BF, 128, 128, 4, 2, 128, 128, STORE,
      BF, 0, 0,
      {{ 0, 128, 0, 64, LOW, HIGH }, { 64, 64, 64, 64, 0, HIGH }} },
    { "head size 64", BF, 384, 384, 4, 2, 64, 64, STORE, BF, 0, 1,
      {{ 0, 384, 0, 384, 0, HIGH }} },
    { "head sizes 96 and 64", BF, 200, 200, 2, 2, 96, 64, STORE, BF, 0, 1,
      {{ 0, 200, 0, 200, 0, HIGH }} },
    { "fp16, causal", FP, 384, 384, 4, 2, 128, 128, STORE, FP, 0, 1,
      {{ 0, 384, 0, 384, 0, HIGH }} },
    { "fp16, full, added", FP, 200, 203, 4, 2, 128, 128, ADD, F32, 8, 1,
      {{ 0, 200, 0, 203, LOW, HIGH }} },
    { "fp32", F32, 64, 64, 2, 1, 64, 64, STORE, F32, 0, 0,
      {{ 0, 64, 0, 64, 0, HIGH }} },
    { "few rows", BF, 16, 64, 2, 1, 64, 64, STORE, BF, 0, 0,
      {{ 0, 16, 0, 64, LOW, HIGH }} },
    { "rows not aligned", BF, 64, 64, 2, 1, 64, 64, STORE, BF, 3, 0,
      {{ 0, 64, 0, 64, 0, HIGH }} },
    { "head size 60", BF, 64, 64, 2, 1, 60, 60, STORE, BF, 0, 0,
      {{ 0, 64, 0, 64, 0, HIGH }} },
    { "nothing visible", BF, 64, 64, 2, 1, 64, 64, STORE, BF, 0, 0, {{ 0 }} },
};

/* ---- Results ------------------------------------------------------------ */

enum { O, LSE, DQ, DK, DV, RESULTS };

static struct tensor *result_of(struct attend_args *a, int i)
{
    return i == O ? &a->o : i == LSE ? &a->lse
           : i == DQ ? &a->dq : i == DK ? &a->dk : &a->dv;
}

static const char *const result_names[] = { "o", "lse", "dq", "dk", "dv" };

/* ---- A trial ------------------------------------------------------------- */

/* On the host, results NaN or, to be added to, random. */
static struct attend_args arguments(const struct trial *t)
{
    struct attend_args a = {
        .q = make_random(t->type, t->n_q, t->heads, t->head_dim, t->pad, 1),
        .k = make_random(t->type, t->n_k, t->kv_heads, t->head_dim, t->pad, 1),
        .v = make_random(t->type, t->n_k, t->kv_heads, t->value_dim, t->pad, 1),
        .d_o = make_random(t->type, t->n_q, t->heads, t->value_dim, t->pad, 1),
        .delta = make_random(F32, t->n_q, t->heads, 1, 0, 3),
        .o = make(t->out, t->n_q, t->heads, t->value_dim, t->pad),
        .lse = make(F32, t->n_q, t->heads, 1, 0),
        .dq = make(t->out, t->n_q, t->heads, t->head_dim, t->pad),
        .dk = make(t->out, t->n_k, t->kv_heads, t->head_dim, t->pad),
        .dv = make(t->out, t->n_k, t->kv_heads, t->value_dim, t->pad),
        .store = t->store, .store_dq = t->store, .store_dk = t->store,
        .store_dv = t->store, .group = t->heads / t->kv_heads,
        .scale = 1 / sqrtf((float)t->head_dim), .segments = t->segments,
    };

    while (a.n_segments < SEGMENTS && t->segments[a.n_segments].q_count)
        a.n_segments++;
    a.q.head_first = a.o.head_first = a.d_o.head_first = 3 * t->heads;
    a.k.head_first = a.v.head_first = 3 * t->kv_heads;
    if (!t->store)
        for (int i = 0; i < RESULTS; i++) {
            struct tensor *r = result_of(&a, i);
            int pad = (int)(r->row_stride - (int64_t)r->heads * r->width);

            free(r->data);
            *r = make_random(r->dtype, r->rows, r->heads, r->width, pad, 1);
        }
    return a;
}

/* The arguments with results (and, for fp64's sake, nothing else) of their own:
 * fp32 copies if these are added to, else zeros. */
static struct attend_args with_results(const struct attend_args *a, int zeros)
{
    struct attend_args b = *a;

    for (int i = 0; i < RESULTS; i++) {
        struct tensor *r = result_of(&b, i);

        *r = copy_as(r, F32);
        if (zeros)
            memset(r->data, 0, bytes_of(r));
    }
    return b;
}

/* Of all keys, of which those here are one part: lse of a softmax of more. */
static void set_global_lse(struct attend_args *a, const struct attend_args *of)
{
    for (int64_t r = 0; r < a->lse.rows; r++)
        for (int32_t h = 0; h < a->lse.heads; h++) {
            float lse = get(&of->lse, r, h, 0);

            put(&a->lse, r, h, 0, isfinite(lse) ? lse + 0.5f : 0);
        }
}

static void truth_of(struct attend_args *truth, int backward)
{
    if (backward)
        kernel_reference.attend_backward(truth);
    else
        kernel_reference.attend(truth);
}

/* Plain results of one call as a whole, rounded as its outputs are. */
static void plain_of(struct attend_args *plain, struct attend_args *start,
                     int backward)
{
    float *s = xcalloc((size_t)plain->k.rows + 1, sizeof *s);

    for (int64_t i = 0; i < plain->q.rows; i++)
        for (int32_t h = 0; h < plain->q.heads; h++)
            if (backward)
                plain_row_backward(plain, i, h);
            else
                plain_row(plain, i, h, s);
    free(s);
    for (int i = 0; i < RESULTS; i++) {
        struct tensor *r = result_of(plain, i), round;

        if (i == LSE || (i > LSE) != backward)
            continue;
        round = copy_as(r, plain->q.dtype);
        free(r->data);
        *r = copy_as(&round, F32);
        free(round.data);
    }
    if (start->store)
        return;
    if (!backward)
        kernel_reference.merge(plain->o, plain->lse, 0, &start->o, &start->lse,
                               1);
    for (int i = DQ; i < RESULTS && backward; i++)
        kernel_reference.sum(*result_of(plain, i), 0, result_of(start, i), 1);
}

static double worst_ratio;

/* 1 if every result of the pass keeps the gate. */
static int compare(struct attend_args *got, struct attend_args *truth,
                   struct attend_args *plain, int backward)
{
    int good = 1, small = got->q.dtype != F32;

    for (int i = backward ? DQ : O; i < (backward ? RESULTS : DQ); i++) {
        struct tensor *x = result_of(got, i);
        double e = error_of(result_of(plain, i), result_of(truth, i));
        double error = error_of(x, result_of(truth, i));
        double gate = small ? 2.5 * e + 1e-3 : fmax(1e-5, 4 * e);

        printf("#   %-3s error %.1e gate %.1e%s\n", result_names[i], error,
               gate, error <= gate ? "" : "  TOO LARGE");
        worst_ratio = fmax(worst_ratio, error / gate);
        good &= error <= gate && untouched_between_rows(x);
    }
    return good;
}

/* Run `kernel` on device copies of the arguments; the results come back into
 * *a. */
static int run(const struct kernel_backend *kernel, struct attend_args *a,
               int backward)
{
    struct tensor *all[] = { &a->q, &a->k, &a->v, &a->d_o, &a->delta, &a->o,
                             &a->lse, &a->dq, &a->dk, &a->dv };
    enum { ALL = sizeof all / sizeof *all };
    void *host[ALL];
    int fused;

    for (int i = 0; i < ALL; i++) {
        host[i] = all[i]->data;
        *all[i] = to_device(all[i]);
    }
    fused = cudnn_prepare(a, backward);
    if (backward)
        kernel->attend_backward(a);
    else
        kernel->attend(a);
    device_cuda.sync();
    for (int i = 0; i < ALL; i++) {
        device_cuda.get(host[i], all[i]->data, bytes_of(all[i]));
        device_cuda.free(all[i]->data);
        all[i]->data = host[i];
    }
    return fused;
}

static void free_results(struct attend_args *a)
{
    for (int i = 0; i < RESULTS; i++)
        free(result_of(a, i)->data);
}

static int pass(const struct trial *t, struct attend_args *a, int backward)
{
    struct attend_args truth = with_results(a, 0), plain = with_results(a, 1);
    int good, fused;

    if (backward) {
        memcpy(plain.lse.data, a->lse.data, bytes_of(&a->lse));
        memcpy(truth.lse.data, a->lse.data, bytes_of(&a->lse));
    }
    truth_of(&truth, backward);
    plain_of(&plain, a, backward);
    fused = run(&kernel_cudnn, a, backward);
    good = compare(a, &truth, &plain, backward);
    if (fused != t->fused)
        printf("#   cuDNN takes it: %d, not %d\n", fused, t->fused);
    if (!backward)
        set_global_lse(a, &truth);
    free_results(&truth);
    free_results(&plain);
    return good && fused == t->fused;
}

static int try(const struct trial *t)
{
    struct attend_args a = arguments(t);
    int forward, backward;

    printf("# %s\n", t->name);
    forward = pass(t, &a, 0);
    backward = pass(t, &a, 1);
    free_results(&a);
    free(a.q.data);
    free(a.k.data);
    free(a.v.data);
    free(a.d_o.data);
    free(a.delta.data);
    return forward && backward;
}

int main(void)
{
    enum { TRIALS = sizeof trials / sizeof *trials };
    int failed = 0;
    struct error e;

    if (device_cuda.count() == 0) {
        printf("1..0 # SKIP no CUDA device\n");
        return 0;
    }
    if (device_cuda.open(0, &e) || kernel_cudnn.available(&e))
        die("%s", e.text);
    printf("1..%d\n", TRIALS);
    for (int i = 0; i < TRIALS; i++) {
        int good = try(&trials[i]);

        printf("%sok %d - %s\n", good ? "" : "not ", i + 1, trials[i].name);
        fflush(stdout);
        failed += !good;
    }
    printf("# largest error / gate %.2f\n", worst_ratio);
    return failed != 0;
}

#endif
