/* SPDX-License-Identifier: Apache-2.0
 *
 * From (job, strategy, ranks) to schedules: root views. */
#include <config.h>

#include "strategy/strategy.h"

#include <stdlib.h>

struct plan {
    const struct job *job;
    const struct strategy *strategy;
    struct strategy_options options;
    struct pool *pool;
    int32_t ranks;
    int32_t *members, *maps;    /* [ranks] 0, 1, ...; pool maps */
};

struct plan *plan_create(const struct job *job, const struct strategy *st,
                         const struct strategy_options *o, int32_t ranks,
                         struct error *e)
{
    if (st->applies && st->applies(job, o, ranks, e))
        return NULL;
    struct plan *p = xcalloc(1, sizeof *p);
    p->job = job;
    p->strategy = st;
    p->options = *o;
    p->pool = pool_create();
    p->ranks = ranks;
    p->members = xcalloc((size_t)ranks, sizeof *p->members);
    p->maps = xcalloc((size_t)ranks, sizeof *p->maps);
    for (int32_t r = 0; r < ranks; r++) {
        p->members[r] = r;
        p->maps[r] = pool_map(p->pool, st->shard
            ? st->shard(job, o, ranks, r)
            : position_map_shard(job, o->layout, o->block, ranks, r));
    }
    return p;
}

void plan_destroy(struct plan *p)
{
    if (!p)
        return;
    pool_destroy(p->pool);
    free(p->members);
    free(p->maps);
    free(p);
}

struct pool *plan_pool(struct plan *p)
{
    return p->pool;
}

int32_t plan_ranks(const struct plan *p)
{
    return p->ranks;
}

static struct view root_view(const struct plan *p, int32_t rank)
{
    const struct transformer *t = &p->job->transformer;

    return (struct view){
        .job = p->job, .pool = p->pool, .options = &p->options,
        .members = p->ranks, .me = rank, .ranks = p->members, .maps = p->maps,
        .heads = t->heads, .kv_heads = t->kv_heads
    };
}

/* A tensor of the job, my rows of it. */
static struct tile job_tile(struct schedule *s, const struct view *v,
                            enum role role, enum tensor_name tensor, int64_t heads,
                            int64_t width)
{
    return tile_whole(s, schedule_buffer(s, tensor_names[tensor],
        (struct buffer){ .role = role, .tensor = tensor,
                         .dtype = v->job->dtype, .map = v->maps[v->me],
                         .rows = view_rows(v, v->me), .heads = (int32_t)heads,
                         .width = (int32_t)width }));
}

static void root_tiles(struct schedule *s, struct view *v)
{
    const struct transformer *t = &v->job->transformer;
    int64_t H = t->heads, Hk = t->kv_heads, D = t->head_dim, E = t->value_dim;

    v->q = job_tile(s, v, ROLE_INPUT, TENSOR_Q, H, D);
    v->k = job_tile(s, v, ROLE_INPUT, TENSOR_K, Hk, D);
    v->v = job_tile(s, v, ROLE_INPUT, TENSOR_V, Hk, E);
    v->o = job_tile(s, v, ROLE_OUTPUT, TENSOR_O, H, E);
    if (!view_has_backward(v))
        return;
    v->d_o = job_tile(s, v, ROLE_INPUT, TENSOR_DO, H, E);
    v->dq = job_tile(s, v, ROLE_OUTPUT, TENSOR_DQ, H, D);
    v->dk = job_tile(s, v, ROLE_OUTPUT, TENSOR_DK, Hk, D);
    v->dv = job_tile(s, v, ROLE_OUTPUT, TENSOR_DV, Hk, E);
}

struct schedule *plan_build(struct plan *p, int32_t rank)
{
    struct schedule *s = schedule_create(p->pool, p->job, p->ranks, rank);
    struct view v = root_view(p, rank);

    root_tiles(s, &v);
    p->strategy->forward(s, &v);
    if (view_has_backward(&v)) {
        schedule_backward(s);
        p->strategy->backward(s, &v);
    }
    schedule_freeze(s);
    return s;
}

int64_t plan_bytes_expected(const struct plan *p, int32_t rank)
{
    struct view v = root_view(p, rank);
    int64_t bytes = p->strategy->bytes_forward(&v);

    return view_has_backward(&v) ? bytes + p->strategy->bytes_backward(&v)
                                 : bytes;
}
