/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "strategy/chunks.h"

#include <stdlib.h>

/* ---- Chunks -------------------------------------------------------------- */

static int64_t tokens_after(const struct job *job, const struct place *p)
{
    return job->lengths[p->sequence] - p->first - p->count;
}

static int is_cut(const struct job *job, const struct place *p)
{
    return p->count < job->lengths[p->sequence];
}

static void add_chunk(struct chunks *x, const struct job *job,
                      const struct place *p, int64_t row)
{
    struct chunk *c = &x->list[x->n++];

    *c = (struct chunk){ .sequence = p->sequence, .first = p->first,
                         .count = p->count, .after = tokens_after(job, p),
                         .row = row };
    c->state = is_cut(job, p) ? x->states++ : -1;
    c->takes[OUTSIDE_P] = x->full || c->first ? x->n_takes[OUTSIDE_P]++ : -1;
    c->takes[OUTSIDE_R] = x->full || c->after ? x->n_takes[OUTSIDE_R]++ : -1;
}

static struct chunks *create(struct schedule *s, const struct view *v)
{
    const struct position_map *map = pool_map_get(v->pool, v->maps[v->me]);
    struct chunks *x = schedule_alloc(s, sizeof *x);
    int64_t row = 0;

    x->full = v->job->mask.kind == MASK_FULL;
    x->list = schedule_alloc(s, (size_t)map->n * sizeof *x->list);
    for (int64_t i = 0; i < map->n; row += map->places[i++].count)
        add_chunk(x, v->job, &map->places[i], row);
    return x;
}

struct chunks *chunks_begin(struct schedule *s, struct view *v,
                            enum outside pass)
{
    int save = pass == OUTSIDE_P && view_has_backward(v);

    if (pass == OUTSIDE_P)
        v->state = create(s, v);
    struct chunks *x = v->state;
    x->outside[pass] = states_tile(s, v, pass == OUTSIDE_P ? "P" : "R",
                                   save ? ROLE_SAVED : ROLE_SCRATCH,
                                   x->n_takes[pass]);
    return x;
}

const struct chunk *chunks_edge(const struct chunks *x, int after)
{
    const struct chunk *c = &x->list[after ? x->n - 1 : 0];

    return x->n && (after ? c->after : c->first) ? c : NULL;
}

int shard_continues(const struct view *v, int64_t member, int after)
{
    const struct position_map *map = pool_map_get(v->pool, v->maps[member]);

    if (!map->n)
        return 0;
    return after ? tokens_after(v->job, &map->places[map->n - 1]) > 0
                 : map->places[0].first > 0;
}

int64_t shard_states(const struct view *v, int64_t member)
{
    const struct position_map *map = pool_map_get(v->pool, v->maps[member]);
    int64_t n = 0;

    for (int64_t i = 0; i < map->n; i++)
        n += is_cut(v->job, &map->places[i]);
    return n;
}

/* ---- States -------------------------------------------------------------- */

const char *const state_labels[2] = { "M", "W" };

static int64_t state_width(const struct view *v)
{
    const struct transformer *t = &v->job->transformer;

    return t->head_dim * t->value_dim;
}

struct tile states_tile(struct schedule *s, const struct view *v,
                        const char *label, enum role role, int64_t n)
{
    return view_q_tile(s, v, label, role, DTYPE_FP32, n, state_width(v));
}

struct tile states_row(const struct schedule *s, struct tile states, int64_t i)
{
    return tile_rows(s, states.buffer, i, 1);
}

int64_t state_bytes(const struct view *v)
{
    return v->heads * state_width(v) * (int64_t)dtype_size(DTYPE_FP32);
}

void states_scan(struct schedule *s, struct tile dst, enum access access,
                 const struct tile *sources, int64_t n, const int64_t *spans)
{
    struct operand *o = xmalloc((size_t)(n + 1) * sizeof *o);

    o[0] = (struct operand){ dst, access };
    for (int64_t i = 0; i < n; i++)
        o[i + 1] = (struct operand){ sources[i], ACCESS_READ };
    schedule_compute(s, OP_STATE_SCAN, "", o, n + 1,
                     pool_numbers(s->pool, spans,
                                  n + (access == ACCESS_UPDATE)));
    free(o);
}

