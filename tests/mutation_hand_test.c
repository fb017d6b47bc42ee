/* SPDX-License-Identifier: Apache-2.0
 *
 * Mutations by hand, each with the finding that it must give: what softmax
 * strategies may get wrong. */
#include <config.h>

#include "mutation.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct program ring_program(void)
{
    struct program p;

    assert_int_equal(program_create(&p, (struct trial){
        .strategy = "ring", .options = { .layout = LAYOUT_ZIGZAG },
        .mask = { MASK_CAUSAL, -1, 0 }, .pass = PASS_FORWARD_BACKWARD }), 1);
    return p;
}

/* K and V of another owner: the ones of the first step. */
static void keys_of_another_step(void **state)
{
    struct program p = ring_program();
    struct item *first = at(&p, 1, OP_ATTEND, 0);
    struct item *second = at(&p, 1, OP_ATTEND, 1);

    (void)state;
    second->o[1].tile = first->o[1].tile;
    must_find(&p, "v of token", 0);             /* K and V differ in owner */
    second->o[2].tile = first->o[2].tile;
    must_find(&p, "o is not final", 0);
    program_destroy(&p);
}

static void hop_missing(void **state)
{
    struct program p = ring_program();
    struct code *c = &p.code[2], *d = &p.code[3];
    int64_t last = 0;

    (void)state;
    for (int64_t i = 0; (i = find(c, OP_SEND, i)) >= 0; i++)
        last = i;
    remove_item(c, last);                       /* a receive waits for ever */
    must_find(&p, "deadlock", 1);
    program_destroy(&p);

    p = ring_program();
    remove_item(c, find(c, OP_SEND, 0));
    remove_item(d, find(d, OP_RECV, 0));
    must_find(&p, "rank", 0);
    program_destroy(&p);
}

/* In the second hop of backward rank 1 receives into the buffer of the first,
 * and goes on with what it has. */
static void stale_block(void **state)
{
    struct program p = ring_program();
    struct code *c = &p.code[1];
    int64_t hop[RANKS], n = 0;

    (void)state;
    for (int64_t i = 0; i < c->n; i++)
        if (c->items[i].op.kind == OP_RECV && c->items[i].op.backward
            && c->items[i].op.channel == CHANNEL_KV)
            hop[n++] = i;
    assert_int_equal(n, RANKS - 1);
    c->items[hop[2]].o[0].tile = c->items[hop[1]].o[0].tile;
    c->items[hop[2]].o[1].tile = c->items[hop[1]].o[1].tile;
    must_find(&p, "rank", 0);
    program_destroy(&p);
}

/* All ranks pass on what has yet to arrive. */
static void circular_wait(void **state)
{
    struct program p = ring_program();

    (void)state;
    for (int r = 0; r < RANKS; r++) {
        struct item *recv = at(&p, r, OP_RECV, 0);
        struct item *send = at(&p, r, OP_SEND, 0);
        for (int k = 0; k < 2; k++)
            send->o[k].tile = recv->o[k].tile;
    }
    must_find(&p, "deadlock", 1);
    program_destroy(&p);
}

/* Triangles without their diagonal, as striped blocks of later owners. */
static void strict_for_causal(void **state)
{
    struct program p = ring_program();
    struct item *own = at(&p, 0, OP_ATTEND, 0);
    int64_t n;
    const struct segment *s = pool_segments_get(p.pool, own->op.segments, &n);
    struct segment strict = s[0];

    (void)state;
    assert_int_equal(n, 1);
    assert_int_equal(strict.low, 0);
    strict.low = 1;
    own->op.segments = pool_segments(p.pool, &strict, 1);
    must_find(&p, "visible pairs", 0);
    strict.low = -1;
    own->op.segments = pool_segments(p.pool, &strict, 1);
    must_find(&p, "beyond the mask", 0);
    program_destroy(&p);
}

/* Backward takes the lse as it was before the last attend. */
static void partial_lse(void **state)
{
    struct program p = ring_program();
    struct code *c = &p.code[3];
    int64_t last = 0;

    (void)state;
    for (int64_t i = 0; (i = find(c, OP_ATTEND, i)) >= 0; i++)
        last = i;
    struct tile lse = c->items[last].o[4].tile, old = lse;
    struct buffer b = c->buffers[lse.buffer];
    b.role = ROLE_SCRATCH;
    b.tensor = TENSOR_NONE;
    old.buffer = (int32_t)c->n_buffers;
    c->buffers[c->n_buffers++] = b;
    insert_item(c, last, (struct item){
        .op = { .kind = OP_COPY, .peer = -1, .segments = -1, .step = -1,
                .label = c->items[last].op.label },
        .o = { { old, ACCESS_WRITE }, { lse, ACCESS_READ } }, .n = 2 });
    must_pass(&p);
    at(&p, 3, OP_ATTEND_BACKWARD, 1)->o[4].tile = old;
    must_find(&p, "is not final", 0);
    program_destroy(&p);
}

