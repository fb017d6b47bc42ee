/* SPDX-License-Identifier: Apache-2.0
 *
 * What closed forms of softmax attention share: partial results and sums, the
 * messages of a ring, slices of a collective. */
#include <config.h>

#include "models/forms_internal.h"

enum { PARTS_HELD = 8 };        /* PARTS of parts.h */

enum dtype scene_dtype(const struct scene *c)
{
    return c->f->job->dtype;
}

enum dtype scene_grad(const struct scene *c)
{
    return c->f->job->wire_grad;
}

static enum dtype partial_of(const struct scene *c)
{
    return c->f->job->wire_partial;
}

struct move next_message(double tiles, double bytes)
{
    return (struct move){ .peers = 1, .tiles = tiles, .bytes = bytes,
                          .block = bytes / tiles, .to = TO_NEXT };
}

void scene_enter(struct scene *c, int64_t members)
{
    c->members = members;
    c->p = forms_profile(c->f, c->o->layout, c->o->block, members);
    c->rows = (double)c->f->job->tokens / (double)members;
}

/* ---- What steps add ----------------------------------------------------- */

double results_more(const struct scene *c, int pass, double added,
                    double stored)
{
    const struct transformer *t = &c->f->job->transformer;
    struct block_shape shape = { scene_dtype(c), t->head_dim, t->value_dim,
                                 job_group(c->f->job), c->heads };
    const struct surface *x;

    if (!c->f->m->devices || added + stored <= 0)
        return 0;
    x = machine_surface(c->f->m, op_names[pass == FORWARD ? OP_ATTEND
                                          : OP_ATTEND_BACKWARD],
                        c->f->kernel, &shape, BLOCK_FULL);
    return x && x->heads ? added * x->update + stored * x->store_fp32 : 0;
}

double partial_form_bytes(const struct scene *c, int pass)
{
    return pass == FORWARD
        ? c->rows * (o_bytes(c, partial_of(c)) + 4 * (double)c->heads)
        : c->rows * q_bytes(c, scene_grad(c));
}

static int parts_apart(const struct scene *c, int pass)
{
    return (pass == FORWARD ? partial_of(c) : scene_grad(c)) != DTYPE_FP32;
}

double step_results(const struct scene *c, int pass)
{
    double elements = c->rows * (pass == FORWARD ? o_bytes(c, DTYPE_FP32)
                                 : q_bytes(c, DTYPE_FP32)) / 4;

    if (c->members == 1)
        return 0;
    return parts_apart(c, pass)
        ? memory_seconds_of(c, partial_form_bytes(c, pass))
        : results_more(c, pass, elements, 0);
}

double parts_memory(const struct scene *c, int pass)
{
    double held = (double)min64(c->members - 1, PARTS_HELD);
    double sum = c->rows * (pass == FORWARD ? o_bytes(c, DTYPE_FP32)
                            : q_bytes(c, DTYPE_FP32));

    if (c->members == 1)
        return 0;
    if (parts_apart(c, pass))
        return held * partial_form_bytes(c, pass)
            + (c->members - 1 > PARTS_HELD ? sum : 0);
    return scene_dtype(c) == DTYPE_FP32 ? 0 : sum;
}

double delta_memory(const struct scene *c)
{
    return 4 * c->rows * (double)c->heads;
}

void add_delta_form(struct scene *c)
{
    struct load l = { .compute = memory_seconds_of(
        c, 2 * c->rows * o_bytes(c, scene_dtype(c))) };

    scene_add(c, 1, l, 1);
}

/* ---- Slices ------------------------------------------------------------- */

struct move all_slices(enum collective_kind kind, double peers, double tiles,
                       double bytes, double block, int apart)
{
    return (struct move){ .peers = peers, .tiles = tiles, .bytes = bytes,
                          .block = block, .to = TO_ALL, .kind = kind,
                          .apart = apart };
}

void load_collective(struct scene *c, struct load *l, struct move m,
                     double finish)
{
    const struct machine *x = c->f->m;

    load_move(c, l, m);
    if (m.peers > 0 && x->memory_bandwidth > 0)
        l->wire += finish / x->memory_bandwidth;
}
