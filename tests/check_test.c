/* SPDX-License-Identifier: Apache-2.0
 *
 * The checker: every strategy, layout and mask passes; its parts (rectangles,
 * what buffers hold, reuse stalls) against plain models of them. */
#include <config.h>

#include "schedule/check_internal.h"
#include "strategy/strategy.h"

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

/* ---- Jobs and plans ------------------------------------------------------ */

struct lengths {
    int64_t n, list[5];
};

static struct job make_job(int64_t heads, int64_t kv_heads,
                           const struct lengths *l, struct mask mask,
                           enum pass pass, enum dtype dtype)
{
    struct job job = {
        .transformer = { .heads = heads, .kv_heads = kv_heads, .head_dim = 8,
                         .value_dim = 4 },
        .mask = mask, .pass = pass, .dtype = dtype,
    };
    struct error e = { 0 };

    if (job_finish(&job, l->list, l->n, &e))
        fail_msg("%s", e.text);
    return job;
}

struct built {
    struct plan *plan;
    struct schedule **s;
    int32_t ranks;
};

/* No plan if the strategy does not apply. */
static struct built build(const struct job *job, const char *strategy,
                          struct strategy_options o, int32_t ranks)
{
    struct error e = { 0 };
    struct built b = { .ranks = ranks };

    b.plan = plan_create(job, strategy_find(strategy), &o, ranks, &e);
    if (!b.plan)
        return b;
    b.s = xcalloc((size_t)ranks, sizeof *b.s);
    for (int32_t r = 0; r < ranks; r++)
        b.s[r] = plan_build(b.plan, r);
    return b;
}

static void built_clear(struct built *b)
{
    for (int32_t r = 0; r < b->ranks; r++)
        schedule_destroy(b->s[r]);
    free(b->s);
    plan_destroy(b->plan);
}

static struct check_report check_built(const struct built *b)
{
    struct check_report report;

    check_schedules((const struct schedule *const *)b->s, b->ranks, &report);
    return report;
}

/* ---- Every strategy passes ----------------------------------------------- */

static const struct lengths lengths[] = {
    { 1, { 37 } }, { 1, { 64 } }, { 1, { 100 } }, { 1, { 3 } },
    { 4, { 1, 5, 97, 33 } }, { 5, { 0, 7, 0, 30, 0 } },
};
static const int64_t heads[][2] = { { 4, 2 }, { 5, 5 }, { 8, 1 } };
static const struct mask masks[] = {
    { MASK_FULL, -1, -1 }, { MASK_CAUSAL, -1, 0 }, { MASK_WINDOW, 16, 0 },
    { MASK_WINDOW, 7, 5 }, { MASK_WINDOW, 0, 0 }, { MASK_WINDOW, -1, 3 },
};
static const struct strategy_options layouts[] = {
    { .layout = LAYOUT_CONTIGUOUS, .block = 1 },
    { .layout = LAYOUT_ZIGZAG, .block = 1 },
    { .layout = LAYOUT_STRIPED, .block = 1 },
    { .layout = LAYOUT_STRIPED, .block = 3 },
};
#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

static void passes(const struct job *job, const char *strategy,
                   struct strategy_options o, int32_t ranks)
{
    struct built b = build(job, strategy, o, ranks);
    int64_t pairs = 0;

    if (!b.plan)
        return;
    struct check_report r = check_built(&b);
    if (!r.passed)
        fail_msg("%s %s %d, %d ranks, %d tokens: %s", strategy,
                 layout_names[o.layout], (int)o.block, ranks,
                 (int)job->tokens, r.finding.text);
    assert_int_equal(r.deadlock, 0);
    assert_int_equal(r.coverage, 1);
    for (int32_t i = 0; i < ranks; i++) {
        assert_int_equal(r.bytes_sent[i], plan_bytes_expected(b.plan, i));
        assert_int_equal(r.peak_bytes[i], b.s[i]->peak_bytes);
        pairs += r.pairs[i];
    }
    assert_int_equal(pairs, r.expected_pairs);
    assert_int_equal(pairs, job_pairs(job) * job->transformer.heads);
    check_report_clear(&r);
    built_clear(&b);
}

