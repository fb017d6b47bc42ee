/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "models/forms_internal.h"

#include "models/simulate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Profiles ----------------------------------------------------------- */

enum { KINDS = 64 };            /* of steps that are told apart */

static int near(int64_t a, int64_t b)
{
    return a - b <= 1 && b - a <= 1;
}

/* Do they take the same time?  Shards differ by a row, bands by their edge. */
static int alike(const struct sight *w, const struct segment *list, int64_t n)
{
    if (w->n != n)
        return 0;
    for (int64_t i = 0; i < n; i++) {
        const struct segment *a = &w->list[i], *b = &list[i];
        if (!near(a->q_count, b->q_count) || !near(a->k_count, b->k_count)
            || !near(a->low, b->low) || !near(a->high, b->high))
            return 0;
    }
    return 1;
}

static struct sight make_sight(struct segment *list, int64_t n)
{
    return (struct sight){ .steps = 1, .n = n, .list = list,
                          .pairs = segments_pairs(list, n) };
}

/* A step; takes the list. */
static void add_step(struct profile *p, struct segment *list, int64_t n)
{
    int64_t most = min64(p->n, KINDS);

    for (int64_t i = 0; i < most; i++)
        if (alike(&p->works[i], list, n)) {
            p->works[i].steps++;
            free(list);
            return;
        }
    ARRAY_PUSH(p->works, p->n, p->cap, make_sight(list, n));
}

static int has_strides(const struct position_map *map)
{
    for (int64_t i = 0; i < map->n; i++)
        if (map->places[i].stride > 1)
            return 1;
    return 0;
}

static struct position_map *shard(const struct forms *f,
                                  const struct profile *p, int64_t i)
{
    return position_map_shard(f->job, p->layout, p->block, p->members, i);
}

static int64_t pairs_of(const struct forms *f, const struct profile *p,
                        int64_t member, const struct position_map *whole)
{
    struct position_map *map = shard(f, p, member);
    struct segment *list;
    int64_t n = segments_between(f->job, map, whole, &list);
    int64_t pairs = segments_pairs(list, n);

    free(list);
    position_map_destroy(map);
    return pairs;
}

/* Who computes most; of a striped layout, which is even, the last. */
static int64_t busiest(const struct forms *f, const struct profile *p,
                       const struct position_map *whole)
{
    int64_t most = -1, who = p->members - 1;

    for (int64_t i = 0; p->sorted && i < p->members; i++) {
        int64_t pairs = pairs_of(f, p, i, whole);
        if (pairs >= most)
            who = i;
        most = max64(most, pairs);
    }
    return who;
}

static void add_steps(const struct forms *f, struct profile *p, int64_t who,
                      const struct position_map *mine)
{
    for (int64_t i = 0; i < p->members; i++) {
        struct position_map *map = shard(f, p, (who + p->members - i)
                                         % p->members);
        struct segment *list;
        int64_t n = segments_between(f->job, mine, map, &list);
        if (n > 0)
            p->reach = i + 1;
        add_step(p, list, n);
        position_map_destroy(map);
    }
}

static struct profile make_profile(const struct forms *f, enum layout layout,
                                   int64_t block, int64_t members)
{
    struct profile p = { .layout = layout, .block = block, .members = members };
    struct position_map *whole = position_map_whole(f->job);
    struct position_map *first = shard(f, &p, 0);

    p.sorted = !has_strides(first);
    int64_t who = busiest(f, &p, whole);
    struct position_map *mine = shard(f, &p, who);
    p.rows = mine->rows;
    add_steps(f, &p, who, mine);
    if (p.sorted) {
        struct segment *list;
        int64_t n = segments_between(f->job, mine, whole, &list);
        p.whole = make_sight(list, n);
    }
    position_map_destroy(first);
    position_map_destroy(mine);
    position_map_destroy(whole);
    return p;
}

struct profile *forms_profile(struct forms *f, enum layout layout,
                              int64_t block, int64_t members)
{
    for (int64_t i = 0; i < f->n; i++) {
        struct profile *p = &f->profiles[i];
        if (p->layout == layout && p->block == block && p->members == members)
            return p;
    }
    ARRAY_PUSH(f->profiles, f->n, f->cap,
               make_profile(f, layout, block, members));
    return &f->profiles[f->n - 1];
}

struct forms *forms_create(const struct job *job, int64_t ranks)
{
    struct forms *f = xcalloc(1, sizeof *f);

    f->job = job;
    f->ranks = ranks;
    return f;
}

void forms_destroy(struct forms *f)
{
    for (int64_t i = 0; f && i < f->n; i++) {
        struct profile *p = &f->profiles[i];
        for (int64_t k = 0; k < p->n; k++)
            free(p->works[k].list);
        free(p->works);
        free(p->whole.list);
    }
    if (f) {
        ways_destroy(f->own_ways);
        free(f->profiles);
    }
    free(f);
}

void forms_machine(struct forms *f, const struct machine *m,
                   const char *kernel)
{
    struct ways *own = m->graph ? ways_create(m->graph, f->ranks) : NULL;

    forms_machine_known(f, m, kernel, own);
    f->own_ways = own;
}

