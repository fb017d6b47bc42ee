/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/anchor.h"

#include "cli/scenario.h"
#include "models/simulate.h"
#include "trace/usage.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Measuring ----------------------------------------------------------- */

static int attends(enum op_kind kind)
{
    return kind == OP_ATTEND || kind == OP_ATTEND_BACKWARD;
}

/* Has the machine a table for it, or only the bandwidth of its memory? */
static int is_by_bytes(const struct machine *m, const char *kernel,
                       enum op_kind kind)
{
    const struct block_shape any = { DTYPE_FP32, 64, 64, 1, 1 };
    const struct op op = { .kind = (uint8_t)kind };

    return !attends(kind) && !op_is_product(&op)
        && !(machine_rate(m, op_names[kind], kernel, &any, 64) > 0);
}

static void add_op(struct anchor *a, const struct machine *m,
                   const char *kernel, const struct schedule *s, int32_t i,
                   double seconds)
{
    const struct op *op = &s->ops[i];
    enum op_kind kind = (enum op_kind)op->kind;
    int lane[2];

    op_lanes(op, lane);
    if (lane[0] != LANE_COMPUTE)
        return;
    double told = op_seconds(m, kernel, s, op) - m->op_overhead;
    double measured = seconds - m->op_overhead;
    if (!(told > 0) || !(measured > 0))
        return;
    int bytes = is_by_bytes(m, kernel, kind);
    *(bytes ? &a->measured : &a->kinds[kind].measured) += measured;
    *(bytes ? &a->told : &a->kinds[kind].told) += told;
    a->ops++;
}

static void add_rank(struct anchor *a, const struct machine *m,
                     const char *kernel, const struct schedule *s,
                     const struct op_time *times, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (times[i].rank == s->rank && times[i].op < s->n_ops)
            add_op(a, m, kernel, s, times[i].op, times[i].ns * 1e-9);
}

/* The schedules that were run, built again. */
static int add_entry(struct anchor *a, const struct trace *t, int64_t entry,
                     const struct scenario *s, const struct machine *m,
                     const char *kernel, struct error *e)
{
    const struct scenario_strategy *x = &s->strategies[entry];
    int32_t ranks = t->entries[entry].ranks;
    struct op_time *times;
    uint64_t *hashes;
    struct plan *p = plan_create(&s->job, x->strategy, &x->options, ranks, e);

    if (!p)
        return -1;
    int64_t n = usage_ops(t->spans, t->n_spans, entry, &times);
    hashes = xcalloc((size_t)ranks, sizeof *hashes);
    for (int32_t r = 0; r < ranks; r++) {
        struct schedule *own = plan_build(p, r);
        hashes[r] = own->hash;
        add_rank(a, m, kernel, own, times, n);
        schedule_destroy(own);
    }
    int same = schedule_hash_all(hashes, ranks)
        == t->entries[entry].schedule_hash;
    free(hashes);
    free(times);
    plan_destroy(p);
    return same ? 0 : fail(e, "entry %lld (%s) was run on another schedule "
                           "than this version builds", (long long)entry,
                           x->strategy->name);
}

static int add_trace(struct anchor *a, const struct trace *t,
                     const struct scenario *s, const struct machine *m,
                     const char *kernel, struct error *e)
{
    if (t->simulated)
        return fail(e, "it is simulated: `spar run` measures");
    if (s->n_strategies != t->n_entries)
        return fail(e, "%lld entries for %lld strategies",
                    (long long)t->n_entries, (long long)s->n_strategies);
    for (int64_t i = 0; i < t->n_entries; i++)
        if (t->entries[i].ranks > 0 && add_entry(a, t, i, s, m, kernel, e))
            return -1;
    return a->ops ? 0 : fail(e, "no op that computes was measured");
}

int anchor_measure(struct anchor *a, const char *path, const struct machine *m,
                   const char *kernel, struct error *e)
{
    struct error why = { 0 };
    struct trace *t = trace_read(path, e);
    int rc = -1;

    *a = (struct anchor){ 0 };
    if (!t)
        return -1;
    struct scenario *s = scenario_parse(path, t->scenario_json,
                                        strlen(t->scenario_json), NULL, 0,
                                        &why);
    if (!s || !s->ready || add_trace(a, t, s, m, kernel, &why))
        fail(e, "%s: %s", path, s && !s->ready ? "its job had an input file"
             : why.text);
    else
        rc = 0;
    scenario_destroy(s);
    trace_destroy(t);
    return rc;
}

/* ---- Applying ------------------------------------------------------------ */

/* What was not measured is off as all that was. */
static double ratio(const struct anchor *a, int kind)
{
    double measured = a->kinds[kind].measured, told = a->kinds[kind].told;

    for (int k = 0; !(a->kinds[kind].told > 0) && k < OP_KINDS; k++) {
        measured += a->kinds[k].measured;
        told += a->kinds[k].told;
    }
    return told > 0 ? measured / told : 1;
}

void anchor_apply(const struct anchor *a, struct machine *m)
{
    for (int64_t i = 0; i < m->n_surfaces; i++) {
        int kind = name_index(op_names, m->surfaces[i].op);
        for (int64_t k = 0; kind >= 0 && k < m->surfaces[i].n; k++)
            m->surfaces[i].points[k].seconds *= ratio(a, kind);
    }
    for (int64_t i = 0; i < m->n_rates; i++) {
        int kind = name_index(op_names, m->rates[i].op);
        for (int64_t k = 0; kind >= 0 && k < m->rates[i].n; k++)
            m->rates[i].points[k].flops /= ratio(a, kind);
    }
    m->peak /= ratio(a, OP_ATTEND);
    if (a->told > 0)
        m->memory_bandwidth *= a->told / a->measured;
}

void anchor_text(const struct anchor *a, char *text, size_t size)
{
    *text = '\0';
    for (int k = 0; k < OP_KINDS; k++)
        if (a->kinds[k].told > 0)
            snprintf(text + strlen(text), size - strlen(text), "%s%s x%.3f",
                     *text ? ", " : "", op_names[k], ratio(a, k));
    if (a->told > 0)
        snprintf(text + strlen(text), size - strlen(text), "%sbytes x%.3f",
                 *text ? ", " : "", a->measured / a->told);
}