/* A sample of the matrix, all of it under SPAR_TEST_FULL. */
static void matrix(void **state)
{
    int all = getenv("SPAR_TEST_FULL") != NULL;
    static const int32_t ranks[] = { 1, 2, 3, 4, 5, 6, 7, 8, 16 };

    (void)state;
    for (int l = 0; l < COUNT(lengths); l++)
        for (int h = 0; h < COUNT(heads); h++)
            for (int m = 0; m < COUNT(masks); m++) {
                struct job job = make_job(
                    heads[h][0], heads[h][1], &lengths[l], masks[m],
                    (l + h + m) % 4 ? PASS_FORWARD_BACKWARD : PASS_FORWARD,
                    (l + m) % 2 ? DTYPE_BF16 : DTYPE_FP32);
                for (int s = 0; strategies[s]; s++)
                    for (int y = 0; y < COUNT(layouts); y++)
                        for (int n = 0; n < COUNT(ranks); n++)
                            if (all || random_below(8) == 0)
                                passes(&job, strategies[s]->name, layouts[y],
                                       ranks[n]);
                job_clear(&job);
            }
}

/* Meshes that do not look alike in both directions, either placement; 16
 * context ranks in interleaved windows of 4, where masks made from step numbers
 * would be wrong. */
static void meshes(void **state)
{
    static const struct {
        const char *strategy;
        int32_t ranks;
        int64_t head, window;
        int interleaved;
    } list[] = {
        { "usp", 6, 2, 0, 0 }, { "usp", 6, 3, 0, 0 }, { "usp", 16, 4, 0, 0 },
        { "usp", 7, 1, 0, 0 }, { "usp", 12, 12, 0, 0 }, { "2d", 6, 1, 3, 0 },
        { "2d", 12, 2, 3, 0 }, { "2d", 16, 4, 2, 0 }, { "2d", 16, 1, 4, 1 },
        { "2d", 16, 2, 4, 1 }, { "double-ring", 12, 0, 3, 0 },
        { "double-ring", 12, 0, 12, 0 }, { "double-ring", 7, 0, 1, 0 },
    };

    (void)state;
    for (int i = 0; i < COUNT(list); i++)
        for (int y = 0; y < COUNT(layouts); y++) {
            struct strategy_options o = layouts[y];
            struct job job = make_job(4, 2, &lengths[i % COUNT(lengths)],
                                      masks[1 + i % 2], PASS_FORWARD_BACKWARD,
                                      DTYPE_FP32);
            struct error e = { 0 };
            o.head = list[i].head;
            o.window = list[i].window;
            o.interleaved = list[i].interleaved;
            o.placement = i % 2 ? CONTEXT_FIRST : HEAD_FIRST;
            struct plan *p = plan_create(&job, strategy_find(list[i].strategy),
                                         &o, list[i].ranks, &e);
            if (!p)
                fail_msg("%s", e.text);
            plan_destroy(p);
            passes(&job, list[i].strategy, o, list[i].ranks);
            job_clear(&job);
        }
}

static void degrees_that_do_not_divide(void **state)
{
    static const struct {
        const char *strategy;
        int32_t ranks;
        struct strategy_options o;
    } list[] = {
        { "usp", 4, { .head = 3 } }, { "2d", 8, { .head = 2, .window = 3 } },
        { "2d", 8, { .head = 1, .interleaved = 1 } },
        { "double-ring", 7, { .window = 2 } },
    };
    struct job job = make_job(4, 2, &lengths[0], masks[1], PASS_FORWARD,
                              DTYPE_FP32);

    (void)state;
    for (int i = 0; i < COUNT(list); i++) {
        struct error e = { 0 };
        assert_null(plan_create(&job, strategy_find(list[i].strategy),
                                &list[i].o, list[i].ranks, &e));
        assert_true(strlen(e.text) > 0);
    }
    job_clear(&job);
}

/* The overlap is the point of a ring: two buffers are enough. */
static void rings_do_not_stall(void **state)
{
    static const char *const rings[] = { "ring", "double-ring",
                                         "token-ring" };

    (void)state;
    for (int32_t i = 0; i < 2 * 3 * COUNT(layouts) * 16; i++) {
        int32_t ranks = 1 + i % 16;
        const char *ring = rings[i / 16 % 3];
        struct job job = make_job(4, 2, &(struct lengths){ 1, { 32 * ranks } },
                                  masks[i / 48 % 2], PASS_FORWARD_BACKWARD,
                                  DTYPE_BF16);
        struct built b = build(&job, ring, layouts[i / 96], ranks);
        struct check_report r = check_built(&b);
        if (r.reuse_stalls)
            fail_msg("%s, %d ranks: %d stalls", ring, ranks,
                     (int)r.reuse_stalls);
        check_report_clear(&r);
        built_clear(&b);
        job_clear(&job);
    }
}

