/* SPDX-License-Identifier: Apache-2.0
 *
 * A real transformer layer on real text (scenarios/data/minilm-layer3.md): every
 * strategy reproduces the model's own attention output and the norms of the
 * gradients that were computed in fp64 outside spar. */
#include <config.h>

#include "run/compute.h"
#include "strategy/strategy.h"
#include "trace/trace.h"

#include <hdf5.h>
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { TOKENS = 1024, HEADS = 12, DIM = 32, N = TOKENS * HEADS * DIM,
       RANKS = 3 };

static struct tensor_file *input;
static float *o_reference;

static void row(void *arg, enum tensor_name t, int64_t token, int64_t head,
                int64_t width, float *out)
{
    const float *const tensors[TENSORS] = {
        [TENSOR_Q] = input->q, [TENSOR_K] = input->k, [TENSOR_V] = input->v,
        [TENSOR_DO] = input->d_o,
    };

    (void)arg;
    memcpy(out, tensors[t] + (token * HEADS + head) * width,
           (size_t)width * sizeof *out);
}

static int read_file(void **state)
{
    const char *srcdir = getenv("srcdir");
    char *path = xasprintf("%s/scenarios/data/minilm-layer3.h5",
                           srcdir ? srcdir : ".");
    struct error e = { 0 };

    (void)state;
    input = tensor_file_read(path, 1, &e);
    if (!input)
        fail_msg("%s", e.text);
    o_reference = xmalloc(N * sizeof *o_reference);
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    hid_t set = H5Dopen2(file, "o_reference", H5P_DEFAULT);
    assert_true(H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                        o_reference) >= 0);
    H5Dclose(set);
    H5Fclose(file);
    free(path);
    return 0;
}

static int forget_file(void **state)
{
    (void)state;
    tensor_file_destroy(input);
    free(o_reference);
    return 0;
}

/* The table of minilm-layer3.md. */
static const struct {
    int64_t length;
    double dq, dk, dv;
} norms[] = {
    { 512, 3.1416e-3, 6.4093e-3, 1.5658e-2 },
    { 301, 5.9275e-3, 1.1756e-2, 3.1073e-2 },
    { 211, 4.7391e-2, 6.3386e-2, 2.2109e-1 },
};

static double norm(const float *x, int64_t first, int64_t length)
{
    double sum = 0;

    for (int64_t i = first * HEADS * DIM;
         i < (first + length) * HEADS * DIM; i++)
        sum += (double)x[i] * x[i];
    return sqrt(sum);
}

static void check_norm(const float *x, int64_t first, int64_t length,
                       double expected)
{
    double found = norm(x, first, length);

    if (!(fabs(found - expected) <= 1e-4 * expected))
        fail_msg("norm %g, expected %g", found, expected);
}

static void check_results(const struct loopback *l)
{
    static const enum tensor_name names[] = { TENSOR_O, TENSOR_DQ, TENSOR_DK,
                                              TENSOR_DV };
    float *x[4];
    double worst = 0;
    int64_t first = 0;

    for (int i = 0; i < 4; i++) {
        x[i] = xcalloc(N, sizeof **x);
        for (int r = 0; r < RANKS; r++)
            memory_gather(&l->memories[r], names[i], 0, x[i]);
    }
    for (int64_t i = 0; i < N; i++)
        worst = fmax(worst, fabs((double)x[0][i] - o_reference[i]));
    if (!(worst < 1e-5))
        fail_msg("o is %g away from the model's own", worst);
    for (int s = 0; s < 3; first += norms[s++].length) {
        check_norm(x[1], first, norms[s].length, norms[s].dq);
        check_norm(x[2], first, norms[s].length, norms[s].dk);
        check_norm(x[3], first, norms[s].length, norms[s].dv);
    }
    for (int i = 0; i < 4; i++)
        free(x[i]);
}

static void run_strategy(const struct job *job, const struct strategy *st,
                         enum layout layout)
{
    struct strategy_options o = { .layout = layout, .block = 1 };
    struct error e = { 0 };
    struct plan *p = plan_create(job, st, &o, RANKS, &e);
    struct schedule *s[RANKS];
    struct loopback l;

    for (int r = 0; r < RANKS; r++)
        s[r] = plan_build(p, r);
    if (loopback_create(&l, (const struct schedule *const *)s, RANKS, &e))
        fail_msg("%s", e.text);
    for (int r = 0; r < RANKS; r++) {
        memory_load(&l.memories[r], row, NULL);
        memory_poison(&l.memories[r]);
    }
    if (loopback_run(&l, kernel_find("auto", &e), 0, &e))
        fail_msg("%s", e.text);
    check_results(&l);
    loopback_destroy(&l);
    for (int r = 0; r < RANKS; r++)
        schedule_destroy(s[r]);
    plan_destroy(p);
}

static void real_layer(void **state)
{
    struct job job = {
        .transformer = { .heads = HEADS, .head_dim = DIM },
        .pass = PASS_FORWARD_BACKWARD,
    };
    struct error e = { 0 };

    (void)state;
    assert_int_equal(input->tokens, TOKENS);
    assert_int_equal(input->n_lengths, 3);
    assert_int_equal(job_finish(&job, input->lengths, 3, &e), 0);
    for (int i = 0; strategies[i]; i++)
        for (int y = 0; y < LAYOUTS; y++)
            if (strcmp(strategies[i]->family, "softmax") == 0)
                run_strategy(&job, strategies[i], (enum layout)y);
    job_clear(&job);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(real_layer) };

    return cmocka_run_group_tests(tests, read_file, forget_file);
}
