/* SPDX-License-Identifier: Apache-2.0
 *
 * Rings take what comes into as many buffers in turn as it takes that nobody
 * waits for one: no reuse stalls, whatever the layout, mask, lengths and
 * ranks; and no more than that. */
#include <config.h>

#include "rig.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

static const struct {
    enum layout layout;
    int64_t block;
} layouts[] = {
    { LAYOUT_CONTIGUOUS, 1 }, { LAYOUT_ZIGZAG, 1 }, { LAYOUT_STRIPED, 1 },
    { LAYOUT_STRIPED, 3 },
};
static const struct mask masks[] = {
    { MASK_FULL, -1, -1 }, { MASK_CAUSAL, -1, 0 }, { MASK_WINDOW, 16, 0 },
    { MASK_WINDOW, 7, 5 }, { MASK_WINDOW, 0, 0 }, { MASK_WINDOW, -1, 3 },
    { MASK_WINDOW, 100, 0 }, { MASK_WINDOW, 3, -1 },
};
static const struct {
    int64_t sequences, list[5];
} lengths[] = {
    { 1, { 37 } }, { 1, { 512 } }, { 1, { 1000 } }, { 4, { 1, 5, 97, 33 } },
    { 3, { 100, 28, 128 } }, { 5, { 0, 7, 0, 30, 0 } },
};
static const int32_t rank_counts[] = { 1, 2, 3, 4, 5, 6, 7, 8, 16 };

static struct trial base(const char *ring, struct strategy_options o)
{
    return (struct trial){ .strategy = ring, .options = o, .heads = 4,
                           .kv_heads = 2, .head_dim = 8, .value_dim = 4 };
}

/* Stalls and the largest memory of a rank. */
static int64_t stalls(const struct trial *t, int64_t *peak)
{
    struct rig g;
    char text[320];

    trial_text(t, text, sizeof text);
    assert_true(rig_create(&g, t));
    struct check_report r = rig_check(&g);
    if (!r.passed)
        fail_msg("%s: %s", text, r.finding.text);
    int64_t n = r.reuse_stalls;
    *peak = 0;
    for (int32_t i = 0; i < t->ranks; i++)
        *peak = max64(*peak, r.peak_bytes[i]);
    check_report_clear(&r);
    rig_destroy(&g);
    return n;
}

static void must_not_stall(const struct trial *t)
{
    char text[320];
    int64_t peak, n = stalls(t, &peak);

    trial_text(t, text, sizeof text);
    if (n)
        fail_msg("%s: %d stalls", text, (int)n);
}

static void fill(struct trial *t, int i)
{
    int y = i % COUNT(layouts), m = i / COUNT(layouts) % COUNT(masks);
    int l = i / COUNT(layouts) / COUNT(masks) % COUNT(lengths);

    t->options.layout = layouts[y].layout;
    t->options.block = layouts[y].block;
    t->mask = masks[m];
    t->sequences = lengths[l].sequences;
    memcpy(t->lengths, lengths[l].list, sizeof lengths[l].list);
    t->dtype = (l + m) % 2 ? DTYPE_BF16 : DTYPE_FP32;
    t->pass = i % 3 ? PASS_FORWARD_BACKWARD : PASS_FORWARD;
}

/* A fifth of the matrix, all of it under SPAR_TEST_FULL. */
static void matrix(struct trial t)
{
    int all = getenv("SPAR_TEST_FULL") != NULL, step = all ? 1 : 5;

    for (int r = 0; r < COUNT(rank_counts); r++)
        for (int i = r % step; i < COUNT(layouts) * COUNT(masks)
             * COUNT(lengths); i += step) {
            t.ranks = rank_counts[r];
            fill(&t, i);
            must_not_stall(&t);
        }
}

static void ring(void **state)
{
    (void)state;
    matrix(base("ring", (struct strategy_options){ 0 }));
}

static void ring_of_queries(void **state)
{
    (void)state;
    matrix(base("ring", (struct strategy_options){
        .backward = CIRCULATE_Q }));
}

static void ring_reversed(void **state)
{
    (void)state;
    matrix(base("ring", (struct strategy_options){ .reverse = 1 }));
}

static void ring_as_needed(void **state)
{
    (void)state;
    matrix(base("ring", (struct strategy_options){ .needed = 1 }));
}

static void double_ring(void **state)
{
    (void)state;
    matrix(base("double-ring", (struct strategy_options){ 0 }));
}

static void token_ring(void **state)
{
    (void)state;
    matrix(base("token-ring", (struct strategy_options){ 0 }));
}

/* Stalls with two buffers, none with as many as are chosen; 0: not more. */
static int takes_more_than_two(struct trial t)
{
    int64_t two, chosen, n;

    t.options.turns = 2;
    n = stalls(&t, &two);
    t.options.turns = 0;
    assert_int_equal(stalls(&t, &chosen), 0);
    assert_int_equal(n > 0, chosen > two);
    return n > 0;
}

/* Steps that cost alike need two buffers, windows and uneven lengths more. */
static void as_few_buffers_as_needed(void **state)
{
    static const char *const rings[] = { "ring", "double-ring",
                                         "token-ring" };

    (void)state;
    for (int i = 0; i < COUNT(rings); i++) {
        struct trial t = base(rings[i], (struct strategy_options){
            .layout = LAYOUT_ZIGZAG, .block = 1 });
        int more = 0;
        t.pass = PASS_FORWARD_BACKWARD;
        t.ranks = 8;
        t.lengths[0] = 1024;
        t.mask = masks[1];
        assert_int_equal(takes_more_than_two(t), 0);
        t.lengths[0] = 37;
        for (int m = 0; m < COUNT(layouts) * COUNT(masks); m++) {
            t.mask = masks[m % COUNT(masks)];
            t.options.layout = layouts[m / COUNT(masks)].layout;
            t.options.block = layouts[m / COUNT(masks)].block;
            more += takes_more_than_two(t);
        }
        assert_true(more > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_few_buffers_as_needed),
        cmocka_unit_test(ring),
        cmocka_unit_test(ring_of_queries),
        cmocka_unit_test(ring_reversed),
        cmocka_unit_test(ring_as_needed),
        cmocka_unit_test(double_ring),
        cmocka_unit_test(token_ring),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
