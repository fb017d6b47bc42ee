/* SPDX-License-Identifier: Apache-2.0
 *
 * Linear attention on a CUDA device against a recurrence over tokens in fp64:
 * every operation, for operands that can be fetched by boxes and for others.
 * Skipped where there is no device. */
#include <config.h>

#include "tests/kernel_linear_problem.h"

#ifndef HAVE_CUDA
int main(void)
{
    printf("1..1\nok 1 # SKIP built without CUDA\n");
    return 0;
}
#else

/* ---- Tensors on the device ----------------------------------------------- */

static int64_t pad;             /* elements between rows there */
static int64_t calls;

static void *device_alloc(size_t bytes)
{
    struct error e = { 0 };
    void *p = device_cuda.alloc(bytes, &e);

    if (!p)
        fail_msg("%s", e.text);
    return p;
}

static int64_t wide_of(const struct tensor *t)
{
    return (int64_t)t->heads * t->width;
}

static struct tensor up(const struct tensor *t)
{
    struct tensor d = *t;
    size_t size = dtype_size(t->dtype);

    if (!t->data)
        return d;
    d.row_stride = wide_of(t) + pad;
    size_t n = (size_t)(t->rows * d.row_stride);
    char *host = xmalloc(n * size + 1);
    for (size_t i = 0; i < n; i++)
        element_store(host, t->dtype, (int64_t)i, canary);
    for (int64_t r = 0; r < t->rows; r++)
        memcpy(host + (size_t)(r * d.row_stride) * size,
               (char *)t->data + (size_t)(r * t->row_stride) * size,
               (size_t)wide_of(t) * size);
    d.data = device_alloc(n * size);
    device_cuda.put(d.data, host, n * size);
    free(host);
    return d;
}

/* Back to t, unless it is an input; what lies between the rows is untouched. */
static void down(const struct tensor *t, struct tensor d, int is_result)
{
    size_t size = dtype_size(d.dtype), n = (size_t)(d.rows * d.row_stride);

    if (!t->data)
        return;
    char *host = xmalloc(n * size + 1);
    device_cuda.get(host, d.data, n * size);
    for (int64_t r = 0; r < d.rows; r++) {
        char *row = host + (size_t)(r * d.row_stride) * size;

        for (int64_t x = 0; x < pad; x++)
            assert_true(element_load(row, d.dtype, wide_of(t) + x) == canary);
        if (is_result)
            memcpy((char *)t->data + (size_t)(r * t->row_stride) * size, row,
                   (size_t)wide_of(t) * size);
    }
    free(host);
    device_cuda.free(d.data);
}

/* ---- The cuda backend on tensors of the host ----------------------------- */

static void on_device(void (*op)(const struct linear_args *a),
                      const struct linear_args *a)
{
    struct linear_args d = *a;
    const struct tensor *from[] = { &a->q, &a->k, &a->v, &a->d_o, &a->o, &a->dq,
                                    &a->dk, &a->dv, &a->state };
    struct tensor *to[] = { &d.q, &d.k, &d.v, &d.d_o, &d.o, &d.dq, &d.dk, &d.dv,
                            &d.state };

    for (int i = 0; i < 9; i++)
        *to[i] = up(from[i]);
    op(&d);
    device_cuda.sync();
    for (int i = 0; i < 9; i++)
        down(from[i], *to[i], i >= 4);
    calls++;
}

static void state_forward(const struct linear_args *a)
{
    kernel_cuda.state(a, 0);
}

static void state_backward(const struct linear_args *a)
{
    kernel_cuda.state(a, 1);
}

static void do_state(const struct linear_args *a, int backward)
{
    on_device(backward ? state_backward : state_forward, a);
}

static void do_intra(const struct linear_args *a)
{
    on_device(kernel_cuda.linear_intra, a);
}

static void do_intra_backward(const struct linear_args *a)
{
    on_device(kernel_cuda.linear_intra_backward, a);
}

static void do_inter(const struct linear_args *a)
{
    on_device(kernel_cuda.linear_inter, a);
}