void forms_machine_known(struct forms *f, const struct machine *m,
                         const char *kernel, struct ways *ways)
{
    f->m = m;
    f->kernel = kernel;
    ways_destroy(f->own_ways);
    f->own_ways = NULL;
    f->ways = ways;
    f->share = m->devices && f->ranks > m->devices
        ? (double)ceil_div(f->ranks, m->devices) : 1;
    for (int64_t i = 0; i < f->n; i++) {
        struct profile *p = &f->profiles[i];
        for (int64_t k = 0; k < p->n; k++)
            p->works[k].n_memo = 0;
        p->whole.n_memo = 0;
    }
}

/* ---- Computing ---------------------------------------------------------- */

static double kernel_seconds(const struct scene *c, const struct sight *w,
                             int pass)
{
    const struct transformer *t = &c->f->job->transformer;
    struct block_shape shape = { c->f->job->dtype, t->head_dim, t->value_dim,
                                 job_group(c->f->job), c->heads };

    return w->pairs ? attend_block_seconds(
        c->f->m, pass == FORWARD ? OP_ATTEND : OP_ATTEND_BACKWARD,
        c->f->kernel, &shape, c->kv_heads, c->f->ranks, w->list, w->n) : 0;
}

static double work_seconds(const struct scene *c, struct sight *w, int pass)
{
    int i = 0;

    while (i < w->n_memo && (w->memo[i].heads != c->heads
                             || w->memo[i].kv_heads != c->kv_heads))
        i++;
    if (i == w->n_memo) {
        i = w->n_memo = i < MEMO ? i + 1 : 1;
        i--;
        w->memo[i] = (struct memo){ c->heads, c->kv_heads, { NAN, NAN } };
    }
    if (isnan(w->memo[i].seconds[pass]))
        w->memo[i].seconds[pass] = kernel_seconds(c, w, pass);
    return w->memo[i].seconds[pass];
}

double attend_step(const struct scene *c, struct sight *w, int pass)
{
    return w->pairs ? c->f->m->op_overhead + work_seconds(c, w, pass) : 0;
}

double attend_whole(const struct scene *c, int pass)
{
    double seconds = 0;

    if (c->p->sorted)
        return attend_step(c, &c->p->whole, pass);
    for (int64_t i = 0; i < c->p->n; i++)
        seconds += (double)c->p->works[i].steps
            * work_seconds(c, &c->p->works[i], pass);
    return c->f->m->op_overhead + seconds;
}

double memory_seconds_of(const struct scene *c, double bytes)
{
    const struct machine *m = c->f->m;

    return bytes > 0 ? m->op_overhead
        + (m->memory_bandwidth > 0 ? bytes / m->memory_bandwidth : 0) : 0;
}

void scene_add(struct scene *c, double count, struct load l, double ops)
{
    c->e.seconds += count * load_seconds(c, l);
    c->e.computed += count * c->f->share * l.compute;
    c->ops += count * ops;
    c->effort += count * l.effort;
}

/* ---- Sizes -------------------------------------------------------------- */

double kv_bytes(const struct scene *c, enum dtype type)
{
    const struct transformer *t = &c->f->job->transformer;

    return (double)(c->kv_heads * (t->head_dim + t->value_dim))
        * (double)dtype_size(type);
}

double q_bytes(const struct scene *c, enum dtype type)
{
    return (double)(c->heads * c->f->job->transformer.head_dim)
        * (double)dtype_size(type);
}

double o_bytes(const struct scene *c, enum dtype type)
{
    return (double)(c->heads * c->f->job->transformer.value_dim)
        * (double)dtype_size(type);
}

/* ---- Estimates ---------------------------------------------------------- */

/* Inputs and outputs: q k v (do); o lse (dq dk dv). */
static double boundary_bytes(const struct scene *c)
{
    enum dtype type = c->f->job->dtype;
    int passes = 1 + job_has_backward(c->f->job);

    return c->rows * (passes * (q_bytes(c, type) + kv_bytes(c, type)
                                + o_bytes(c, type))
                      + 4 * (double)c->heads);
}

static const struct form *form_find(const struct strategy *st)
{
    for (const struct form *x = softmax_forms; x->strategy; x++)
        if (x->strategy == st)
            return x;
    return NULL;
}

struct estimate forms_estimate(struct forms *f, const struct strategy *st,
                               const struct strategy_options *o)
{
    const struct form *form = form_find(st);
    const struct transformer *t = &f->job->transformer;
    struct scene c = { .f = f, .o = o, .members = f->ranks, .stride = 1,
                       .rows = (double)f->job->tokens / (double)f->ranks,
                       .heads = t->heads, .kv_heads = t->kv_heads };

    if (!form || f->job->pass == PASS_DECODE || f->job->pattern)
        return (struct estimate){ NAN, NAN, NAN, NAN, NAN };
    for (int pass = FORWARD; pass <= job_has_backward(f->job); pass++)
        form->pass(&c, pass);
    c.e.seconds = fmax(c.e.seconds, c.ops * f->m->enqueue)
        + f->m->repeat_overhead;
    c.e.effort = c.ops + c.effort;
    c.e.memory = boundary_bytes(&c) + c.saved
        + fmax(c.scratch[FORWARD], c.scratch[BACKWARD]);
    return c.e;
}
