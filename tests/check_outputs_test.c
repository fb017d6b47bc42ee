/* SPDX-License-Identifier: Apache-2.0
 *
 * Mutations by hand of outputs: layers, replicas, the two phases of Star
 * Attention; each with the finding that it must give. */
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

static struct buffer *output(struct program *p, int rank,
                             enum tensor_name tensor, int32_t layer)
{
    struct code *c = &p->code[rank];

    for (int64_t b = 0; b < c->n_buffers; b++)
        if (c->buffers[b].role == ROLE_OUTPUT && c->buffers[b].tensor == tensor
            && c->buffers[b].layer == layer)
            return &c->buffers[b];
    fail_msg("no output %s of layer %d", tensor_names[tensor], layer);
    return NULL;
}

/* Layers read the same tensors: only the kind of attention tells them apart. */
static void attention_of_another_layer(void **state)
{
    struct program p = create((struct trial){
        .strategy = "lasp2h", CAUSAL, BOTH, .pattern = "SL",
        .slopes = slopes });
    struct buffer *a = output(&p, 1, TENSOR_DQ, 0);
    struct buffer *b = output(&p, 1, TENSOR_DQ, 1);

    (void)state;
    a->layer = 1;
    b->layer = 0;
    must_find(&p, "attention is summed up where it is", 0);
    b->layer = 1;
    must_find(&p, "ranks hold 96 of 128 tokens", 0);
    a->layer = 2;
    must_find(&p, "is no tensor of the job", 0);
    a->layer = 0;
    a = output(&p, 1, TENSOR_LSE, 0);
    a->layer = 1;                       /* linear attention has none */
    must_find(&p, "is no tensor of the job", 0);
    program_destroy(&p);
}

static void replicas(void **state)
{
    struct program p = create((struct trial){
        .strategy = "tree", CAUSAL, .pass = PASS_DECODE, .queries = 4,
        .options = { .reduce = REDUCE_GATHER } });
    struct buffer *o = output(&p, 2, TENSOR_O, 0);

    (void)state;
    o->replicated = 0;
    must_find(&p, "is an output twice", 0);
    o->replicated = 1;
    int32_t map = o->map;
    o->map = pool_map(p.pool, position_map_slice(
        pool_map_get(p.pool, p.code[0].buffers[1].map), 0, 4));
    must_find(&p, "replicas hold different rows", 0);
    o->map = map;
    must_pass(&p);
    remove_item(&p.code[3], find(&p.code[3], OP_MERGE, 0));
    must_find(&p, "rows are never written", 0);
    program_destroy(&p);
}

/* A rank that holds context only hides some of it from the queries: the trap of
 * a causal flag aligned to the end. */
static void star_context_hidden(void **state)
{
    struct program p = create((struct trial){
        .strategy = "star", CAUSAL, .queries = 4,
        .options = { .block = 7, .anchor = 7 } });
    struct code *c = &p.code[1];
    int64_t last = 0, n;

    (void)state;
    for (int64_t i = 0; (i = find(c, OP_ATTEND, i)) >= 0; i++)
        last = i;
    struct segment s = *pool_segments_get(p.pool, c->items[last].op.segments,
                                          &n);
    assert_int_equal(s.low, BAND_LOW);
    assert_int_equal(s.q_count, 4);
    s.low = s.q_count - s.k_count;
    c->items[last].op.segments = pool_segments(p.pool, &s, 1);
    must_find(&p, "visible pairs", 0);
    program_destroy(&p);
}

/* Blocks that see more than themselves and the anchor. */
static void star_block_sees_another(void **state)
{
    struct program p = create((struct trial){
        .strategy = "star", CAUSAL, .queries = 4,
        .options = { .block = 3, .anchor = 3 } });
    struct item *own = at(&p, 3, OP_ATTEND, 1);
    const struct segment all = { 0, 7, 0, 7, 0, BAND_HIGH };
    int64_t n;

    (void)state;
    pool_segments_get(p.pool, own->op.segments, &n);
    assert_true(n > 1);
    own->op.segments = pool_segments(p.pool, &all, 1);
    must_find(&p, "beyond the mask", 0);
    program_destroy(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_of_another_layer),
        cmocka_unit_test(replicas),
        cmocka_unit_test(star_context_hidden),
        cmocka_unit_test(star_block_sees_another),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
