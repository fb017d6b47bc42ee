/* SPDX-License-Identifier: Apache-2.0
 *
 * Mutations by hand of the words that only some strategies use: states,
 * materialised scores, reductions; each with the finding that it must give. */
#include <config.h>

#include "mutation.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const double slopes[] = { 0.25, 0.0625, 0.015625, 0.0039 };

#define CAUSAL .mask = { MASK_CAUSAL, -1, 0 }
#define BOTH   .pass = PASS_FORWARD_BACKWARD

static struct program create(struct trial t)
{
    struct program p;

    assert_int_equal(program_create(&p, t), 1);
    must_pass(&p);
    return p;
}

static struct program linear(const char *strategy, enum layout layout,
                             const double *decay)
{
    return create((struct trial){
        .strategy = strategy, CAUSAL, BOTH, .slopes = decay,
        .attention = ATTENTION_LINEAR, .options = { .layout = layout } });
}

static struct program tree(enum reduction reduce)
{
    return create((struct trial){
        .strategy = "tree", CAUSAL, .pass = PASS_DECODE, .queries = 4,
        .options = { .reduce = reduce } });
}

static struct program rsa(void)
{
    return create((struct trial){ .strategy = "rsa", CAUSAL, BOTH });
}

/* ---- States -------------------------------------------------------------- */

static void set_span(struct program *p, struct item *x, int64_t which,
                     int64_t span)
{
    int64_t numbers[16], n;
    const int64_t *old = pool_numbers_get(p->pool, x->op.segments, &n);

    assert_in_range(which, 0, n - 1);
    memcpy(numbers, old, (size_t)n * sizeof *old);
    numbers[which] = span;
    x->op.segments = pool_numbers(p->pool, numbers, n);
}

/* lambda^7 where 8 tokens lie between; without decay nobody cares. */
static void decayed_too_little(void **state)
{
    struct program p = linear("lasp2", LAYOUT_CONTIGUOUS, slopes);

    (void)state;
    struct item *scan = at(&p, 3, OP_STATE_SCAN, 0);
    assert_int_equal(scan->n, 4);
    set_span(&p, scan, 1, 7);
    must_find(&p, "refer to tokens 24 and 23", 0);
    program_destroy(&p);

    p = linear("lasp2", LAYOUT_CONTIGUOUS, NULL);
    set_span(&p, at(&p, 3, OP_STATE_SCAN, 0), 1, 7);
    must_pass(&p);
    program_destroy(&p);
}

/* All states decay alike, and all too much. */
static void refers_to_another_token(void **state)
{
    struct program p = linear("lasp2", LAYOUT_CONTIGUOUS, slopes);
    struct item *scan = at(&p, 1, OP_STATE_SCAN, 0);

    (void)state;
    assert_int_equal(scan->n, 2);
    set_span(&p, scan, 0, 1);
    must_find(&p, "refers to token 9 where 8 is wanted", 0);
    program_destroy(&p);
}

static void state_counted_twice(void **state)
{
    struct program p = linear("lasp2", LAYOUT_CONTIGUOUS, NULL);
    struct item *scan = at(&p, 3, OP_STATE_SCAN, 0);

    (void)state;
    scan->o[2] = scan->o[1];
    must_find(&p, "more than once", 0);
    program_destroy(&p);
}

/* R for P, and P for R: they are of queries and of keys. */
static void state_of_the_other_side(void **state)
{
    struct program p = linear("lasp2", LAYOUT_CONTIGUOUS, slopes);
    struct code *c = &p.code[1];

    (void)state;
    struct item *dq = at(&p, 1, OP_LINEAR_INTER_DQ, 0);
    struct item *dkv = at(&p, 1, OP_LINEAR_INTER_DKV, 0);
    struct tile P = dq->o[2].tile, R = dkv->o[2].tile;
    dkv->o[2].tile = P;
    must_find(&p, "a state of keys where a state of queries is wanted", 0);
    dkv->o[2].tile = R;
    int64_t i = find(c, OP_LINEAR_INTER_DQ, 0);
    struct item late = c->items[i];
    late.o[2].tile = R;
    remove_item(c, i);
    insert_item(c, find(c, OP_LINEAR_INTER_DKV, 0), late);
    must_find(&p, "a state of queries where a state of keys is wanted", 0);
    program_destroy(&p);
}

/* Both chunks of a zigzag shard as one: their tokens are not consecutive. */
static void chunk_with_a_gap(void **state)
{
    struct program p = linear("lasp2", LAYOUT_ZIGZAG, slopes);
    struct item *intra = at(&p, 1, OP_LINEAR_INTRA, 0);
    struct run all = { 0, 1, 8 };
    struct segment triangle = { 0, 8, 0, 8, 0, BAND_HIGH };

    (void)state;
    for (int i = 0; i < 4; i++)
        intra->o[i].tile.rows = pool_rows(p.pool, &all, 1);
    intra->op.segments = pool_segments(p.pool, &triangle, 1);
    must_find(&p, "consecutive tokens", 0);
    program_destroy(&p);
}

