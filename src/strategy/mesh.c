/* SPDX-License-Identifier: Apache-2.0
 *
 * A mesh head x context of the ranks: an all-to-all over the head groups,
 * composed with a context strategy over the context groups.
 *
 *   usp  ulysses x ring          (Fang & Zhao, "USP", arXiv:2405.07719)
 *   2d   ulysses x double ring   (Gu et al., "LoongTrain", arXiv:2406.18485)
 *
 * The layout cuts the sequence over the context ranks; a head group shares out
 * the rows of its context rank, so that the all-to-all gathers them in order,
 * whichever way the ranks are placed. */
#include <config.h>

#include "strategy/mesh.h"

#include <stdlib.h>

struct mesh {
    int64_t h, C;               /* head and context degree */
    enum placement placement;
    int64_t window;             /* inner ring of an interleaved context group;
                                   0: in order */
};

static int64_t mesh_rank(const struct mesh *m, int64_t head, int64_t context)
{
    return m->placement == HEAD_FIRST ? context * m->h + head
                                      : head * m->C + context;
}

static int64_t mesh_head(const struct mesh *m, int64_t rank)
{
    return m->placement == HEAD_FIRST ? rank % m->h : rank / m->C;
}

static int64_t mesh_context(const struct mesh *m, int64_t rank)
{
    return m->placement == HEAD_FIRST ? rank / m->h : rank % m->C;
}

/* The largest divisor of `ranks` up to `most`. */
static int64_t divisor(int64_t ranks, int64_t most)
{
    int64_t d = min64(ranks, most);

    while (ranks % d)
        d--;
    return d;
}

static struct mesh make_mesh(const struct job *job,
                             const struct strategy_options *o, int64_t ranks)
{
    struct mesh m = { .placement = o->placement };

    m.h = o->head ? o->head : divisor(ranks, job->transformer.kv_heads);
    m.C = ranks / m.h;
    m.window = o->interleaved ? o->window : 0;
    return m;
}

int mesh_applies(const struct job *job, const struct strategy_options *o,
                 int64_t ranks, struct error *e)
{
    int64_t h = make_mesh(job, o, ranks).h;

    if (ranks % h)
        return fail_usage(e, "%lld ranks are not a multiple of head %lld",
                          (long long)ranks, (long long)h);
    if (o->window && ranks / h % o->window)
        return fail_usage(e, "%lld context ranks are not a multiple of window "
                          "%lld", (long long)(ranks / h),
                          (long long)o->window);
    if (o->interleaved && (!o->window || ranks / h % (2 * o->window)))
        return fail_usage(e, "interleaved needs a window that cuts the %lld "
                          "context ranks into pairs of inner rings",
                          (long long)(ranks / h));
    return 0;
}

struct position_map *mesh_shard(const struct job *job,
                                const struct strategy_options *o,
                                int64_t ranks, int64_t rank)
{
    struct mesh m = make_mesh(job, o, ranks);
    int64_t head = mesh_head(&m, rank);
    struct position_map *all = position_map_shard(job, o->layout, o->block,
                                                  m.C, mesh_context(&m, rank));
    int64_t first = chunk_first(all->rows, m.h, head);
    struct position_map *mine = position_map_slice(
        all, first, chunk_first(all->rows, m.h, head + 1) - first);

    position_map_destroy(all);
    return mine;
}

/* The context rank at place i of the context strategy: interleaved, of every
 * two windows the even ones first. */
static int64_t context_at(const struct mesh *m, int64_t i)
{
    if (!m->window)
        return i;
    int64_t pair = 2 * m->window, k = i % pair;
    return i - k + (k < m->window ? 2 * k : 2 * (k - m->window) + 1);
}

/* Index arrays of an exchange on a mesh: one block of memory. */
static size_t memory_bytes(const struct view *v)
{
    return (size_t)(5 * v->members) * sizeof(int32_t);
}