/* ---- Reuse stalls against removing every edge ---------------------------- */

struct model {
    const struct built *b;
    int64_t **end;
    int64_t sum, number, largest;
};

static int64_t model_cost(const struct model *m, const struct schedule *s,
                          const struct op *op)
{
    struct work w = op_work(s, op);
    int is_move = op->kind == OP_SEND || op->kind == OP_RECV
        || op->kind == OP_COLLECTIVE;

    return is_move ? (op->kind == OP_RECV ? w.received_bytes : w.sent_bytes)
                         * m->sum
                   : w.pairs * m->number * m->largest;
}

/* Number of earlier ops of the rank that meet the same peer in the same way. */
static int64_t turn(const struct schedule *s, int64_t i, int kind)
{
    int64_t n = 0;

    for (int64_t k = 0; k < i; k++)
        n += s->ops[k].kind == kind && s->ops[k].channel == s->ops[i].channel
            && s->ops[k].peer == s->ops[i].peer;
    return n;
}

static int64_t op_at_turn(const struct schedule *s, int kind, int channel,
                          int32_t peer, int64_t n)
{
    for (int64_t i = 0; i < s->n_ops; i++)
        if (s->ops[i].kind == kind && s->ops[i].channel == channel
            && s->ops[i].peer == peer && n-- == 0)
            return i;
    fail_msg("no partner");
    return -1;
}

/* When op i of a rank may start, by what comes before it on the rank. */
static int64_t model_start(const struct model *m, int64_t rank, int64_t i,
                           int64_t skip_rank, int64_t skip_dep)
{
    const struct schedule *s = m->b->s[rank];
    const struct op *op = &s->ops[i];
    int64_t start = 0;
    int mine[2], lane[2];

    op_lanes(op, mine);
    for (int64_t k = 0; k < i; k++) {
        op_lanes(&s->ops[k], lane);
        for (int a = 0; a < 4; a++)
            if (mine[a / 2] >= 0 && mine[a / 2] == lane[a % 2])
                start = max64(start, m->end[rank][k]);
    }
    for (int32_t d = op->dep_first; d < op->dep_first + op->dep_count; d++)
        if (rank != skip_rank || d != skip_dep)
            start = max64(start, m->end[rank][s->deps[d].op]);
    return start;
}

/* End of op i, which its partners share. */
static int64_t model_end(const struct model *m, int64_t rank, int64_t i,
                         int64_t skip_rank, int64_t skip_dep)
{
    const struct schedule *s = m->b->s[rank];
    const struct op *op = &s->ops[i];
    int64_t start = model_start(m, rank, i, skip_rank, skip_dep);
    int64_t cost = model_cost(m, s, op);

    if (op->kind == OP_SEND || op->kind == OP_RECV) {
        int other = op->kind == OP_SEND ? OP_RECV : OP_SEND;
        int64_t k = op_at_turn(m->b->s[op->peer], other, op->channel,
                               (int32_t)rank, turn(s, i, op->kind));
        start = max64(start, model_start(m, op->peer, k, skip_rank,
                                         skip_dep));
    }
    if (op->kind == OP_COLLECTIVE) {
        int64_t members;
        const int32_t *group = pool_group_get(s->pool, op->peer, &members);
        for (int64_t g = 0; g < members; g++) {
            int32_t r = group[g];
            int64_t k = op_at_turn(m->b->s[r], OP_COLLECTIVE, op->channel,
                                   op->peer, turn(s, i, OP_COLLECTIVE));
            start = max64(start, model_start(m, r, k, skip_rank, skip_dep));
            cost = max64(cost, model_cost(m, m->b->s[r],
                                          &m->b->s[r]->ops[k]));
        }
    }
    return start + cost;
}

/* Relax until nothing changes. */
static int64_t model_makespan(struct model *m, int64_t skip_rank,
                              int64_t skip_dep)
{
    int64_t makespan = 0;
    int changed = 1;

    for (int64_t r = 0; r < m->b->ranks; r++)
        memset(m->end[r], 0, (size_t)m->b->s[r]->n_ops * sizeof **m->end);
    while (changed) {
        changed = 0;
        for (int64_t r = 0; r < m->b->ranks; r++)
            for (int64_t i = 0; i < m->b->s[r]->n_ops; i++) {
                int64_t end = model_end(m, r, i, skip_rank, skip_dep);
                changed |= end != m->end[r][i];
                m->end[r][i] = end;
                makespan = max64(makespan, end);
            }
    }
    return makespan;
}

