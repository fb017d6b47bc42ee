/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory plan: scratch buffers share the arena where every use of the one
 * happens before every use of the other, whatever the timing. */
#include <config.h>

#include "schedule/internal.h"

#include <stdlib.h>

/* First and last op that uses a buffer in each lane; -1: none. */
struct lifetime {
    int32_t first[LANES], last[LANES];
};

/* clock[op * LANES + lane]: the latest op of `lane` that is over when `op`
 * starts, or `op` itself; -1: none. */
static int32_t *vector_clocks(const struct schedule *s)
{
    int32_t *clock = xmalloc((size_t)s->n_ops * LANES * sizeof *clock + 1);
    int32_t tail[LANES];

    for (int l = 0; l < LANES; l++)
        tail[l] = -1;
    for (int32_t i = 0; i < s->n_ops; i++) {
        const struct op *op = &s->ops[i];
        int32_t *mine = clock + (size_t)i * LANES;
        int lane[2];

        for (int l = 0; l < LANES; l++)
            mine[l] = -1;
        op_lanes(op, lane);
        for (int32_t d = -2; d < op->dep_count; d++) {
            int32_t before = d >= 0 ? s->deps[op->dep_first + d].op
                : lane[d + 2] >= 0 ? tail[lane[d + 2]] : -1;
            for (int l = 0; before >= 0 && l < LANES; l++)
                if (clock[(size_t)before * LANES + l] > mine[l])
                    mine[l] = clock[(size_t)before * LANES + l];
        }
        for (int k = 0; k < 2; k++)
            if (lane[k] >= 0)
                mine[lane[k]] = tail[lane[k]] = i;
    }
    return clock;
}

static struct lifetime *lifetimes(const struct schedule *s)
{
    struct lifetime *life = xmalloc((size_t)s->n_buffers * sizeof *life + 1);

    for (int64_t b = 0; b < s->n_buffers; b++)
        for (int l = 0; l < LANES; l++)
            life[b].first[l] = life[b].last[l] = -1;
    for (int32_t i = 0; i < s->n_ops; i++) {
        int64_t n;
        int lane[2];
        const struct operand *o = pool_operands_get(s->pool,
                                                    s->ops[i].operands, &n);
        op_lanes(&s->ops[i], lane);
        for (int64_t k = 0; k < 2 * n; k++) {
            int l = lane[k % 2];
            struct lifetime *f = &life[o[k / 2].tile.buffer];
            if (l < 0)
                continue;
            if (f->first[l] < 0)
                f->first[l] = i;
            f->last[l] = i;
        }
    }
    return life;
}

/* Every use of a happens before every use of b. */
static int precedes(const int32_t *clock, const struct lifetime *a,
                    const struct lifetime *b)
{
    for (int lb = 0; lb < LANES; lb++)
        for (int la = 0; b->first[lb] >= 0 && la < LANES; la++)
            if (a->last[la] >= 0
                && (a->last[la] >= b->first[lb]
                    || clock[(size_t)b->first[lb] * LANES + la] < a->last[la]))
                return 0;
    return 1;
}

struct planner {
    struct schedule *s;
    const int32_t *clock;
    const struct lifetime *life;
    int32_t *placed;            /* by offset */
    int64_t n;
};

/* The lowest offset at which `buffer` meets no buffer that is live with it. */
static size_t lowest_offset(const struct planner *p, int32_t buffer)
{
    size_t offset = 0, bytes = buffer_bytes(p->s, buffer);

    for (int64_t i = 0; i < p->n; i++) {
        int32_t other = p->placed[i];
        size_t first = p->s->buffers[other].offset;
        size_t last = first + buffer_bytes(p->s, other);
        if (last <= offset || first >= offset + bytes
            || precedes(p->clock, &p->life[other], &p->life[buffer])
            || precedes(p->clock, &p->life[buffer], &p->life[other]))
            continue;
        offset = last;
        i = -1;                 /* may meet an earlier one now */
    }
    return offset;
}

static void place_buffer(struct planner *p, int32_t buffer)
{
    size_t end;

    p->s->buffers[buffer].offset = lowest_offset(p, buffer);
    p->placed[p->n++] = buffer;
    end = p->s->buffers[buffer].offset + buffer_bytes(p->s, buffer);
    if (end > p->s->role_bytes[ROLE_SCRATCH])
        p->s->role_bytes[ROLE_SCRATCH] = end;
}

/* Largest first, then by number: deterministic. */
static int32_t next_buffer(const struct schedule *s, const char *done)
{
    int32_t best = -1;

    for (int32_t b = 0; b < s->n_buffers; b++)
        if (s->buffers[b].role == ROLE_SCRATCH && !done[b]
            && (best < 0 || buffer_bytes(s, b) > buffer_bytes(s, best)))
            best = b;
    return best;
}

static void plan_arena(struct schedule *s)
{
    int32_t *clock = vector_clocks(s);
    struct lifetime *life = lifetimes(s);
    struct planner p = { s, clock, life,
                         xcalloc((size_t)s->n_buffers, sizeof(int32_t)), 0 };
    char *done = xcalloc((size_t)s->n_buffers, 1);

    for (int32_t b; (b = next_buffer(s, done)) >= 0; done[b] = 1)
        place_buffer(&p, b);
    free(p.placed);
    free(done);
    free(life);
    free(clock);
}

void plan_memory(struct schedule *s)
{
    plan_arena(s);
    for (int32_t b = 0; b < s->n_buffers; b++)
        if (s->buffers[b].role != ROLE_SCRATCH)
            s->role_bytes[s->buffers[b].role] += buffer_bytes(s, b);
    for (int r = 0; r < ROLE_STAGING; r++)
        s->peak_bytes += s->role_bytes[r];
}
