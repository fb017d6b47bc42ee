/* SPDX-License-Identifier: Apache-2.0
 *
 * Parts of the checker against plain models of them: rectangles, masks, what
 * buffers hold, histories, tokens. */
#include <config.h>

#include "schedule/check_internal.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static uint64_t seed = 1;

static int64_t random_below(int64_t n)
{
    seed = hash_u64(seed, 1);
    return (int64_t)(seed % (uint64_t)n);
}

static struct job small_job(void)
{
    const int64_t length = 4;
    struct job job = { .transformer = { .heads = 1, .kv_heads = 1,
                                        .head_dim = 8 } };
    struct error e = { 0 };

    assert_int_equal(job_finish(&job, &length, 1, &e), 0);
    return job;
}

/* ---- Rectangles ---------------------------------------------------------- */

static struct run random_run(void)
{
    return (struct run){ random_below(20), 1 + random_below(5),
                         random_below(7) };
}

static struct rect random_rect(void)
{
    struct rect r = { random_run(), random_run(), BAND_LOW, BAND_HIGH };

    if (random_below(2))
        r.low = random_below(40) - 20;
    if (random_below(2))
        r.high = random_below(40) - 10;
    if (random_below(2))
        r.y.stride = r.x.stride;
    return r;
}

static int in_run(struct run r, int64_t x)
{
    return r.count > 0 && x >= r.first && x <= run_last(r)
        && (x - r.first) % r.stride == 0;
}

static int in_rect(struct rect r, int64_t x, int64_t y)
{
    return in_run(r.x, x) && in_run(r.y, y) && r.low <= x - y
        && x - y <= r.high;
}

enum { AXIS = 64 };

/* Pairs that are in both. */
static int64_t pairs_of_both(struct rect a, struct rect b)
{
    int64_t n = 0;

    for (int64_t x = 0; x < AXIS; x++)
        for (int64_t y = 0; y < AXIS; y++)
            n += in_rect(a, x, y) && in_rect(b, x, y);
    return n;
}

static void rectangles(void **state)
{
    int met = 0;

    (void)state;
    for (int i = 0; i < 3000; i++) {
        struct rect r[4], a, b;
        int disjoint = 1;
        for (int k = 0; k < 4; k++)
            r[k] = random_rect();
        assert_int_equal(rect_pairs(r[0]), pairs_of_both(r[0], r[0]));
        assert_int_equal(rect_pairs(rect_meet(r[0], r[1])),
                         pairs_of_both(r[0], r[1]));
        for (int k = 0; k < 6; k++)
            disjoint &= !pairs_of_both(r[k < 3 ? 0 : k < 5 ? 1 : 2],
                                       r[k < 3 ? k + 1 : k < 5 ? k - 1 : 3]);
        assert_int_equal(rects_disjoint(r, 4, &a, &b), disjoint);
        if (!disjoint)
            assert_true(pairs_of_both(a, b) > 0);
        met += !disjoint;
    }
    assert_in_range(met, 300, 2700);
}

/* ---- What buffers hold --------------------------------------------------- */

enum { ROWS = 24, HEADS = 3 };

struct cell {
    int64_t token, head, node;          /* token -1: undefined */
};

static struct tile random_tile(struct schedule *s)
{
    struct run runs[3];
    int64_t n = 0, row = random_below(6);
    int32_t head = (int32_t)random_below(HEADS);

    for (; n < 3 && row < ROWS; n++) {
        int64_t stride = random_below(3) ? 1 : 1 + random_below(4);
        int64_t count = 1 + random_below((ROWS - row - 1) / stride + 1);
        runs[n] = (struct run){ row, count == 1 ? 1 : stride, count };
        row = run_last(runs[n]) + 1 + random_below(5);
    }
    return (struct tile){ 0, pool_rows(s->pool, runs, n), head,
                          1 + (int32_t)random_below(HEADS - head) };
}

/* Row i of a tile, in the buffer. */
static int64_t tile_row(const struct schedule *s, struct tile t, int64_t i)
{
    int64_t n;
    const struct run *r = pool_rows_get(s->pool, t.rows, &n);

    for (; i >= r->count; r++)
        i -= r->count;
    return r->first + i * r->stride;
}

