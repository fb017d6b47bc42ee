/* SPDX-License-Identifier: Apache-2.0
 *
 * The cuDNN backend against the reference backend (fp64), call by call, by the
 * gate of doc/interface.md, and that its repeatable form is.  Prints TAP.
 * Skipped without cuDNN or without a device. */
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
enum fused { NEITHER, ONE_WAY, BACK, BOTH };    /* bits */
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
    enum fused fused;           /* the passes that cuDNN is to take */
    struct segment segments[SEGMENTS];
};

#define BF DTYPE_BF16
#define FP DTYPE_FP16
#define F32 DTYPE_FP32

static const struct trial trials[] = {
    { "full", BF, 256, 384, 4, 2, 128, 128, STORE, BF, 0, BOTH,
      {{ 0, 256, 0, 384, LOW, HIGH }} },
    { "full, one head a group, padded rows", BF, 200, 203, 3, 3, 128, 128,
      STORE, BF, 8, BOTH, {{ 0, 200, 0, 203, LOW, HIGH }} },
    { "causal", BF, 384, 384, 4, 1, 128, 128, STORE, BF, 8, BOTH,
      {{ 0, 384, 0, 384, 0, HIGH }} },
    { "causal, many tiles", BF, 777, 777, 2, 1, 128, 128, STORE, BF, 0, BOTH,
      {{ 0, 777, 0, 777, 0, HIGH }} },
    { "causal, more queries than keys", BF, 301, 177, 4, 2, 128, 128, STORE, BF,
      0, BOTH, {{ 0, 301, 0, 177, 0, HIGH }} },
    { "strictly causal", BF, 300, 300, 4, 2, 128, 128, STORE, BF, 0, BOTH,
      {{ 1, 299, 0, 299, 0, HIGH }} },
    { "causal at the bottom right", BF, 200, 333, 4, 2, 128, 128, STORE, BF, 0,
      BOTH, {{ 0, 200, 0, 333, -133, HIGH }} },
    { "causal by an offset", BF, 300, 333, 4, 2, 128, 128, STORE, BF, 0, BOTH,
      {{ 0, 300, 0, 333, -60, HIGH }} },
    { "window", BF, 333, 333, 4, 2, 128, 128, STORE, BF, 0, BOTH,
      {{ 0, 333, 0, 333, 0, 99 }} },
    { "window by an offset", BF, 400, 308, 4, 2, 128, 128, STORE, BF, 0, BOTH,
      {{ 0, 400, 0, 308, -10, 92 }} },
    { "end of a window", BF, 260, 260, 4, 2, 128, 128, STORE, BF, 0, BOTH,
      {{ 0, 260, 0, 260, LOW, 0 }} },
    { "added to fp32", BF, 300, 300, 4, 2, 128, 128, ADD, F32, 8, BOTH,
      {{ 0, 300, 0, 300, 0, HIGH }} },
    { "stored as fp32", BF, 300, 300, 4, 2, 128, 128, STORE, F32, 0, BOTH,
      {{ 0, 300, 0, 300, 0, HIGH }} },
    { "packed sequences, rows left over", BF, 400, 420, 3, 1, 128, 128, STORE,
      BF, 8, BOTH,
      {{ 10, 100, 0, 100, 0, HIGH }, { 120, 150, 110, 150, 0, HIGH },
       { 270, 128, 290, 128, 0, HIGH }} },
    { "packed sequences, added", BF, 250, 250, 4, 2, 128, 128, ADD, F32, 0,
      BOTH,
      {{ 0, 100, 0, 100, 0, HIGH }, { 100, 150, 100, 150, 0, HIGH }} },
    { "segments with rows in common, fp32", BF, 256, 256, 4, 2, 128, 128, STORE,
      F32, 0, BOTH,
      {{ 0, 250, 0, 64, LOW, HIGH }, { 64, 128, 64, 128, 0, HIGH },
       { 64, 150, 200, 40, LOW, HIGH }} },
    { "queries in common, bf16", BF, 128, 128, 4, 2, 128, 128, STORE, BF, 0,
      BACK,
      {{ 0, 128, 0, 64, LOW, HIGH }, { 64, 64, 64, 64, 0, HIGH }} },
    { "queries of three in common, bf16", BF, 128, 192, 4, 2, 128, 128, STORE,
      BF, 0, NEITHER,
      {{ 0, 128, 0, 64, LOW, HIGH }, { 64, 64, 64, 64, 0, HIGH },
       { 32, 64, 128, 64, LOW, HIGH }} },
    { "keys in common, bf16", BF, 256, 512, 4, 2, 128, 128, STORE, BF, 8,
      ONE_WAY,
      {{ 0, 128, 0, 256, -128, HIGH }, { 128, 128, 0, 300, -172, HIGH }} },
    { "causal, keys that all see apart", BF, 1030, 2100, 2, 1, 64, 64, STORE,
      BF, 8, BOTH, {{ 0, 1030, 0, 2100, -1070, HIGH }} },
    { "the same, added", BF, 1030, 2100, 1, 1, 64, 64, ADD, F32, 0, BOTH,
      {{ 0, 1030, 0, 2100, -1070, HIGH }} },
    { "head size 64", BF, 384, 384, 4, 2, 64, 64, STORE, BF, 0, BOTH,
      {{ 0, 384, 0, 384, 0, HIGH }} },
    { "head sizes 96 and 64", BF, 200, 200, 2, 2, 96, 64, STORE, BF, 0, BOTH,
      {{ 0, 200, 0, 200, 0, HIGH }} },
    { "fp16, causal", FP, 384, 384, 4, 2, 128, 128, STORE, FP, 0, BOTH,
      {{ 0, 384, 0, 384, 0, HIGH }} },
    { "fp16, full, added", FP, 200, 203, 4, 2, 128, 128, ADD, F32, 8, BOTH,
      {{ 0, 200, 0, 203, LOW, HIGH }} },
    { "fp32", F32, 64, 64, 2, 1, 64, 64, STORE, F32, 0, NEITHER,
      {{ 0, 64, 0, 64, 0, HIGH }} },
    { "few rows", BF, 16, 64, 2, 1, 64, 64, STORE, BF, 0, NEITHER,
      {{ 0, 16, 0, 64, LOW, HIGH }} },
    { "rows not aligned", BF, 64, 64, 2, 1, 64, 64, STORE, BF, 3, NEITHER,
      {{ 0, 64, 0, 64, 0, HIGH }} },
    { "head size 60", BF, 64, 64, 2, 1, 60, 60, STORE, BF, 0, NEITHER,
      {{ 0, 64, 0, 64, 0, HIGH }} },
    { "nothing visible", BF, 64, 64, 2, 1, 64, 64, STORE, BF, 0, NEITHER,
      {{ 0 }} },
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

/* The arguments with results of their own, as they are. */
static struct attend_args with_copies(const struct attend_args *a)
{
    struct attend_args b = *a;

    for (int i = 0; i < RESULTS; i++) {
        struct tensor *r = result_of(&b, i);
        void *data = xmalloc(bytes_of(r));

        memcpy(data, r->data, bytes_of(r));
        r->data = data;
    }
    return b;
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

/* Forms of a pass; OWN: of the cuda backend. */
enum form { OWN, FORWARD, WITH_DELTA, WITH_OUTPUT, REPEATABLE, OWN_BACKWARD,
            FORMS };
static const char *const form_names[FORMS] = {
    "forward by cuda", "forward", "backward by delta", "backward by o",
    "backward, repeatable", "backward by cuda",
};

static int is_own(enum form form)
{
    return form == OWN || form == OWN_BACKWARD;
}

/* Run the form on device copies of the arguments; the results come back into
 * *a.  Why cuDNN did not do it; NULL. */
static const char *run(struct attend_args *a, enum form form)
{
    struct tensor *all[] = { &a->q, &a->k, &a->v, &a->d_o, &a->delta, &a->o,
                             &a->lse, &a->dq, &a->dk, &a->dv };
    enum { ALL = sizeof all / sizeof *all };
    void *host[ALL], *device[ALL];
    const struct kernel_backend *k = is_own(form) ? &kernel_cuda
        : form == REPEATABLE ? kernel_repeatable(&kernel_cudnn) : &kernel_cudnn;
    int backward = form > FORWARD;
    const char *why;

    for (int i = 0; i < ALL; i++) {
        host[i] = all[i]->data;
        *all[i] = to_device(all[i]);
        device[i] = all[i]->data;
    }
    if (backward && form != WITH_OUTPUT)
        a->o.data = NULL;
    why = k->leaves ? k->leaves(a, backward) : "nothing";
    if (backward)
        k->attend_backward(a);
    else
        k->attend(a);
    device_cuda.sync();
    for (int i = 0; i < ALL; i++) {
        device_cuda.get(host[i], device[i], bytes_of(all[i]));
        device_cuda.free(device[i]);
        all[i]->data = host[i];
    }
    return why;
}

static void free_results(struct attend_args *a)
{
    for (int i = 0; i < RESULTS; i++)
        free(result_of(a, i)->data);
}

/* An output of which delta is the row sums, which change. */
static void set_output(struct attend_args *a)
{
    free(a->o.data);
    a->o = make_random(a->q.dtype, a->q.rows, a->q.heads, a->v.width, 0, 1);
    a->o.head_first = a->q.head_first;
    kernel_reference.delta(a->o, a->d_o, a->delta);
}

static int pass(const struct trial *t, struct attend_args *a, enum form form)
{
    int backward = form > FORWARD;
    int fused = !is_own(form)
        && (t->fused & (backward ? BACK : ONE_WAY)) != 0;

    if (form == WITH_OUTPUT)
        set_output(a);

    struct attend_args truth = with_results(a, 0), plain = with_results(a, 1);
    struct attend_args got = with_copies(a);
    if (backward) {
        memcpy(plain.lse.data, a->lse.data, bytes_of(&a->lse));
        memcpy(truth.lse.data, a->lse.data, bytes_of(&a->lse));
    }
    truth_of(&truth, backward);
    plain_of(&plain, a, backward);
    const char *why = run(&got, form);
    printf("#  %s%s%s\n", form_names[form], why ? ", cuDNN not: " : "",
           why ? why : "");
    int good = compare(&got, &truth, &plain, backward);
    if ((why == NULL) != fused)
        printf("#   cuDNN takes it: %d, not %d\n", !why, fused);
    if (form == FORWARD)
        set_global_lse(a, &truth);
    free_results(&truth);
    free_results(&plain);
    free_results(&got);
    return good && (why == NULL) == fused;
}

static void free_arguments(struct attend_args *a)
{
    free_results(a);
    free(a->q.data);
    free(a->k.data);
    free(a->v.data);
    free(a->d_o.data);
    free(a->delta.data);
}

static int try(const struct trial *t)
{
    struct attend_args a = arguments(t);
    int good = 1;

    printf("# %s\n", t->name);
    for (enum form f = OWN; f < FORMS; f++)
        good &= pass(t, &a, f);
    free_arguments(&a);
    return good;
}

/* ---- The same bits ------------------------------------------------------- */

/* Enough blocks of keys that they finish in another order every time. */
static const struct trial many_blocks = {
    "repeatable", BF, 4096, 4096, 8, 2, 128, 128, STORE, BF, 0, BOTH,
    {{ 0, 4096, 0, 4096, 0, HIGH }}
};

static int same_gradients(struct attend_args *a, enum form form, int runs)
{
    struct attend_args first = with_copies(a);
    int same = 1;

    run(&first, form);
    for (int n = 1; n < runs; n++) {
        struct attend_args again = with_copies(a);

        run(&again, form);
        for (int i = DQ; i < RESULTS; i++)
            same &= !memcmp(result_of(&again, i)->data,
                            result_of(&first, i)->data,
                            bytes_of(result_of(&first, i)));
        free_results(&again);
    }
    free_results(&first);
    return same;
}

static int is_repeatable(void)
{
    struct attend_args a = arguments(&many_blocks);
    int same;

    for (int64_t r = 0; r < a.lse.rows; r++)
        for (int32_t h = 0; h < a.lse.heads; h++)
            put(&a.lse, r, h, 0, 8);
    same = same_gradients(&a, REPEATABLE, 4);
    printf("# 4 times the same bits: %d; not asked for: %d\n", same,
           same_gradients(&a, WITH_DELTA, 4));
    free_arguments(&a);
    return same;
}

/* cudnn.t [FIRST STEP]: every STEP-th trial, for several processes at once; the
 * last is is_repeatable(). */
int main(int argc, char **argv)
{
    enum { TRIALS = sizeof trials / sizeof *trials };
    int first = argc > 1 ? atoi(argv[1]) : 0;
    int step = argc > 2 ? atoi(argv[2]) : 1;
    int failed = 0, n = 0;
    struct error e;

    if (device_cuda.count() == 0) {
        printf("1..0 # SKIP no CUDA device\n");
        return 0;
    }
    if (device_cuda.open(0, &e) || kernel_cudnn.available(&e))
        die("%s", e.text);
    for (int i = first; i <= TRIALS; i += step) {
        int good = i < TRIALS ? try(&trials[i]) : is_repeatable();

        printf("%sok %d - %s\n", good ? "" : "not ", ++n,
               i < TRIALS ? trials[i].name : many_blocks.name);
        fflush(stdout);
        failed += !good;
    }
    printf("1..%d\n# largest error / gate %.2f\n", n, worst_ratio);
    return failed != 0;
}

#endif