static void do_inter_dq(const struct linear_args *a)
{
    on_device(kernel_cuda.linear_inter_dq, a);
}

static void do_inter_dkv(const struct linear_args *a)
{
    on_device(kernel_cuda.linear_inter_dkv, a);
}

static void do_scan(struct tensor dst, int store, const struct tensor *src,
                    int64_t n, const int64_t *spans, const double *slopes)
{
    struct tensor d = up(&dst), s[4];

    for (int64_t i = 0; i < n; i++)
        s[i] = up(&src[i]);
    kernel_cuda.state_scan(d, store, s, n, spans, slopes);
    device_cuda.sync();
    down(&dst, d, 1);
    for (int64_t i = 0; i < n; i++)
        down(&src[i], s[i], 0);
}

static const struct kernel_backend cuda = {
    .name = "cuda", .state = do_state, .state_scan = do_scan,
    .linear_intra = do_intra, .linear_inter = do_inter,
    .linear_intra_backward = do_intra_backward,
    .linear_inter_dq = do_inter_dq, .linear_inter_dkv = do_inter_dkv,
};

/* ---- Checks -------------------------------------------------------------- */

static double worst[3];         /* by dtype */

/* By the dtype of the operands: in 16 bits weights and states are rounded. */
static void compare(const struct problem *p, const char *what,
                    struct tensor *out, double *const *a, double *const *b)
{
    static const double gates[] = { 1e-5, 8e-3, 1e-3 };

    for (int i = 0; i < RESULTS; i++) {
        double e = error_of(&out[i], a[i], b ? b[i] : NULL);

        worst[p->s.dtype] = fmax(worst[p->s.dtype], e);
        if (!(e <= gates[p->s.dtype]))
            fail_msg("%s: n %lld heads %lld+%lld group %lld D %lld E %lld %s "
                     "decay %d feature %d pad %lld: %s: error %g", what,
                     (long long)p->s.n, (long long)p->s.first,
                     (long long)p->s.heads, (long long)p->s.group,
                     (long long)p->s.d, (long long)p->s.e,
                     dtype_name(p->s.dtype), p->s.decay, p->s.feature,
                     (long long)pad, result_names[i], e);
    }
}

static void check_stores(const struct problem *p)
{
    struct tensor out[RESULTS], again[RESULTS];

    for (int from = 0; from < ORIGINS; from++) {
        for (int second = 0; second < 2; second++) {
            struct tensor *to = second ? again : out;

            outputs_make(p, p->s.dtype, to);
            struct linear_args a = chunk_of(p, to, 0, p->s.n, 1);

            call_states(&cuda, &a, to[STATE], to[STATE_BACKWARD]);
            if (from == INTRA)
                call_intra(&cuda, &a);
            else
                call_inter(&cuda, &a, p->p, p->r);
        }
        for (int i = 0; i < RESULTS; i++)
            assert_true(same_bits(&out[i], &again[i]));
        compare(p, from == INTRA ? "intra" : "inter", out,
                (double *[]){ p->truth[from][O], p->truth[from][DQ],
                              p->truth[from][DK], p->truth[from][DV],
                              p->truth[INTRA][STATE],
                              p->truth[INTRA][STATE_BACKWARD] }, NULL);
        outputs_free(out);
        outputs_free(again);
    }
}

/* Of both, added in fp32 in either order; the state that leaves the chunk. */
static void check_sums(const struct problem *p, int inter_first)
{
    static const int64_t none[] = { 0 };
    int64_t spans[] = { p->s.n, 0 };
    struct tensor out[RESULTS], own[RESULTS];

    outputs_make(p, DTYPE_FP32, out);
    outputs_make(p, DTYPE_FP32, own);
    struct linear_args first = chunk_of(p, out, 0, p->s.n, 1);
    struct linear_args then = chunk_of(p, out, 0, p->s.n, 0);

    if (!inter_first)
        call_intra(&cuda, &first);
    call_inter(&cuda, inter_first ? &first : &then, p->p, p->r);
    if (inter_first)
        call_intra(&cuda, &then);
    call_states(&cuda, &first, own[STATE], own[STATE_BACKWARD]);
    cuda.state_scan(out[STATE], 1, &p->p, 1, none, p->slopes);
    cuda.state_scan(out[STATE], 0, &own[STATE], 1, spans, p->slopes);
    cuda.state_scan(out[STATE_BACKWARD], 1,
                    (struct tensor[]){ p->r, own[STATE_BACKWARD] }, 2, spans,
                    p->slopes);
    compare(p, "sum", out, p->truth[INTRA], p->truth[INTER]);
    outputs_free(out);
    outputs_free(own);
}

