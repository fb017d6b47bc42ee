/* SPDX-License-Identifier: Apache-2.0
 *
 * From (job, strategy, ranks) to schedules: root views. */
#include <config.h>

#include "schedule/check.h"
#include "strategy/strategy.h"

#include <stdlib.h>
#include <string.h>

enum { TURNS_TRIED = 64, TURNS_MANY_RANKS = 3 };

struct plan {
    struct job job;             /* parts that are owned are the caller's */
    int64_t length, offsets[2]; /* of a decode session: its capacity */
    const struct strategy *strategy;
    struct strategy_options options;
    struct pool *pool;
    int32_t ranks;
    int32_t *members, *maps;    /* [ranks] 0, 1, ...; pool maps */
    int32_t *q_maps;            /* [ranks] maps of the queries */
    struct schedule *pattern;   /* the last that was unlike it; NULL: none */
};

/* Kinds of job that families of strategies are for. */
static int fits(const struct strategy *st, const struct job *job,
                struct error *e)
{
    const char *f = st->family;
    int linear = job->attention == ATTENTION_LINEAR;

    if ((job->pattern != NULL) != (strcmp(f, "hybrid") == 0))
        return fail_usage(e, job->pattern ? "the job has a pattern of layers"
                          : "the job has no pattern of layers");
    if (!job->pattern && linear != (strcmp(f, "linear") == 0))
        return fail_usage(e, linear ? "the job's attention is linear"
                          : "the job's attention is softmax");
    if (job->pass == PASS_DECODE && !st->queries)
        return fail_usage(e, "it does not decode");
    if (job->decode_steps > 0 && strcmp(f, "decode"))
        return fail_usage(e, "its shards cannot grow, as a session of %lld "
                          "decode steps needs", (long long)job->decode_steps);
    if (job->pass != PASS_DECODE && strcmp(f, "decode") == 0)
        return fail_usage(e, "it decodes only (job.pass: decode)");
    return 0;
}

int plan_applies(const struct job *job, const struct strategy *st,
                 const struct strategy_options *o, int64_t ranks,
                 struct error *e)
{
    if (fits(st, job, e))
        return -1;
    return st->applies ? st->applies(job, o, ranks, e) : 0;
}

static struct position_map *shard(const struct plan *p, int32_t r)
{
    const struct strategy_options *o = &p->options;

    return p->strategy->shard
        ? p->strategy->shard(&p->job, o, p->ranks, r)
        : position_map_shard(&p->job, o->layout, o->block, p->ranks, r);
}

static struct position_map *queries(const struct plan *p, int32_t r)
{
    return p->strategy->queries(&p->job, &p->options, p->ranks, r);
}

/* The job of a session's last step: K, V of all tokens that it will hold. */
static void reserve(struct plan *p)
{
    p->length = p->offsets[1] = p->job.tokens += p->job.decode_steps;
    p->job.lengths = &p->length;
    p->job.offsets = p->offsets;
}

struct plan *plan_create(const struct job *job, const struct strategy *st,
                         const struct strategy_options *o, int32_t ranks,
                         struct error *e)
{
    if (plan_applies(job, st, o, ranks, e))
        return NULL;
    struct plan *p = xcalloc(1, sizeof *p);
    p->job = *job;
    if (job->decode_steps > 0)
        reserve(p);
    if (st->job)
        st->job(&p->job, o, ranks);
    p->strategy = st;
    p->options = *o;
    p->pool = pool_create();
    p->ranks = ranks;
    p->members = xcalloc((size_t)ranks, sizeof *p->members);
    p->maps = xcalloc((size_t)ranks, sizeof *p->maps);
    p->q_maps = xcalloc((size_t)ranks, sizeof *p->q_maps);
    for (int32_t r = 0; r < ranks; r++) {
        p->members[r] = r;
        p->maps[r] = p->q_maps[r] = pool_map(p->pool, shard(p, r));
        if (st->queries)
            p->q_maps[r] = pool_map(p->pool, queries(p, r));
    }
    return p;
}