static void set_group(struct exchange *x, const struct mesh *m,
                      const struct view *v, int32_t *ranks, int32_t *maps)
{
    int64_t context = mesh_context(m, v->me), rows = 0;
    int64_t all = 0;

    x->group.me = (int32_t)mesh_head(m, v->me);
    x->group.members = (int32_t)m->h;
    x->group.ranks = ranks;
    x->group.maps = maps;
    for (int64_t i = 0; i < m->h; i++) {
        int64_t who = mesh_rank(m, i, context);
        ranks[i] = v->ranks[who];
        maps[i] = v->maps[who];
        rows = view_rows(v, who);
        struct run run = { all, 1, rows };
        x->rows[i] = pool_rows(v->pool, &run, rows > 0);
        all += rows;
    }
}

static void set_child(struct exchange *x, const struct mesh *m,
                      const struct view *v, int32_t *ranks, int32_t *maps)
{
    int64_t head = mesh_head(m, v->me);
    const struct strategy_options *o = v->options;

    x->child.members = (int32_t)m->C;
    x->child.ranks = ranks;
    x->child.maps = maps;
    for (int64_t i = 0; i < m->C; i++) {
        int64_t c = context_at(m, i), who = mesh_rank(m, head, c);
        if (who == v->me)
            x->child.me = (int32_t)i;
        ranks[i] = v->ranks[who];
        maps[i] = pool_map(v->pool, position_map_shard(v->job, o->layout,
                                                       o->block, m->C, c));
    }
    x->child.q_map = maps[x->child.me];
}

static struct exchange mesh_exchange(const struct view *v,
                                     const struct strategy *context,
                                     int32_t *memory)
{
    struct mesh m = make_mesh(v->job, v->options, v->members);
    struct exchange x = { .context = context, .group = *v, .child = *v,
                          .rows = memory };

    set_group(&x, &m, v, memory + v->members, memory + 2 * v->members);
    set_child(&x, &m, v, memory + 3 * v->members, memory + 4 * v->members);
    exchange_heads(&x);
    return x;
}

void mesh_forward(struct schedule *s, struct view *v,
                  const struct strategy *context)
{
    struct exchange *x = v->state = schedule_alloc(s, sizeof *x);

    *x = mesh_exchange(v, context, schedule_alloc(s, memory_bytes(v)));
    exchange_forward(s, v, x);
}

void mesh_backward(struct schedule *s, struct view *v)
{
    exchange_backward(s, v->state);
}

static int64_t sum(const struct view *v, const struct strategy *context,
                   int64_t (*bytes)(const struct exchange *))
{
    int32_t *memory = xcalloc(memory_bytes(v), 1);
    struct exchange x = mesh_exchange(v, context, memory);
    int64_t n = bytes(&x);

    free(memory);
    return n;
}

int64_t mesh_bytes_forward(const struct view *v,
                           const struct strategy *context)
{
    return sum(v, context, exchange_bytes_forward);
}

int64_t mesh_bytes_backward(const struct view *v,
                            const struct strategy *context)
{
    return sum(v, context, exchange_bytes_backward);
}

MESH_FUNCTIONS(usp, &strategy_ring)
MESH_FUNCTIONS(twod, &strategy_double_ring)

/* Ranks of a head group differ in heads, not in what they do; the next context
 * group is a ring's next rank, or a double ring's next window. */
int64_t mesh_period(const struct job *job, const struct strategy_options *o,
                    int64_t ranks, const struct strategy *context)
{
    struct mesh m = make_mesh(job, o, ranks);
    const struct transformer *t = &job->transformer;

    if (t->heads % m.h || t->kv_heads % m.h || m.window)
        return 0;
    if (m.placement == CONTEXT_FIRST)
        return m.C;
    return m.h * context->period(job, o, m.C);
}

static const char *const usp_options[] = { "layout", "block", "head",
                                           "head_group", "placement", NULL };
static const char *const twod_options[] = { "layout", "block", "head",
                                            "head_group", "window",
                                            "placement",
                                            "interleaved", NULL };

const struct strategy strategy_usp = {
    .name = "usp",
    .summary = "Ulysses over head groups, ring over context groups",
    .options = usp_options,
    MESH_FIELDS(usp)
};

const struct strategy strategy_2d = {
    .name = "2d",
    .summary = "LoongTrain: Ulysses over head groups, double ring over context",
    .options = twod_options,
    MESH_FIELDS(twod)
};
