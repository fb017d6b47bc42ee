/* SPDX-License-Identifier: Apache-2.0
 *
 * Verification of every kind of job: it accepts results written down anew and
 * nothing that is a little wrong. */
#include <config.h>

#include "run/verify.h"
#include "tests/brute.h"

#define COUNT(a) ((int64_t)(sizeof(a) / sizeof *(a)))

static const double slopes[] = { 0.02, 0.4, 0, 1.5 };

/* One attention problem twice: as a job, and as brute force knows it. */
struct kind {
    const char *name;
    struct brute brute;
    enum mask_kind mask;
    enum pass pass;
    enum dtype dtype;
    const char *pattern;
    int64_t layer, queries;
};

static const struct kind kinds[] = {
    { .name = "softmax", .pass = PASS_FORWARD_BACKWARD, .mask = MASK_CAUSAL,
      .brute = { 4, 2, 5, 3, { 4, 9 }, .left = -1 } },
    { .name = "linear", .pass = PASS_FORWARD_BACKWARD, .mask = MASK_CAUSAL,
      .brute = { 4, 2, 5, 3, { 4, 9 }, .left = -1, .linear = 1,
                 .feature = "elu1", .slopes = slopes } },
    { .name = "linear relu", .pass = PASS_FORWARD_BACKWARD, .mask = MASK_FULL,
      .brute = { 4, 2, 5, 3, { 11 }, .left = -1, .right = -1, .linear = 1,
                 .feature = "relu" } },
    { .name = "star", .mask = MASK_STAR, .queries = 4,
      .brute = { 4, 2, 8, 6, { 40 }, .left = -1, .block = 9, .anchor = 5,
                 .context = 36 } },
    { .name = "decode", .pass = PASS_DECODE, .mask = MASK_CAUSAL, .queries = 3,
      .brute = { 4, 2, 8, 6, { 40 }, .left = -1 } },
    { .name = "decode, full", .pass = PASS_DECODE, .mask = MASK_FULL,
      .queries = 3,
      .brute = { 4, 2, 8, 6, { 40 }, .left = -1, .right = -1 } },
    { .name = "layer L", .pattern = "SL", .layer = 1, .mask = MASK_CAUSAL,
      .brute = { 4, 2, 8, 6, { 40 }, .left = -1, .linear = 1 } },
    { .name = "layer S", .pattern = "LS", .layer = 1, .mask = MASK_CAUSAL,
      .brute = { 4, 2, 8, 6, { 40 }, .left = -1 } },
    { .name = "bf16", .dtype = DTYPE_BF16, .mask = MASK_CAUSAL,
      .brute = { 4, 2, 8, 6, { 40 }, .left = -1, .linear = 1,
                 .slopes = slopes } },
};

struct bench {
    const struct kind *kind;
    struct brute b;
    struct job job;
    float *x[RESULTS];
    int64_t n[RESULTS];
};

/* Inputs as a job reads them; in decode only the queries have a q. */
static void bench_row(void *arg, enum tensor_name tensor, int64_t token,
                      int64_t head, int64_t width, float *out)
{
    const struct bench *t = arg;
    const double *x = tensor == TENSOR_Q ? t->b.q : tensor == TENSOR_K ? t->b.k
                      : tensor == TENSOR_V ? t->b.v : t->b.d_o;

    if (tensor == TENSOR_Q && token < job_first_query(&t->job))
        fail_msg("%s: q of token %lld", t->kind->name, (long long)token);
    x += (token * tensor_heads(&t->job, tensor) + head) * width;
    for (int64_t i = 0; i < width; i++)
        out[i] = (float)x[i];
}

static void bench_job(struct bench *t)
{
    const struct kind *k = t->kind;
    struct job *job = &t->job;
    struct error e = { 0 };
    int64_t n = 0;

    *job = (struct job){
        .transformer = { .heads = t->b.heads, .kv_heads = t->b.kv_heads,
                         .head_dim = t->b.D, .value_dim = t->b.E },
        .mask.kind = k->mask == MASK_STAR ? MASK_CAUSAL : k->mask,
        .pass = k->pass, .dtype = k->dtype, .queries = k->queries,
        .attention = t->b.linear && !k->pattern ? ATTENTION_LINEAR
                                                : ATTENTION_SOFTMAX };
    while (n < 4 && t->b.lengths[n])
        n++;
    if (job_finish(job, t->b.lengths, n, &e))
        fail_msg("%s", e.text);
    job->mask.kind = k->mask;
    job->star = (struct star){ t->b.block, t->b.anchor, t->b.context };
    if (k->pattern)
        job->pattern = strdup(k->pattern);
    for (enum feature f = 0; t->b.feature && f < FEATURES; f++)
        if (strcmp(feature_names[f], t->b.feature) == 0)
            job->linear.feature = f;
    if (t->b.slopes) {
        job->linear.slopes = malloc(sizeof slopes);
        memcpy(job->linear.slopes, slopes, sizeof slopes);
    }
}

