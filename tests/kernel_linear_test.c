/* SPDX-License-Identifier: Apache-2.0
 *
 * Linear attention: every backend, and every instruction set of the cpu backend
 * that this processor has, against a recurrence over tokens in fp64. */
#include <config.h>

#include "tests/kernel_linear_problem.h"

/* ---- Checks -------------------------------------------------------------- */

/* Every op alone, stored in the job's dtype; the same bits twice. */
static void check_stores(const struct problem *p,
                         const struct kernel_backend *b)
{
    struct tensor out[RESULTS], again[RESULTS];

    for (int from = 0; from < ORIGINS; from++) {
        for (int second = 0; second < 2; second++) {
            struct tensor *to = second ? again : out;

            outputs_make(p, p->s.dtype, to);
            struct linear_args a = chunk_of(p, to, 0, p->s.n, 1);

            polls = 0;
            call_states(b, &a, to[STATE], to[STATE_BACKWARD]);
            if (from == INTRA)
                call_intra(b, &a);
            else
                call_inter(b, &a, p->p, p->r);
            assert_true(polls >= 4 || p->s.n == 0);
        }
        for (int i = 0; i < RESULTS; i++)
            assert_true(same_bits(&out[i], &again[i]));
        check(p, b->name, from == INTRA ? "intra" : "inter", out,
              (double *[]){ p->truth[from][O], p->truth[from][DQ],
                            p->truth[from][DK], p->truth[from][DV],
                            p->truth[INTRA][STATE],
                            p->truth[INTRA][STATE_BACKWARD] }, NULL);
        outputs_free(out);
        outputs_free(again);
    }
}

/* Intra on top of inter, or inter on top of intra, in fp32; the state that
 * leaves the chunk. */
static void check_sums(const struct problem *p, const struct kernel_backend *b,
                       int inter_first)
{
    static const int64_t none[] = { 0 };
    int64_t spans[] = { p->s.n, 0 };
    struct tensor out[RESULTS], own[RESULTS];

    outputs_make(p, DTYPE_FP32, out);
    outputs_make(p, DTYPE_FP32, own);
    struct linear_args first = chunk_of(p, out, 0, p->s.n, 1);
    struct linear_args then = chunk_of(p, out, 0, p->s.n, 0);

    if (!inter_first)
        call_intra(b, &first);
    call_inter(b, inter_first ? &first : &then, p->p, p->r);
    if (inter_first)
        call_intra(b, &then);
    call_states(b, &first, own[STATE], own[STATE_BACKWARD]);
    b->state_scan(out[STATE], 1, &p->p, 1, none, p->slopes);
    b->state_scan(out[STATE], 0, &own[STATE], 1, spans, p->slopes);
    b->state_scan(out[STATE_BACKWARD], 1,
                  (struct tensor[]){ p->r, own[STATE_BACKWARD] }, 2, spans,
                  p->slopes);
    check(p, b->name, "sum", out, p->truth[INTRA], p->truth[INTER]);
    outputs_free(out);
    outputs_free(own);
}

static void check_backends(const struct shape *s, int first)
{
    struct problem *p = problem_create(s);

    for (int b = first; b < n_backends; b++) {
        check_stores(p, &backends[b]);
        check_sums(p, &backends[b], 0);
        check_sums(p, &backends[b], 1);
    }
    problem_destroy(p);
}

/* ---- Tests --------------------------------------------------------------- */

/* Every length with every decay, and short ones with every feature map; sizes,
 * heads and dtypes take turns. */
static void test_lengths(void **unused)
{
    static const int64_t lengths[] = { 0, 1, 2, 63, 64, 65, 127, 128, 129, 513,
                                       913, 1213 };
    static const int64_t sizes[][2] = { { 16, 16 }, { 8, 24 }, { 33, 7 },
                                        { 1, 1 }, { 40, 65 }, { 1, 19 },
                                        { 20, 3 } };
    static const int64_t heads[][3] = { { 0, 1, 1 }, { 2, 2, 2 }, { 0, 6, 6 },
                                        { 3, 4, 6 }, { 1, 3, 1 } };
    int turn = 0;

    (void)unused;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
        for (int j = 0; j < DECAYS * 3; j += lengths[i] > 200 ? 2 : 1, turn++) {
            struct shape s = {
                lengths[i], heads[turn % 5][0], heads[turn % 5][1],
                heads[turn % 5][2], sizes[turn % 7][0], sizes[turn % 7][1],
                (enum dtype)(turn / 3 % 3), (enum decay)(j / 3), j % 3,
            };

            check_backends(&s, lengths[i] > 200);
        }
}

static void test_sizes(void **unused)
{
    static const struct shape shapes[] = {
        { 129, 0, 2, 1, 128, 128, DTYPE_FP32, DECAY_ALIBI, 0 },
        { 129, 0, 2, 2, 128, 128, DTYPE_FP16, DECAY_NONE, 0 },
        { 100, 1, 6, 6, 64, 128, DTYPE_BF16, DECAY_ALIBI, 1 },
        { 150, 0, 1, 1, 256, 256, DTYPE_FP32, DECAY_NONE, 2 },
        { 70, 0, 1, 1, 192, 128, DTYPE_FP32, DECAY_ALIBI, 1 },
        { 67, 2, 2, 2, 80, 250, DTYPE_BF16, DECAY_STRONG, 2 },
        { 131, 0, 1, 1, 251, 3, DTYPE_FP32, DECAY_NONE, 1 },
        { 1213, 0, 1, 1, 128, 128, DTYPE_FP32, DECAY_ALIBI, 0 },
    };

    (void)unused;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        check_backends(&shapes[i], shapes[i].n > 200);
}