void plan_destroy(struct plan *p)
{
    if (!p)
        return;
    schedule_destroy(p->pattern);
    pool_destroy(p->pool);
    free(p->members);
    free(p->maps);
    free(p->q_maps);
    free(p);
}

struct pool *plan_pool(struct plan *p)
{
    return p->pool;
}

enum layout plan_layout(const struct plan *p)
{
    return p->job.decode_steps > 0 ? LAYOUT_STRIPED : p->options.layout;
}

const struct job *plan_job(const struct plan *p)
{
    return &p->job;
}

int32_t plan_ranks(const struct plan *p)
{
    return p->ranks;
}

static struct view root_view(const struct plan *p, int32_t rank)
{
    const struct transformer *t = &p->job.transformer;

    return (struct view){
        .job = &p->job, .pool = p->pool, .options = &p->options,
        .members = p->ranks, .me = rank, .ranks = p->members, .maps = p->maps,
        .q_map = p->q_maps[rank], .heads = t->heads, .kv_heads = t->kv_heads
    };
}

/* All layers read the same tensors. */
static void root_inputs(struct schedule *s, struct view *v)
{
    int32_t map = v->maps[v->me];

    v->q = view_tensor(s, v, ROLE_INPUT, TENSOR_Q, v->q_map);
    v->k = view_tensor(s, v, ROLE_INPUT, TENSOR_K, map);
    v->v = view_tensor(s, v, ROLE_INPUT, TENSOR_V, map);
    if (view_has_backward(v))
        v->d_o = view_tensor(s, v, ROLE_INPUT, TENSOR_DO, map);
}

static void root_outputs(struct schedule *s, struct view *v)
{
    int32_t map = v->maps[v->me];

    v->o = view_tensor(s, v, ROLE_OUTPUT, TENSOR_O, v->q_map);
    if (!view_has_backward(v))
        return;
    v->dq = view_tensor(s, v, ROLE_OUTPUT, TENSOR_DQ, map);
    v->dk = view_tensor(s, v, ROLE_OUTPUT, TENSOR_DK, map);
    v->dv = view_tensor(s, v, ROLE_OUTPUT, TENSOR_DV, map);
}

static void enter_layer(struct schedule *s, const struct job *job,
                        int64_t layer)
{
    if (job->pattern)
        schedule_layer(s, (int32_t)layer);
}

static struct schedule *build(struct plan *p, int32_t rank)
{
    const struct job *job = &p->job;
    struct schedule *s = p->pattern ? schedule_create_like(p->pattern, rank)
        : schedule_create(p->pool, job, p->ranks, rank);
    int64_t n = job_layers(job);
    struct view *views = xcalloc((size_t)n, sizeof *views);

    views[0] = root_view(p, rank);
    root_inputs(s, &views[0]);
    for (int64_t i = 1; i < n; i++)
        views[i] = views[0];
    for (int64_t i = 0; i < n; i++) {
        enter_layer(s, job, i);
        views[i].layer = (int32_t)i;
        root_outputs(s, &views[i]);
        p->strategy->forward(s, &views[i]);
    }
    if (view_has_backward(&views[0])) {
        schedule_backward(s);
        for (int64_t i = n - 1; i >= 0; i--) {
            enter_layer(s, job, i);
            p->strategy->backward(s, &views[i]);
        }
    }
    free(views);
    if (!schedule_freeze(s)) {
        schedule_destroy(p->pattern);
        p->pattern = schedule_clone(s);
    }
    return s;
}

static int64_t stalls(struct plan *p)
{
    struct schedule **s = xcalloc((size_t)p->ranks, sizeof *s);

    for (int32_t r = 0; r < p->ranks; r++)
        s[r] = build(p, r);
    int64_t n = check_reuse((const struct schedule *const *)s, p->ranks);
    for (int32_t r = 0; r < p->ranks; r++)
        schedule_destroy(s[r]);
    free(s);
    return n;
}

/* As few buffers as let nobody wait for one: two where steps cost alike, more
 * where masks and lengths make them differ.  Many ranks are not tried out. */