static void write_random(struct schedule *s, struct contents *c,
                         struct cell model[ROWS][HEADS])
{
    struct tile t = random_tile(s);
    int64_t rows = tile_row_count(s, t), first = random_below(50);
    int64_t step = 1 + random_below(3), node = random_below(2);
    struct spans in = { 0 };

    /* As when another rank's rows arrive: in token order of the buffer. */
    if (random_below(2)) {
        first = tile_row(s, t, 0);
        step = rows > 1 ? tile_row(s, t, 1) - first : 1;
    }
    for (int64_t i = 0; i < rows; i++)
        for (int32_t h = 0; h < t.head_count; h++)
            model[tile_row(s, t, i)][t.head_first + h] = (struct cell){
                first + i * step, 5 + h, node };
    spans_push(&in, (struct span){
        .rows = rows, .heads = t.head_count, .token = first,
        .step = rows == 1 ? 1 : step, .of_head = 5, .what = TENSOR_O,
        .node = (int32_t)node });
    contents_write(s, c, t, &in);
    free(in.list);
}

static void read_random(struct schedule *s, struct contents *c,
                        struct cell model[ROWS][HEADS])
{
    struct tile t = random_tile(s);
    struct spans out = { 0 };
    int64_t defined = 0, rows = tile_row_count(s, t);

    for (int64_t i = 0; i < rows; i++)
        for (int32_t h = 0; h < t.head_count; h++)
            defined += model[tile_row(s, t, i)][t.head_first + h].token >= 0;
    contents_read(s, c, t, &out);
    assert_int_equal(spans_area(&out), defined);
    for (int64_t k = 0; k < out.n; k++) {
        const struct span *x = &out.list[k];
        assert_true(k == 0 || out.list[k - 1].row <= x->row);
        for (int64_t i = 0; i < x->rows; i++)
            for (int32_t h = 0; h < x->heads; h++) {
                struct cell *m = &model[tile_row(s, t, x->row + i)]
                    [t.head_first + x->head + h];
                assert_int_equal(x->token + i * x->step, m->token);
                assert_int_equal(x->of_head + h, m->head);
                assert_int_equal(x->node, m->node);
            }
    }
    free(out.list);
}

static void buffers(void **state)
{
    struct job job = small_job();
    struct pool *pool = pool_create();

    (void)state;
    for (int i = 0; i < 500; i++) {
        struct schedule *s = schedule_create(pool, &job, 1, 0);
        struct contents c = { 0 };
        struct cell model[ROWS][HEADS];
        schedule_buffer(s, "x", (struct buffer){
            .role = ROLE_SAVED, .map = -1, .rows = ROWS, .heads = HEADS,
            .width = 1 });
        for (int k = 0; k < ROWS * HEADS; k++)
            model[k / HEADS][k % HEADS].token = -1;
        for (int k = 0; k < 12; k++) {
            write_random(s, &c, model);
            if (random_below(2))
                read_random(s, &c, model);
        }
        contents_clear(&c);
        schedule_destroy(s);
    }
    pool_destroy(pool);
    job_clear(&job);
}

/* Shards of stride N that arrive one by one are one span in the end. */
static void stripes_join(void **state)
{
    struct job job = small_job();
    struct pool *pool = pool_create();
    struct schedule *s = schedule_create(pool, &job, 1, 0);
    struct contents c = { 0 };
    struct spans x = { 0 };

    (void)state;
    schedule_buffer(s, "x", (struct buffer){ .role = ROLE_SAVED, .map = -1,
                                             .rows = 1000, .heads = 2,
                                             .width = 1 });
    for (int64_t r = 0; r < 7; r++) {
        struct run run = { r, 7, (1000 - r + 6) / 7 };
        struct tile t = { 0, pool_rows(pool, &run, 1), 0, 2 };
        x.n = 0;
        spans_push(&x, (struct span){ .rows = run.count, .heads = 2,
                                      .token = r, .step = 7,
                                      .what = TENSOR_K });
        contents_write(s, &c, t, &x);
    }
    contents_read(s, &c, tile_whole(s, 0), &x);
    assert_int_equal(x.n, 1);
    assert_int_equal(x.list[0].rows, 1000);
    assert_int_equal(x.list[0].step, 1);
    free(x.list);
    contents_clear(&c);
    schedule_destroy(s);
    pool_destroy(pool);
    job_clear(&job);
}