static void check_shape(const struct shape *s, int64_t between_rows)
{
    struct problem *p = problem_create(s);

    pad = between_rows;
    check_stores(p);
    check_sums(p, 0);
    check_sums(p, 1);
    problem_destroy(p);
}

/* ---- Tests --------------------------------------------------------------- */

/* Every length with every decay; sizes, heads, dtypes, feature maps and gaps
 * take turns. */
static void test_lengths(void **unused)
{
    static const int64_t lengths[] = { 1, 2, 63, 64, 65, 128, 129, 321, 517 };
    static const int64_t sizes[][2] = { { 128, 128 }, { 64, 64 }, { 128, 64 },
                                        { 33, 7 }, { 72, 40 }, { 40, 136 },
                                        { 8, 16 } };
    static const int64_t heads[][3] = { { 0, 1, 1 }, { 2, 2, 2 }, { 0, 3, 1 },
                                        { 3, 4, 6 }, { 1, 3, 1 } };
    static const enum dtype dtypes[] = { DTYPE_BF16, DTYPE_FP16, DTYPE_BF16,
                                         DTYPE_FP16, DTYPE_FP32 };
    int turn = 0;

    (void)unused;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
        for (int j = 0; j < DECAYS * 2; j++, turn++) {
            struct shape s = {
                lengths[i], heads[turn % 5][0], heads[turn % 5][1],
                heads[turn % 5][2], sizes[turn % 7][0], sizes[turn % 7][1],
                dtypes[turn / 2 % 5], (enum decay)(j / 2),
                turn % 4 ? 0 : turn / 4 % 3,
            };

            check_shape(&s, turn % 3 == 2 ? 3 : 8 * (turn % 3));
        }
}

/* Many heads, long rows: one block of rows and several, the pipeline around. */
static void test_sizes(void **unused)
{
    static const struct shape shapes[] = {
        { 1213, 0, 2, 1, 128, 128, DTYPE_BF16, DECAY_ALIBI, 0 },
        { 800, 0, 2, 1, 128, 128, DTYPE_FP16, DECAY_NONE, 0 },
        { 460, 0, 34, 1, 64, 64, DTYPE_BF16, DECAY_MIXED, 0 },
        { 209, 0, 33, 1, 128, 128, DTYPE_BF16, DECAY_ALIBI, 0 },
        { 330, 4, 4, 1, 128, 128, DTYPE_FP16, DECAY_MIXED, 1 },
        { 450, 0, 8, 4, 128, 64, DTYPE_BF16, DECAY_ALIBI, 2 },
        { 270, 0, 2, 1, 256, 256, DTYPE_BF16, DECAY_ALIBI, 0 },
        { 300, 0, 2, 1, 128, 256, DTYPE_BF16, DECAY_NONE, 0 },
        { 150, 0, 1, 1, 256, 256, DTYPE_FP32, DECAY_NONE, 2 },
        { 1411, 0, 3, 1, 64, 128, DTYPE_BF16, DECAY_MIXED, 0 },
    };

    (void)unused;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        check_shape(&shapes[i], 0);
    print_message("# %lld calls, largest errors: fp32 %.1e, bf16 %.1e, fp16 "
                  "%.1e\n", (long long)calls, worst[DTYPE_FP32],
                  worst[DTYPE_BF16], worst[DTYPE_FP16]);
    assert_true(calls > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_sizes),
    };
    struct error e = { 0 };

    if (device_cuda.count() == 0 || device_cuda.open(0, &e)) {
        printf("1..1\nok 1 # SKIP no CUDA device\n");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