/* ---- Ops of one chunk ---------------------------------------------------- */

/* Its rows of a tensor of mine, to read. */
static struct operand rows_of(const struct schedule *s, const struct chunk *c,
                              struct tile t, enum access access)
{
    t.rows = tile_rows(s, t.buffer, c->row, c->count).rows;
    return (struct operand){ t, access };
}

/* q rows and k rows, all visible or causal. */
static int32_t seen(struct pool *pool, int64_t q, int64_t k, int causal)
{
    struct segment g = { 0, q, 0, k, causal ? 0 : BAND_LOW, BAND_HIGH };

    segment_trim(&g);
    return pool_segments(pool, &g, 1);
}

void chunk_state(struct schedule *s, const struct view *v,
                 const struct chunk *c, enum outside pass, struct tile state)
{
    int back = pass == OUTSIDE_R;
    const struct operand o[] = {
        rows_of(s, c, back ? v->q : v->k, ACCESS_READ),
        rows_of(s, c, back ? v->d_o : v->v, ACCESS_READ),
        { state, ACCESS_WRITE }
    };

    schedule_compute(s, OP_STATE, "", o, 3, -1);
}

static void intra(struct schedule *s, const struct view *v,
                  const struct chunks *x, const struct chunk *c)
{
    const struct operand o[] = {
        rows_of(s, c, v->q, ACCESS_READ), rows_of(s, c, v->k, ACCESS_READ),
        rows_of(s, c, v->v, ACCESS_READ), rows_of(s, c, x->o, ACCESS_WRITE)
    };

    schedule_compute(s, OP_LINEAR_INTRA, "", o, 4,
                     seen(s->pool, c->count, c->count, 1));
}

static void intra_backward(struct schedule *s, const struct view *v,
                           const struct chunks *x, const struct chunk *c)
{
    const struct operand o[] = {
        rows_of(s, c, v->q, ACCESS_READ), rows_of(s, c, v->k, ACCESS_READ),
        rows_of(s, c, v->v, ACCESS_READ), rows_of(s, c, v->d_o, ACCESS_READ),
        rows_of(s, c, x->dq, ACCESS_WRITE), rows_of(s, c, x->dk, ACCESS_WRITE),
        rows_of(s, c, x->dv, ACCESS_WRITE)
    };

    schedule_compute(s, OP_LINEAR_INTRA_BACKWARD, "", o, 7,
                     seen(s->pool, c->count, c->count, 1));
}

/* What P or R adds; with a full mask it is all there is. */
struct addition {
    struct schedule *s;
    const struct chunks *x;
    const struct chunk *c;
    struct operand state;
    enum access access;
    int64_t tokens;             /* that the state is of */
};

static struct addition addition(struct schedule *s, const struct chunks *x,
                                const struct chunk *c, enum outside pass)
{
    int64_t length = c->first + c->count + c->after;

    return (struct addition){
        s, x, c, { states_row(s, x->outside[pass], c->takes[pass]),
                   ACCESS_READ },
        x->full ? ACCESS_WRITE : ACCESS_UPDATE,
        x->full ? length : pass == OUTSIDE_P ? c->first : c->after
    };
}

static void inter(const struct addition *a, const struct view *v)
{
    const struct operand o[] = {
        rows_of(a->s, a->c, v->q, ACCESS_READ), a->state,
        rows_of(a->s, a->c, a->x->o, a->access)
    };

    schedule_compute(a->s, OP_LINEAR_INTER, "", o, 3,
                     seen(a->s->pool, a->c->count, a->tokens, 0));
}

static void inter_dq(const struct addition *a, const struct view *v)
{
    const struct operand o[] = {
        rows_of(a->s, a->c, v->q, ACCESS_READ),
        rows_of(a->s, a->c, v->d_o, ACCESS_READ), a->state,
        rows_of(a->s, a->c, a->x->dq, a->access)
    };

    schedule_compute(a->s, OP_LINEAR_INTER_DQ, "", o, 4,
                     seen(a->s->pool, a->c->count, a->tokens, 0));
}