static void model_units(struct model *m)
{
    for (int64_t r = 0; r < m->b->ranks; r++)
        for (int64_t i = 0; i < m->b->s[r]->n_ops; i++) {
            struct work w = op_work(m->b->s[r], &m->b->s[r]->ops[i]);
            m->sum += w.pairs;
            m->number += w.pairs > 0;
            m->largest = max64(m->largest, w.sent_bytes);
        }
    m->largest = max64(m->largest, 1);
}

static int64_t model_stalls(const struct built *b)
{
    struct model m = { .b = b };
    int64_t stalls = 0;

    m.end = xcalloc((size_t)b->ranks, sizeof *m.end);
    for (int64_t r = 0; r < b->ranks; r++)
        m.end[r] = xcalloc((size_t)b->s[r]->n_ops, sizeof **m.end);
    model_units(&m);
    int64_t whole = model_makespan(&m, -1, -1);
    for (int64_t r = 0; r < b->ranks; r++)
        for (int64_t d = 0; d < b->s[r]->n_deps; d++)
            stalls += b->s[r]->deps[d].kind == DEP_WRITE_AFTER_READ
                && model_makespan(&m, r, d) < whole;
    for (int64_t r = 0; r < b->ranks; r++)
        free(m.end[r]);
    free(m.end);
    return stalls;
}

static int64_t same_stalls(const struct built *b)
{
    struct check_report r = check_built(b);
    int64_t stalls = r.reuse_stalls;

    if (!r.passed)
        fail_msg("%s", r.finding.text);
    assert_int_equal(stalls, model_stalls(b));
    check_report_clear(&r);
    return stalls;
}

/* Windows cost so unequally that even the ring stalls now and then. */
static void stalls_by_removal(void **state)
{
    int64_t stalls = 0;

    (void)state;
    for (int s = 0; strategies[s]; s++)
        for (int m = 0; m < COUNT(masks); m++)
            for (int y = 0; y < COUNT(layouts); y++)
                for (int32_t ranks = 2; ranks < 7; ranks++) {
                    if (random_below(5) > 0)
                        continue;
                    struct job job = make_job(
                        4, 2, &(struct lengths){ 1, { 96 } }, masks[m],
                        ranks < 6 ? PASS_FORWARD_BACKWARD : PASS_FORWARD,
                        DTYPE_FP32);
                    struct built b = build(&job, strategies[s]->name,
                                           layouts[y], ranks);
                    if (b.plan) {
                        stalls += same_stalls(&b);
                        built_clear(&b);
                    }
                    job_clear(&job);
                }
    assert_true(stalls > 0);
}

static const struct {
    enum role role;
    enum tensor_name tensor;
    int width;
} ends[] = {
    { ROLE_INPUT, TENSOR_Q, 8 }, { ROLE_INPUT, TENSOR_K, 8 },
    { ROLE_INPUT, TENSOR_V, 4 }, { ROLE_OUTPUT, TENSOR_O, 4 },
    { ROLE_OUTPUT, TENSOR_LSE, 1 },
};

/* q k v o lse of 8 rows, and `spare` buffers for a half of k and v. */
static void add_buffers(struct schedule *s, int32_t map, int spare)
{
    for (int i = 0; i < COUNT(ends); i++)
        schedule_buffer(s, tensor_names[ends[i].tensor], (struct buffer){
            .role = ends[i].role, .tensor = ends[i].tensor, .map = map,
            .rows = 8, .heads = 1, .width = ends[i].width });
    for (int i = 0; i < 2 * spare; i++)
        schedule_buffer(s, "spare", (struct buffer){
            .role = ROLE_SCRATCH, .map = -1, .rows = 4, .heads = 1,
            .width = i % 2 ? 4 : 8 });
}

static void attend(struct schedule *s, int32_t k, enum access access,
                   struct segment segment)
{
    schedule_attend(s, "", tile_whole(s, 0), tile_whole(s, k),
                    tile_whole(s, k + 1), tile_whole(s, 3), tile_whole(s, 4),
                    access, &segment, 1);
}

/* Rank 0 sends its keys in two halves; rank 1 takes both into one buffer, or
 * each into its own. */