/* The tokens 8 .. 15 of rank 1 are two sequences. */
static void chunk_of_two_sequences(void **state)
{
    struct program p = create((struct trial){
        .strategy = "lasp", CAUSAL, .attention = ATTENTION_LINEAR,
        .lengths = { 11, 21 }, .sequences = 2 });
    struct item *intra = at(&p, 1, OP_LINEAR_INTRA, 0);
    struct run all = { 0, 1, 8 };
    struct segment triangle = { 0, 8, 0, 8, 0, BAND_HIGH };

    (void)state;
    for (int i = 0; i < 4; i++)
        intra->o[i].tile.rows = pool_rows(p.pool, &all, 1);
    intra->op.segments = pool_segments(p.pool, &triangle, 1);
    must_find(&p, "tokens of one sequence", 0);
    program_destroy(&p);
}

/* Where a sequence begins, the states before must end. */
static void factor_not_zero(void **state)
{
    struct program p = create((struct trial){
        .strategy = "lasp2-scan", CAUSAL, .attention = ATTENTION_LINEAR,
        .lengths = { 11, 21 }, .sequences = 2 });
    struct item *scan = collective_at(&p, 1, EXCLUSIVE_SCAN, 0);
    int64_t n;

    (void)state;
    assert_int_equal(*pool_numbers_get(p.pool, scan->op.segments, &n), -1);
    set_span(&p, scan, 0, 8);
    must_find(&p, "segments are not the pairs", 0);
    program_destroy(&p);
}

/* Forward scanned in the order of backward. */
static void scanned_backwards(void **state)
{
    struct program p = linear("lasp2-scan", LAYOUT_CONTIGUOUS, NULL);
    const int32_t ranks[RANKS] = { 3, 2, 1, 0 };

    (void)state;
    for (int r = 0; r < RANKS; r++)
        collective_at(&p, r, EXCLUSIVE_SCAN, 0)->op.peer =
            pool_group(p.pool, ranks, RANKS);
    must_find(&p, "pairs", 0);
    program_destroy(&p);
}

/* What the list says is not what the state is of. */
static void pairs_miscounted(void **state)
{
    struct program p = linear("lasp", LAYOUT_CONTIGUOUS, slopes);
    struct item *inter = at(&p, 2, OP_LINEAR_INTER, 0);
    struct segment s = { 0, 8, 0, 8, BAND_LOW, BAND_HIGH };

    (void)state;
    inter->op.segments = pool_segments(p.pool, &s, 1);
    must_find(&p, "segments are not the pairs of 8 x 16 tokens", 0);
    program_destroy(&p);
}

/* ---- Materialised scores ------------------------------------------------- */

/* One block of the row does not enter the softmax. */
static void row_not_whole(void **state)
{
    struct program p = rsa();
    struct item *softmax = at(&p, 3, OP_SOFTMAX, 0);

    (void)state;
    assert_int_equal(softmax->n, 5);
    softmax->n--;
    must_find(&p, "rows are not whole", 0);
    softmax->o[4] = softmax->o[1];
    softmax->n++;
    must_find(&p, "writes rows twice", 0);
    program_destroy(&p);
}

static void weights_before_softmax(void **state)
{
    struct program p = rsa();
    struct code *c = &p.code[0];
    int64_t i = find(c, OP_SOFTMAX, 0);
    struct item softmax = c->items[i];

    (void)state;
    remove_item(c, i);
    insert_item(c, find(c, OP_WEIGH, 0) + 1, softmax);
    must_find(&p, "holds scores of token", 0);
    program_destroy(&p);
}

/* Weights of one block on the values of another. */
static void values_of_another_block(void **state)
{
    struct program p = rsa();
    struct item *a = at(&p, 3, OP_WEIGH, 0), *b = at(&p, 3, OP_WEIGH, 1);
    struct tile tile = a->o[1].tile;

    (void)state;
    a->o[1].tile = b->o[1].tile;
    must_find(&p, "segments differ from those of the scores", 0);
    a->op.segments = b->op.segments;
    must_find(&p, "are not the keys of", 0);
    a->o[1].tile = tile;
    program_destroy(&p);
}

static void gradients_of_the_wrong_side(void **state)
{
    struct program p = rsa();
    struct item *dv = at(&p, 2, OP_WEIGH_TRANSPOSED, 0);
    struct item *dp = at(&p, 2, OP_SCORES, 3);

    (void)state;
    struct tile d_o = dv->o[2].tile, q = at(&p, 2, OP_SCORES, 0)->o[0].tile;
    assert_int_equal(dp->op.backward, 1);
    dv->o[2].tile = q;
    must_find(&p, "holds q of token", 0);
    dv->o[2].tile = d_o;
    dp->o[0].tile = q;
    must_find(&p, "where k is wanted", 0);
    program_destroy(&p);
}

/* dp of one block with the weights of another. */
static void dp_of_another_block(void **state)
{
    struct program p = rsa();
    struct item *a = at(&p, 3, OP_SOFTMAX_BACKWARD, 0);
    struct item *b = at(&p, 3, OP_SOFTMAX_BACKWARD, 1);

    (void)state;
    a->o[1].tile = b->o[1].tile;
    must_find(&p, "of different blocks", 0);
    program_destroy(&p);
}