static void inter_dkv(const struct addition *a, const struct view *v)
{
    const struct operand o[] = {
        rows_of(a->s, a->c, v->k, ACCESS_READ),
        rows_of(a->s, a->c, v->v, ACCESS_READ), a->state,
        rows_of(a->s, a->c, a->x->dk, a->access),
        rows_of(a->s, a->c, a->x->dv, a->access)
    };

    schedule_compute(a->s, OP_LINEAR_INTER_DKV, "", o, 5,
                     seen(a->s->pool, a->tokens, a->c->count, 0));
}

/* ---- Passes -------------------------------------------------------------- */

/* Of all chunks that take a state from there. */
static void add_all(struct schedule *s, const struct view *v,
                    const struct chunks *x, enum outside pass,
                    void (*add)(const struct addition *a,
                                const struct view *v))
{
    for (int64_t i = 0; i < x->n; i++) {
        if (x->list[i].takes[pass] < 0)
            continue;
        struct addition a = addition(s, x, &x->list[i], pass);
        add(&a, v);
    }
}

/* Where intra stores and P or R adds. */
static struct tile adds_to(struct schedule *s, const struct chunks *x,
                           enum outside pass, const char *label,
                           struct tile result)
{
    return x->full || !x->n_takes[pass] ? result
        : view_accumulator(s, label, result);
}

static void local_forward(struct schedule *s, const struct view *v,
                          struct chunks *x)
{
    x->o = adds_to(s, x, OUTSIDE_P, "o_acc", v->o);
    for (int64_t i = 0; !x->full && i < x->n; i++)
        intra(s, v, x, &x->list[i]);
}

static void local_backward(struct schedule *s, const struct view *v,
                           struct chunks *x)
{
    x->dq = adds_to(s, x, OUTSIDE_P, "dq_acc", v->dq);
    x->dk = adds_to(s, x, OUTSIDE_R, "dk_acc", v->dk);
    x->dv = adds_to(s, x, OUTSIDE_R, "dv_acc", v->dv);
    for (int64_t i = 0; !x->full && i < x->n; i++)
        intra_backward(s, v, x, &x->list[i]);
    add_all(s, v, x, OUTSIDE_P, inter_dq);
    view_finish(s, "dq", x->dq, v->dq);
}

void chunks_local(struct schedule *s, const struct view *v, struct chunks *x,
                  enum outside pass)
{
    if (pass == OUTSIDE_P)
        local_forward(s, v, x);
    else
        local_backward(s, v, x);
}

void chunks_outside(struct schedule *s, const struct view *v,
                    struct chunks *x, enum outside pass)
{
    if (pass == OUTSIDE_P) {
        add_all(s, v, x, pass, inter);
        view_finish(s, "o", x->o, v->o);
        return;
    }
    add_all(s, v, x, pass, inter_dkv);
    view_finish(s, "dk", x->dk, v->dk);
    view_finish(s, "dv", x->dv, v->dv);
}

/* ---- What applies -------------------------------------------------------- */

int chunks_apply(const struct job *job, const struct strategy_options *o,
                 int64_t ranks, struct error *e)
{
    const struct transformer *t = &job->transformer;

    (void)ranks;
    if (o->layout == LAYOUT_STRIPED)
        return fail_usage(e, "a state needs consecutive tokens, not stripes");
    if (job->mask.kind != MASK_CAUSAL && job->mask.kind != MASK_FULL)
        return fail_usage(e, "a state cannot forget what leaves a window");
    if (job->mask.kind == MASK_FULL && job->linear.slopes)
        return fail_usage(e, "a full mask takes one state for all tokens, "
                          "which decay does not allow");
    if (t->head_dim * t->value_dim >= INT32_MAX)
        return fail_usage(e, "a state of %lld x %lld elements is too large",
                          (long long)t->head_dim, (long long)t->value_dim);
    return 0;
}

int chunks_apply_in_order(const struct job *job,
                          const struct strategy_options *o, int64_t ranks,
                          struct error *e)
{
    if (chunks_apply(job, o, ranks, e))
        return -1;
    if (o->layout != LAYOUT_CONTIGUOUS)
        return fail_usage(e, "states go from rank to rank in the order of "
                          "tokens, which takes the contiguous layout");
    if (job->mask.kind == MASK_FULL)
        return fail_usage(e, "states come from one side only, and a full "
                          "mask needs both (lasp2 takes it)");
    return 0;
}