static void two_halves(struct schedule **s, struct pool *pool,
                       const struct job *job, int spare)
{
    static const struct segment own = { 0, 8, 0, 8, 0, BAND_HIGH };
    static const struct segment half = { 0, 8, 0, 4, BAND_LOW, BAND_HIGH };

    for (int r = 0; r < 2; r++) {
        s[r] = schedule_create(pool, job, 2, r);
        add_buffers(s[r], pool_map(pool, position_map_shard(
            job, LAYOUT_CONTIGUOUS, 1, 2, r)), r * spare);
    }
    attend(s[0], 1, ACCESS_WRITE, own);
    for (int i = 0; i < 2; i++) {
        int32_t k = 5 + 2 * (i % spare);
        schedule_send(s[0], "kv", CHANNEL_KV, 1, (struct tile[]){
            tile_rows(s[0], 1, 4 * i, 4), tile_rows(s[0], 2, 4 * i, 4) }, 2);
        schedule_recv(s[1], "kv", CHANNEL_KV, 0, (struct tile[]){
            tile_whole(s[1], k), tile_whole(s[1], k + 1) }, 2);
        attend(s[1], k, i ? ACCESS_UPDATE : ACCESS_WRITE, half);
    }
    attend(s[1], 1, ACCESS_UPDATE, own);
    schedule_freeze(s[0]);
    schedule_freeze(s[1]);
}

static void one_buffer_stalls(void **state)
{
    struct job job = make_job(1, 1, &(struct lengths){ 1, { 16 } }, masks[1],
                              PASS_FORWARD, DTYPE_FP32);

    (void)state;
    for (int spare = 1; spare <= 2; spare++) {
        struct pool *pool = pool_create();
        struct schedule *s[2];
        two_halves(s, pool, &job, spare);
        struct built b = { .s = s, .ranks = 2 };
        assert_int_equal(same_stalls(&b), spare == 1);
        schedule_destroy(s[0]);
        schedule_destroy(s[1]);
        pool_destroy(pool);
    }
    job_clear(&job);
}

/* Two buffers at one place in the arena: the second half is received over the
 * first, or is gone when it is attended. */
static void shared_memory(void **state)
{
    struct job job = make_job(1, 1, &(struct lengths){ 1, { 16 } }, masks[1],
                              PASS_FORWARD, DTYPE_FP32);
    struct pool *pool = pool_create();
    struct schedule *s[2];

    (void)state;
    two_halves(s, pool, &job, 2);
    for (int i = 7; i < 9; i++)
        s[1]->buffers[i].offset = s[1]->buffers[i - 2].offset;
    struct built b = { .s = s, .ranks = 2 };
    struct check_report r = check_built(&b);
    assert_int_equal(r.passed, 0);
    assert_string_not_equal(r.finding.text, "");
    check_report_clear(&r);
    schedule_destroy(s[0]);
    schedule_destroy(s[1]);
    pool_destroy(pool);
    job_clear(&job);
}

/* The second receive no longer waits for the attend that reads its buffer. */
static void missing_edge(void **state)
{
    struct job job = make_job(1, 1, &(struct lengths){ 1, { 16 } }, masks[1],
                              PASS_FORWARD, DTYPE_FP32);
    struct pool *pool = pool_create();
    struct schedule *s[2];
    int removed = 0;

    (void)state;
    two_halves(s, pool, &job, 1);
    struct built b = { .s = s, .ranks = 2 };
    for (int64_t i = 0; i < s[1]->n_ops; i++) {
        struct op *op = &s[1]->ops[i];
        int32_t count = op->dep_count;
        if (count == 0)
            continue;
        op->dep_count = 0;
        struct check_report r = check_built(&b);
        assert_int_equal(r.passed, 0);
        assert_non_null(strstr(r.finding.text, "may still"));
        check_report_clear(&r);
        op->dep_count = count;
        removed++;
    }
    assert_int_equal(removed, 3);       /* attend, recv, attend */
    schedule_destroy(s[0]);
    schedule_destroy(s[1]);
    pool_destroy(pool);
    job_clear(&job);
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
    struct job job = make_job(1, 1, &(struct lengths){ 1, { 4 } }, masks[0],
                              PASS_FORWARD, DTYPE_FP32);
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
    struct job job = make_job(1, 1, &(struct lengths){ 1, { 4 } }, masks[0],
                              PASS_FORWARD, DTYPE_FP32);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rectangles),
        cmocka_unit_test(buffers),
        cmocka_unit_test(stripes_join),
        cmocka_unit_test(matrix),
        cmocka_unit_test(meshes),
        cmocka_unit_test(degrees_that_do_not_divide),
        cmocka_unit_test(rings_do_not_stall),
        cmocka_unit_test(stalls_by_removal),
        cmocka_unit_test(one_buffer_stalls),
        cmocka_unit_test(shared_memory),
        cmocka_unit_test(missing_edge),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