enum { CHUNKS = 4 };

/* P of every chunk from the states of those before it: of all at once (LASP-2),
 * or one after the other (LASP).  Reversed: R, from those after it. */
static void scan_states(const struct problem *p, const struct kernel_backend *b,
                        const int64_t *cuts, int reversed, int at_once,
                        const struct tensor *own, struct tensor *sum)
{
    for (int i = 0; i < CHUNKS; i++) {
        struct tensor sources[CHUNKS];
        int64_t spans[CHUNKS], n = 0, me = reversed ? CHUNKS - 1 - i : i;

        for (int j = at_once ? 0 : i - 1; j >= 0 && j < i; j++, n++) {
            int64_t other = reversed ? CHUNKS - 1 - j : j;

            sources[n] = own[other];
            spans[n] = reversed ? cuts[other] - cuts[me + 1]
                                : cuts[me] - cuts[other + 1];
        }
        if (!at_once && i > 0) {
            int64_t other = reversed ? me + 1 : me - 1;

            sources[n] = sum[other];
            spans[n++] = cuts[other + 1] - cuts[other];
        }
        b->state_scan(sum[me], 1, sources, n, spans, p->slopes);
    }
}

/* A chunk cut in four, one of them empty, gives what it gives whole. */
static void check_cut(const struct problem *p, const struct kernel_backend *b,
                      int at_once)
{
    int64_t n = p->s.n, cuts[CHUNKS + 1] = { 0, n / 5, n / 5, n / 2 + 1, n };
    struct tensor out[RESULTS], own[CHUNKS][RESULTS];
    struct tensor states[2][CHUNKS], sums[2][CHUNKS];

    outputs_make(p, DTYPE_FP32, out);
    for (int i = 0; i < CHUNKS; i++) {
        outputs_make(p, DTYPE_FP32, own[i]);
        struct linear_args a = chunk_of(p, out, cuts[i], cuts[i + 1] - cuts[i],
                                        1);

        for (int way = 0; way < 2; way++) {
            states[way][i] = own[i][STATE + way];
            sums[way][i] = copy_of(&states[way][i]);
        }
        call_states(b, &a, states[0][i], states[1][i]);
        call_intra(b, &a);
    }
    for (int way = 0; way < 2; way++)
        scan_states(p, b, cuts, way, at_once, states[way], sums[way]);
    for (int i = 0; i < CHUNKS; i++) {
        struct linear_args a = chunk_of(p, out, cuts[i], cuts[i + 1] - cuts[i],
                                        0);

        call_inter(b, &a, sums[0][i], sums[1][i]);
    }
    b->state_scan(out[STATE], 1, (struct tensor[]){ sums[0][3], states[0][3] },
                  2, (int64_t[]){ cuts[4] - cuts[3], 0 }, p->slopes);
    b->state_scan(out[STATE_BACKWARD], 1,
                  (struct tensor[]){ sums[1][0], states[1][0] }, 2,
                  (int64_t[]){ cuts[1], 0 }, p->slopes);
    check(p, b->name, at_once ? "cut" : "chain", out, p->truth[INTRA], NULL);
    for (int i = 0; i < CHUNKS; i++) {
        free(sums[0][i].data);
        free(sums[1][i].data);
        outputs_free(own[i]);
    }
    outputs_free(out);
}

static void test_cuts(void **unused)
{
    static const int64_t lengths[] = { 7, 64, 200, 333 };

    (void)unused;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
        for (int j = 0; j < DECAYS * 3; j++) {
            struct shape s = { lengths[i], 1, 3, 2, 24, 17,
                               j % 2 ? DTYPE_BF16 : DTYPE_FP32,
                               (enum decay)(j / 3), j % 3 };
            struct problem *p = problem_create(&s);

            for (int b = 0; b < n_backends; b++) {
                check_cut(p, &backends[b], 0);
                check_cut(p, &backends[b], 1);
            }
            problem_destroy(p);
        }
}

/* Whatever the decay, a later token never changes an earlier result. */
static void test_causal(void **unused)
{
    static const struct shape s = { 200, 0, 2, 2, 16, 16, DTYPE_FP32,
                                    DECAY_MIXED, 1 };
    struct problem *p = problem_create(&s);
    int64_t at = 77 * p->k.row_stride;

    (void)unused;
    for (int b = 0; b < n_backends; b++) {
        struct tensor out[RESULTS], later[RESULTS];
        float old = ((float *)p->k.data)[at];

        outputs_make(p, DTYPE_FP32, out);
        outputs_make(p, DTYPE_FP32, later);
        struct linear_args x = chunk_of(p, out, 0, s.n, 1);
        struct linear_args y = chunk_of(p, later, 0, s.n, 1);

        backends[b].linear_intra(&x);
        ((float *)p->k.data)[at] = old + 3;
        backends[b].linear_intra(&y);
        ((float *)p->k.data)[at] = old;
        for (int64_t r = 0; r < 77; r++)
            for (int64_t i = 0; i < s.heads * s.e; i++)
                assert_true(get(&out[O], r, 0, i) == get(&later[O], r, 0, i));
        assert_false(get(&out[O], 77, 0, 0) == get(&later[O], 77, 0, 0));
        outputs_free(out);
        outputs_free(later);
    }
    problem_destroy(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_causal),
    };

    collect_backends();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