static void choose_turns(struct plan *p)
{
    int64_t hops = 2 * (p->ranks - 1);      /* of both passes */

    p->options.turns = p->ranks > TURNS_TRIED ? TURNS_MANY_RANKS : 2;
    while (p->ranks <= TURNS_TRIED && p->options.turns < hops && stalls(p) > 0)
        p->options.turns++;
}

struct schedule *plan_build(struct plan *p, int32_t rank)
{
    if (p->strategy->turns && !p->options.turns)
        choose_turns(p);
    return build(p, rank);
}

/* ---- Ranks that do the same ---------------------------------------------- */

static int shards_alike(const struct plan *p)
{
    return p->job.sequences == 1 && p->job.tokens % p->ranks == 0
        && p->job.pass != PASS_DECODE && p->options.layout == LAYOUT_CONTIGUOUS;
}

static int group_moved(const struct plan *p, int32_t a, int32_t b,
                       int64_t distance)
{
    int64_t n, n_b;
    const int32_t *from = pool_group_get(p->pool, a, &n);
    const int32_t *to = pool_group_get(p->pool, b, &n_b);

    if (n != n_b)
        return 0;
    if (n == p->ranks)          /* all of them */
        return a == b;
    for (int64_t i = 0; i < n; i++)
        if (to[i] != (from[i] + distance) % p->ranks)
            return 0;
    return 1;
}

/* Operands may lie elsewhere in their buffers, as long as as much is done. */
static int same_work(const struct schedule *a, const struct op *x,
                     const struct schedule *b, const struct op *y)
{
    struct work v = op_work(a, x), w = op_work(b, y);

    return v.flops == w.flops && v.pairs == w.pairs
        && v.memory_bytes == w.memory_bytes
        && v.sent_bytes == w.sent_bytes
        && v.received_bytes == w.received_bytes;
}

static int same_deps(const struct schedule *a, const struct schedule *b)
{
    for (int64_t i = 0; i < a->n_deps; i++)
        if (a->deps[i].op != b->deps[i].op)
            return 0;
    return 1;
}

/* Does b what a does, that many ranks on? */
static int is_moved(const struct plan *p, const struct schedule *a,
                    const struct schedule *b, int64_t distance)
{
    if (a->n_ops != b->n_ops || a->n_deps != b->n_deps
        || !same_deps(a, b))
        return 0;
    for (int64_t i = 0; i < a->n_ops; i++) {
        const struct op *x = &a->ops[i], *y = &b->ops[i];
        if (x->kind != y->kind || x->channel != y->channel
            || x->segments != y->segments || x->dep_count != y->dep_count
            || (x->operands != y->operands && !same_work(a, x, b, y)))
            return 0;
        if (x->kind == OP_COLLECTIVE
            && !group_moved(p, x->peer, y->peer, distance))
            return 0;
        if ((x->kind == OP_SEND || x->kind == OP_RECV)
            && y->peer != (x->peer + distance) % p->ranks)
            return 0;
    }
    return 1;
}

int64_t plan_period(struct plan *p)
{
    const struct strategy *st = p->strategy;
    int64_t n = st->period && shards_alike(p)
        ? st->period(&p->job, &p->options, p->ranks) : 0;
    int moved = n > 0 && n < p->ranks && p->ranks % n == 0;

    for (int64_t r = 0; moved && r < n; r++) {
        struct schedule *a = plan_build(p, (int32_t)r);
        struct schedule *b = plan_build(p, (int32_t)(p->ranks - n + r));
        moved = is_moved(p, a, b, p->ranks - n);
        schedule_destroy(a);
        schedule_destroy(b);
    }
    return moved ? n : p->ranks;
}

int64_t plan_bytes_expected(const struct plan *p, int32_t rank)
{
    struct view v = root_view(p, rank);
    int64_t bytes = 0;

    for (; v.layer < job_layers(&p->job); v.layer++) {
        bytes += p->strategy->bytes_forward(&v);
        if (view_has_backward(&v))
            bytes += p->strategy->bytes_backward(&v);
    }
    return bytes;
}
