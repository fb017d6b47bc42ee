/* SPDX-License-Identifier: Apache-2.0
 *
 * Reuse stalls against removing every edge in turn; edges that are missing. */
#include <config.h>

#include "rig.h"

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

/* ---- Reuse stalls against removing every edge ---------------------------- */

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

struct built {
    struct schedule **s;
    int32_t ranks;
};

static struct check_report check_built(const struct built *b)
{
    struct check_report report;

    check_schedules((const struct schedule *const *)b->s, b->ranks, &report);
    return report;
}

struct model {
    const struct built *b;
    int64_t **end;
    int by_flops;
    int64_t sum, number, largest;
};

/* Visible pairs where all products are attends; else flops. */
static int64_t model_weight(const struct model *m, const struct op *op,
                            const struct work *w)
{
    return !op_is_product(op) ? 0 : m->by_flops ? (int64_t)w->flops : w->pairs;
}

static int64_t model_cost(const struct model *m, const struct schedule *s,
                          const struct op *op)
{
    struct work w = op_work(s, op);
    int is_move = op->kind == OP_SEND || op->kind == OP_RECV
        || op->kind == OP_COLLECTIVE;

    return is_move ? (op->kind == OP_RECV ? w.received_bytes : w.sent_bytes)
                         * m->sum
                   : model_weight(m, op, &w) * m->number * m->largest;
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

static int is_attend(const struct op *op)
{
    return op->kind == OP_ATTEND || op->kind == OP_ATTEND_BACKWARD;
}

static void model_units(struct model *m)
{
    for (int64_t r = 0; r < m->b->ranks; r++)
        for (int64_t i = 0; i < m->b->s[r]->n_ops; i++)
            m->by_flops |= op_is_product(&m->b->s[r]->ops[i])
                && !is_attend(&m->b->s[r]->ops[i]);
    for (int64_t r = 0; r < m->b->ranks; r++)
        for (int64_t i = 0; i < m->b->s[r]->n_ops; i++) {
            const struct op *op = &m->b->s[r]->ops[i];
            struct work w = op_work(m->b->s[r], op);
            m->sum += model_weight(m, op, &w);
            m->number += model_weight(m, op, &w) > 0;
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

static const double slopes[] = { 0.25, 0.0625, 0.015625, 0.0039 };

#define CAUSAL   .mask = { MASK_CAUSAL, -1, 0 }
#define BOTH     .pass = PASS_FORWARD_BACKWARD

static const struct trial jobs[] = {
    { .mask = { MASK_FULL, -1, -1 }, BOTH }, { CAUSAL, BOTH },
    { .mask = { MASK_WINDOW, 16, 0 }, BOTH },
    { .mask = { MASK_WINDOW, 7, 5 }, BOTH },
    { .mask = { MASK_WINDOW, -1, 3 }, BOTH }, { CAUSAL, .queries = 9 },
    { CAUSAL, BOTH, .attention = ATTENTION_LINEAR, .slopes = slopes },
    { CAUSAL, BOTH, .pattern = "SL", .slopes = slopes },
    { CAUSAL, .pass = PASS_DECODE, .queries = 4 },
};

static int64_t stalls_of(struct trial t)
{
    struct rig g;
    int64_t stalls = 0;

    t.lengths[0] = 96;
    t.heads = 4;
    t.kv_heads = 2;
    t.head_dim = t.value_dim = 8;
    if (!rig_create(&g, &t))
        return 0;
    stalls = same_stalls(&(struct built){ g.schedules, t.ranks });
    rig_destroy(&g);
    return stalls;
}

/* Windows cost so unequally that even the ring stalls now and then. */
static void stalls_by_removal(void **state)
{
    int64_t stalls = 0;

    (void)state;
    for (int s = 0; strategies[s]; s++)
        for (int m = 0; m < COUNT(jobs); m++)
            for (int y = 0; y < LAYOUTS; y++)
                for (int32_t ranks = 2; ranks < 7; ranks++) {
                    struct trial t = jobs[m];
                    t.strategy = strategies[s]->name;
                    t.options.layout = (enum layout)y;
                    t.options.block = 1;
                    t.ranks = ranks;
                    if (random_below(8) == 0)
                        stalls += stalls_of(t);
                }
    assert_true(stalls > 0);
}

/* ---- By hand ------------------------------------------------------------- */

static struct job two_ranks_job(void)
{
    struct trial t = { .lengths = { 16 }, .heads = 1, .kv_heads = 1,
                       .head_dim = 8, .value_dim = 4, CAUSAL };

    return trial_job(&t);
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
    struct job job = two_ranks_job();

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
    struct job job = two_ranks_job();
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
    struct job job = two_ranks_job();
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stalls_by_removal),
        cmocka_unit_test(one_buffer_stalls),
        cmocka_unit_test(shared_memory),
        cmocka_unit_test(missing_edge),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