/* ---- Reductions ---------------------------------------------------------- */

static void set_collectives(struct program *p, enum collective from,
                            enum collective to)
{
    for (int r = 0; r < RANKS; r++)
        collective_at(p, r, from, 0)->op.collective = (uint8_t)to;
}

static void wrong_reduction(void **state)
{
    struct program p = tree(REDUCE_ALLREDUCE3);

    (void)state;
    set_collectives(&p, ALL_REDUCE_MAX, ALL_REDUCE_SUM);
    must_find(&p, "adds up lse", 0);
    program_destroy(&p);
    p = tree(REDUCE_PACKED);
    set_collectives(&p, ALL_REDUCE_SUM, ALL_REDUCE_MAX);
    must_find(&p, "takes the maximum of num", 0);
    program_destroy(&p);
    p = tree(REDUCE_USEROP);
    set_collectives(&p, ALL_REDUCE_MERGE, ALL_REDUCE_SUM);
    must_find(&p, "adds up o", 0);
    program_destroy(&p);
}

/* Everybody scales by its own lse. */
static void own_max(void **state)
{
    struct program p = tree(REDUCE_PACKED);
    struct item *rescale = at(&p, 1, OP_RESCALE, 0);

    (void)state;
    rescale->o[2].tile = rescale->o[1].tile;
    must_find(&p, "holds lse of token", 0);
    program_destroy(&p);
}

/* The maximum is taken over two ranks, the sum over four. */
static void max_of_some(void **state)
{
    struct program p = tree(REDUCE_PACKED);
    const int32_t halves[] = { 0, 1, 2, 3 };

    (void)state;
    for (int r = 0; r < RANKS; r++)
        collective_at(&p, r, ALL_REDUCE_MAX, 0)->op.peer =
            pool_group(p.pool, halves + r / 2 * 2, 2);
    must_find(&p, "relative to one max", 0);
    program_destroy(&p);
}

/* After the maximum, more keys are attended: exp(lse - max) may overflow. */
static void max_too_early(void **state)
{
    struct program p = tree(REDUCE_PACKED);
    const struct segment first = { 0, 4, 0, 4, BAND_LOW, BAND_HIGH };
    const struct segment rest = { 0, 4, 4, 4, BAND_LOW, BAND_HIGH };
    struct code *c = &p.code[0];

    (void)state;
    int64_t i = find(c, OP_ATTEND, 0);
    struct item more = c->items[i];
    c->items[i].op.segments = pool_segments(p.pool, &first, 1);
    more.op.segments = pool_segments(p.pool, &rest, 1);
    more.o[3].access = more.o[4].access = ACCESS_UPDATE;
    insert_item(c, i + 1, more);
    must_pass(&p);
    remove_item(c, i + 1);
    insert_item(c, find(c, OP_RESCALE, 0), more);
    must_find(&p, "is not over all that is in num", 0);
    program_destroy(&p);
}

/* num of the sum, den of this rank alone. */
static void den_of_one_rank(void **state)
{
    struct program p = tree(REDUCE_ALLREDUCE3);
    struct tile den = at(&p, 2, OP_RESCALE, 0)->o[4].tile;

    (void)state;
    at(&p, 2, OP_NORMALIZE, 0)->o[1].tile = den;
    must_find(&p, "num and den of token", 0);
    program_destroy(&p);
}

/* Inside of groups only. */
static void one_level_missing(void **state)
{
    struct program p = create((struct trial){
        .strategy = "tree", CAUSAL, .pass = PASS_DECODE, .queries = 4,
        .options = { .reduce = REDUCE_TWO_LEVEL, .window = 2 } });
    const int32_t pairs[] = { 0, 1, 2, 3 };

    (void)state;
    for (int r = 0; r < RANKS; r++)
        collective_at(&p, r, ALL_REDUCE_MERGE, 1)->op.peer =
            pool_group(p.pool, pairs + r / 2 * 2, 2);
    must_find(&p, "more than once", 0);
    program_destroy(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decayed_too_little),
        cmocka_unit_test(refers_to_another_token),
        cmocka_unit_test(state_counted_twice),
        cmocka_unit_test(state_of_the_other_side),
        cmocka_unit_test(chunk_with_a_gap),
        cmocka_unit_test(chunk_of_two_sequences),
        cmocka_unit_test(factor_not_zero),
        cmocka_unit_test(scanned_backwards),
        cmocka_unit_test(pairs_miscounted),
        cmocka_unit_test(row_not_whole),
        cmocka_unit_test(weights_before_softmax),
        cmocka_unit_test(values_of_another_block),
        cmocka_unit_test(gradients_of_the_wrong_side),
        cmocka_unit_test(dp_of_another_block),
        cmocka_unit_test(wrong_reduction),
        cmocka_unit_test(own_max),
        cmocka_unit_test(max_of_some),
        cmocka_unit_test(max_too_early),
        cmocka_unit_test(den_of_one_rank),
        cmocka_unit_test(one_level_missing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