/* The inputs are what is left of them in 16 bits. */
static void bench_round(struct bench *t)
{
    double *x[] = { t->b.q, t->b.k, t->b.v };
    int64_t row[] = { t->b.heads * t->b.D, t->b.kv_heads * t->b.D,
                      t->b.kv_heads * t->b.E };
    uint16_t half[1];

    for (int k = 0; t->job.dtype != DTYPE_FP32 && k < 3; k++)
        for (int64_t i = 0; i < t->job.tokens * row[k]; i++) {
            element_store(half, t->job.dtype, 0, (float)x[k][i]);
            x[k][i] = (double)element_load(half, t->job.dtype, 0);
        }
}

static void bench_results(struct bench *t)
{
    int backward = job_has_backward(&t->job);
    double *inputs[] = { t->b.q, t->b.k, t->b.v };
    double *o = xcalloc((size_t)t->b.E, sizeof *o), lse;

    for (int r = 0; r < (backward ? RESULTS : 2); r++) {
        t->n[r] = t->job.tokens * tensor_heads(&t->job, result_tensors[r])
                  * tensor_width(&t->job, result_tensors[r]);
        t->x[r] = malloc((size_t)t->n[r] * sizeof(float));
        memset(t->x[r], 0xff, (size_t)t->n[r] * sizeof(float));     /* NaN */
    }
    for (int64_t i = job_first_query(&t->job) * t->b.heads;
         i < t->job.tokens * t->b.heads; i++) {
        brute_row(&t->b, i / t->b.heads, i % t->b.heads, o, &lse);
        t->x[RESULT_LSE][i] = (float)lse;
        for (int64_t x = 0; x < t->b.E; x++)
            t->x[RESULT_O][i * t->b.E + x] = (float)o[x];
    }
    for (int r = RESULT_DQ; backward && r < RESULTS; r++)
        for (int64_t i = 0; i < t->n[r]; i++)
            t->x[r][i] = (float)brute_slope(&t->b,
                                            inputs[r - RESULT_DQ] + i);
    if (t->b.linear) {
        free(t->x[RESULT_LSE]);
        t->x[RESULT_LSE] = NULL;
    }
    free(o);
}

static void bench_create(struct bench *t, const struct kind *kind)
{
    *t = (struct bench){ .kind = kind, .b = kind->brute };
    brute_fill(&t->b);
    bench_job(t);
    bench_round(t);
    bench_results(t);
}

static void bench_destroy(struct bench *t)
{
    for (int r = 0; r < RESULTS; r++)
        free(t->x[r]);
    job_clear(&t->job);
    brute_free(&t->b);
}

static struct verify *bench_verify(struct bench *t, enum verify_mode mode)
{
    return verify_create(&t->job, t->kind->layer, mode, bench_row, t, 7);
}

static struct verdict judge(const struct verify *v, const struct bench *t)
{
    struct verdict verdict;

    verify_results(v, (const float *const *)t->x, &verdict);
    return verdict;
}

/* One element of each tensor a little off, or NaN: its last one. */
static void notices_damage(const struct verify *v, struct bench *t)
{
    for (int r = 0; r < RESULTS; r++) {
        if (!t->x[r])
            continue;
        float *last = &t->x[r][t->n[r] - 1], old = *last;
        *last = old + (t->job.dtype == DTYPE_FP32 ? 0.01f : 2.f);
        if (judge(v, t).passed)
            fail_msg("%s: %s is wrong and passed", t->kind->name,
                     result_names[r]);
        *last = NAN;
        assert_false(judge(v, t).passed);
        *last = old;
    }
}

/* A wrong yardstick would open the gates wide. */
static void gates_are_narrow(const struct bench *t, const struct verdict *v)
{
    double most = t->job.dtype == DTYPE_FP32 ? 1e-4 : 0.02;

    for (int r = 0; r < RESULTS; r++)
        if (t->x[r] && !(v->gate[r] <= most))
            fail_msg("%s: the gate of %s is %g", t->kind->name,
                     result_names[r], v->gate[r]);
}