/* ---- Masks, tokens, histories -------------------------------------------- */

/* By the definition of Star Attention. */
static int star_sees(const struct star *m, int64_t q, int64_t k)
{
    return k <= q && (q >= m->context || q / m->block == k / m->block
                      || k < m->anchor);
}

static void star_masks(void **state)
{
    struct job job = small_job();

    (void)state;
    job.tokens = AXIS;
    job.mask.kind = MASK_STAR;
    for (int i = 0; i < 2000; i++) {
        struct rect r = random_rect();
        int64_t pairs = 0;
        job.star = (struct star){ 1 + random_below(20), 1 + random_below(30),
                                  random_below(AXIS + 1) };
        for (int64_t q = 0; q < AXIS; q++)
            for (int64_t k = 0; k < AXIS; k++)
                pairs += in_rect(r, q, k) && star_sees(&job.star, q, k);
        assert_int_equal(mask_pairs(&job, r), pairs);
    }
    job_clear(&job);
}

/* Packed sequences, some empty, any window. */
static void packed_masks(void **state)
{
    const int64_t lengths[] = { 3, 0, 20, 1, 0, 40 };
    struct job job = { .transformer = { .heads = 1, .head_dim = 8 } };
    struct error e = { 0 };

    (void)state;
    assert_int_equal(job_finish(&job, lengths, 6, &e), 0);
    for (int i = 0; i < 2000; i++) {
        struct rect r = random_rect();
        int64_t pairs = 0;
        job.mask.left = random_below(30) - 1;
        job.mask.right = random_below(10) - 1;
        for (int64_t q = 0; q < AXIS; q++)
            for (int64_t k = 0; k < AXIS; k++)
                pairs += in_rect(r, q, k)
                    && mask_sequence(&job, q) == mask_sequence(&job, k)
                    && (job.mask.left < 0 || q - k <= job.mask.left)
                    && (job.mask.right < 0 || k - q <= job.mask.right);
        assert_int_equal(mask_pairs(&job, r), pairs);
        if (r.x.count && r.y.count && mask_covers(&job, &r))
            assert_int_equal(pairs, rect_pairs(r));
    }
    job_clear(&job);
}

/* What is in both lists stays there twice. */
static void token_lists(void **state)
{
    struct pool *pool = pool_create();
    const struct run runs[] = { { 8, 1, 8 }, { 0, 1, 8 }, { 16, 1, 4 } };
    int32_t list = pool_rows(pool, NULL, 0);
    int64_t n;

    (void)state;
    for (int i = 0; i < 3; i++)
        list = tokens_join(pool, list, pool_rows(pool, &runs[i], 1));
    const struct run *r = pool_rows_get(pool, list, &n);
    assert_int_equal(n, 1);
    assert_int_equal(r->count, 20);
    list = tokens_join(pool, list, pool_rows(pool, &runs[0], 1));
    r = pool_rows_get(pool, list, &n);
    assert_int_equal(runs_count(r, n), 28);
    pool_destroy(pool);
}

static void histories(void **state)
{
    struct history h = { 0 };
    int32_t leaf[4];

    (void)state;
    history_create(&h);
    for (int i = 0; i < 4; i++)
        leaf[i] = history_leaf(&h, (struct leaf){ .q = i, .linear = i == 3 });
    int32_t a = history_join(&h, leaf[0], leaf[1]);
    int32_t b = history_join(&h, leaf[1], leaf[0]);
    int32_t c = history_join(&h, a, leaf[2]);
    assert_true(history_covers(&h, a, b));
    assert_true(history_covers(&h, c, b));
    assert_true(history_covers(&h, c, 0));
    assert_false(history_covers(&h, b, c));
    assert_false(history_covers(&h, c, leaf[3]));
    assert_true(history_covers(&h, c, history_join(&h, a, leaf[0])));
    assert_int_equal(history_any(&h, c)->linear, 0);
    assert_int_equal(history_any(&h, leaf[3])->linear, 1);
    history_clear(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rectangles),
        cmocka_unit_test(buffers),
        cmocka_unit_test(stripes_join),
        cmocka_unit_test(star_masks),
        cmocka_unit_test(packed_masks),
        cmocka_unit_test(token_lists),
        cmocka_unit_test(histories),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