/* delta before the last attend: of an o that still grows. */
static void early_delta(void **state)
{
    struct program p = ring_program();
    struct code *c = &p.code[0];
    int64_t i = find(c, OP_DELTA, 0), last = 0;

    (void)state;
    struct item delta = c->items[i];
    remove_item(c, i);
    for (i = 0; (i = find(c, OP_ATTEND, i)) >= 0; i++)
        last = i;
    insert_item(c, last, delta);
    must_find(&p, "is not final", 0);
    program_destroy(&p);
}

/* What comes with the queries is of other heads than they are. */
static void other_heads(void **state)
{
    struct program p;

    (void)state;
    assert_int_equal(program_create(&p, (struct trial){
        .strategy = "allgather", .options = { .head_group = 1 },
        .mask = { MASK_CAUSAL, -1, 0 }, .pass = PASS_FORWARD_BACKWARD }), 1);
    struct item *backward = at(&p, 1, OP_ATTEND_BACKWARD, 0);
    for (int64_t i = 3; i < 6; i++) {           /* do, lse, delta */
        struct tile *t = &backward->o[i].tile, old = *t;
        t->head_first += 2;
        must_find(&p, "of head", 0);
        *t = old;
    }
    struct item *delta = at(&p, 1, OP_DELTA, 0), half = *delta;
    for (int64_t i = 0; i < 3; i++) {
        delta->o[i].tile = tile_heads(delta->o[i].tile, 0, 2);
        half.o[i].tile = tile_heads(half.o[i].tile, 2, 2);
    }
    insert_item(&p.code[1], find(&p.code[1], OP_DELTA, 0), half);
    must_pass(&p);
    at(&p, 1, OP_DELTA, 0)->o[1].tile.head_first = 0;
    must_find(&p, "of head", 0);
    program_destroy(&p);
}

/* Two tiles of one message in one place; an op that writes what it reads. */
static void tiles_meet(void **state)
{
    struct program p = ring_program();
    struct item *recv = at(&p, 1, OP_RECV, 0);

    (void)state;
    recv->o[1].tile = recv->o[0].tile;
    must_find(&p, "writes rows twice", 0);
    program_destroy(&p);
    p = ring_program();
    struct item *sum = at(&p, 1, OP_SUM, 0);
    sum->o[1].tile = sum->o[0].tile;
    must_find(&p, "writes rows that it reads", 0);
    program_destroy(&p);
}

/* An output of other rows, of other heads, of another tensor. */
static void wrong_output(void **state)
{
    struct program p = ring_program();

    (void)state;
    for (int64_t b = 0; b < p.code[0].n_buffers; b++) {
        struct buffer *x = &p.code[0].buffers[b], old = *x;
        if (x->role != ROLE_OUTPUT)
            continue;
        x->map = p.code[1].buffers[b].map;
        must_fail(&p, "rows of another rank", 0, b);
        *x = old;
        x->head_first = 1;
        must_fail(&p, "other heads", 0, b);
        *x = old;
        x->tensor = x->tensor == TENSOR_DV ? TENSOR_DK : TENSOR_DV;
        must_fail(&p, "another tensor", 0, b);
        *x = old;
        x->role = ROLE_SCRATCH;
        must_fail(&p, "no output", 0, b);
        *x = old;
    }
    must_pass(&p);
    program_destroy(&p);
}

/* A block is held by two ranks, and another by none: all else is in order. */
static void tokens_twice(void **state)
{
    struct program p = ring_program();

    (void)state;
    for (int64_t b = 0; b < p.code[0].n_buffers; b++)
        if (p.code[0].buffers[b].map >= 0)
            p.code[0].buffers[b].map = p.code[1].buffers[b].map;
    must_fail(&p, "tokens twice", 0, 0);
    program_destroy(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_of_another_step),
        cmocka_unit_test(hop_missing),
        cmocka_unit_test(stale_block),
        cmocka_unit_test(circular_wait),
        cmocka_unit_test(strict_for_causal),
        cmocka_unit_test(partial_lse),
        cmocka_unit_test(early_delta),
        cmocka_unit_test(other_heads),
        cmocka_unit_test(tiles_meet),
        cmocka_unit_test(wrong_output),
        cmocka_unit_test(tokens_twice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