/* Elements of results that are there to be compared. */
static int64_t comparable(const struct bench *t)
{
    int64_t n = 0;

    for (int r = 0; r < RESULTS; r++)
        if (t->x[r])
            n += t->n[r] / t->job.tokens
                 * (t->job.tokens - job_first_query(&t->job));
    return n;
}

static void accepts_right_and_nothing_else(void **state)
{
    (void)state;
    for (int i = 0; i < COUNT(kinds); i++)
        for (int mode = VERIFY_FULL; mode <= VERIFY_SAMPLED; mode++) {
            struct bench t;
            bench_create(&t, &kinds[i]);
            struct verify *v = bench_verify(&t, (enum verify_mode)mode);
            struct verdict verdict = judge(v, &t);
            if (!verdict.passed)
                fail_msg("%s: o is off by %g, gate %g", t.kind->name,
                         verdict.error[RESULT_O], verdict.gate[RESULT_O]);
            assert_int_equal(verdict.compared, comparable(&t));
            gates_are_narrow(&t, &verdict);
            notices_damage(v, &t);
            verify_destroy(v);
            bench_destroy(&t);
        }
}

/* A result is not optional, but for the lse of linear attention. */
static void misses_what_is_missing(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct bench t;
        bench_create(&t, &kinds[i]);
        struct verify *v = bench_verify(&t, VERIFY_FULL);
        for (int r = 0; r < RESULTS; r++) {
            float *x = t.x[r];
            t.x[r] = NULL;
            assert_int_equal(judge(v, &t).passed,
                             t.b.linear && r == RESULT_LSE);
            t.x[r] = x;
        }
        verify_destroy(v);
        bench_destroy(&t);
    }
}

/* A third of 3000 rows is looked at: the eight of the query part among them. */
static void star_samples_its_queries(void **state)
{
    static const struct kind kind = {
        .name = "long star", .mask = MASK_STAR, .queries = 8,
        .brute = { 1, 1, 4, 4, { 3000 }, .left = -1, .block = 500,
                   .anchor = 100, .context = 2992 } };
    struct bench t;

    (void)state;
    bench_create(&t, &kind);
    struct verify *v = bench_verify(&t, VERIFY_SAMPLED);
    assert_true(judge(v, &t).passed);
    assert_true(judge(v, &t).compared < 9000);
    for (int64_t i = 2992; i < 3000; i++) {
        t.x[RESULT_O][i * 4] += 0.01f;
        assert_false(judge(v, &t).passed);
        t.x[RESULT_O][i * 4] -= 0.01f;
        assert_true(judge(v, &t).passed);
    }
    verify_destroy(v);
    bench_destroy(&t);
}

/* Of a long linear job dk and dv are sampled too. */
static void long_linear_is_sampled(void **state)
{
    struct job job = { .transformer = { .heads = 4, .kv_heads = 2,
                                        .head_dim = 8 },
                       .mask.kind = MASK_CAUSAL, .attention = ATTENTION_LINEAR,
                       .pass = PASS_FORWARD_BACKWARD };
    const int64_t tokens = 20000;
    struct error e = { 0 };
    uint64_t seed = 1;
    struct verdict verdict;
    float *x[RESULTS] = { NULL };

    (void)state;
    assert_int_equal(job_finish(&job, &tokens, 1, &e), 0);
    struct verify *v = verify_create(&job, 0, VERIFY_SAMPLED, input_seeded,
                                     &seed, 1);
    for (int r = 0; r < RESULTS; r++)
        x[r] = calloc((size_t)(tokens * 4 * 8), sizeof(float));
    verify_results(v, (const float *const *)x, &verdict);
    assert_false(verdict.passed);
    for (int r = 0; r < RESULTS; r++) {
        free(x[r]);
        if (r == RESULT_LSE)
            continue;
        assert_true(verdict.error[r] > 0.9);    /* zeros are off by one */
        assert_true(verdict.gate[r] >= 1e-5 && verdict.gate[r] < 1e-3);
    }
    assert_true(isnan(verdict.gate[RESULT_LSE]));
    verify_destroy(v);
    job_clear(&job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_right_and_nothing_else),
        cmocka_unit_test(misses_what_is_missing),
        cmocka_unit_test(star_samples_its_queries),
        cmocka_unit_test(long_linear_is_sampled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
