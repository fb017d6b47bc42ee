/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/validate.h"

#include "base/file.h"
#include "cli/planned.h"
#include "cli/scenario.h"
#include "models/simulate.h"
#include "topo/estimate.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What a code base does besides attention and messages, from its source: fixed
 * for all of its rows.
 *
 * merge   bytes of memory traffic per element of a block's result: every step
 *         makes it fp32 (6), subtracts, multiplies and subtracts again in
 *         kernels of their own (12 + 8 + 12), copies the slice back (8)
 * packs   how often an all-to-all copies its tensors, before and after */
static const struct profile {
    const char *source, *name;
    double merge;
    int packs;
} profiles[] = {
    { "rfa", "ring-flash-attention", 46, 0 },
    { "usp", "long-context-attention", 46, 2 },
    { "paper", "long-context-attention, table 4 of the paper", 46, 2 },
};
enum { PROFILES = sizeof profiles / sizeof *profiles };

/* Machines, and the kernel.  Of boxes on PCIe nothing was measured but on L40S:
 * calibrated is with the links of that. */
static const struct box {
    const char *name, *bare, *calibrated, *kernel;
} boxes[] = {
    { "8xA100-NVLink", "dgx-a100", "dgx-a100", "fa2" },
    { "8xH800", "h800", "h800", "fa2" },
    { "4xA100-PCIe", "a100-pcie-4", "a100-pcie-4-as-l40s", "fa2" },
    { "8xL20", "l20-8", "l20-8-as-l40s", "fa2" },
};
enum { BOXES = sizeof boxes / sizeof *boxes };

void print_profiles(FILE *out)
{
    for (int i = 0; i < PROFILES; i++)
        fprintf(out, "  %-46s %2.0f B an element to merge, all-to-alls packed "
                "%d times\n", profiles[i].name, profiles[i].merge,
                profiles[i].packs);
}

/* ---- Machines ----------------------------------------------------------- */

static struct machine *open_machine(const char *name, int kernels,
                                    struct error *e)
{
    char *path = NULL;
    size_t size = 0;
    char *text = scenario_data("machines", name, "", &path, &size, e);
    struct machine *m = text ? machine_parse(path, text, size, e) : NULL;

    if (m && kernels && machine_find_kernels(m, path, NULL, e) != 0) {
        machine_destroy(m);
        m = NULL;
    }
    free(text);
    free(path);
    return m;
}

static const struct box *find_box(const char *name)
{
    for (int i = 0; i < BOXES; i++)
        if (!strcmp(boxes[i].name, name))
            return &boxes[i];
    return NULL;
}

int box_stands_in(const char *name)
{
    const struct box *b = find_box(name);

    return b && strcmp(b->bare, b->calibrated) != 0;
}

static const struct profile *find_profile(const char *source)
{
    for (int i = 0; i < PROFILES; i++)
        if (!strcmp(profiles[i].source, source))
            return &profiles[i];
    return NULL;
}

/* ---- Simulation --------------------------------------------------------- */

/* The case as a scenario. */
static char *scenario_of(const struct attention_case *c)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);

    fprintf(f, "job: {transformer: {heads: %" PRId64 ", kv_heads: %" PRId64
            ", head_dim: %" PRId64 "}, sequence: %" PRId64 ", mask: causal, "
            "pass: %s, dtype: bf16, wire_partial: fp32}\nrun: {ranks: %" PRId64
            "}\nstrategies:\n", c->heads, c->kv_heads, c->head_dim,
            c->sequence, c->pass, c->ranks);
    for (int64_t i = 0; i < c->n; i++) {
        const struct choice *x = &c->choices[i];
        fprintf(f, "  - {name: %s, layout: %s", x->strategy, x->layout);
        if (x->head)
            fprintf(f, ", head: %" PRId64, x->head);
        fputs("}\n", f);
    }
    fclose(f);
    return text;
}

static int predict_one(const struct planned *p, const struct machine *m,
                       const char *kernel, double *seconds, struct error *e)
{
    const struct schedule *const *all =
        (const struct schedule *const *)p->schedules;
    struct simulate_options o = { .network = network_find("flow"),
                                  .kernel = kernel };
    struct simulate_result r;

    if (simulate_ready(all, p->ranks, m, kernel, e) != 0)
        return -1;
    simulate(all, p->ranks, m, &o, &r);
    *seconds = r.seconds;
    simulate_result_clear(&r);
    return 0;
}

/* Links so much slower than m's. */
static struct graph *slow_links(struct machine *m, double slower)
{
    for (int64_t i = 0; i < m->graph->n_edges; i++)
        for (int k = 0; k < 2; k++)
            m->graph->edges[i].bandwidth[k] /= slower;
    return m->graph;
}

/* The two points are the first and the last row.  Of links slower by 1/4 to 4,
 * those with which both are off by the same factor; all is slower by that. */
static int fit_two_points(struct attention_case *c, const struct planned *p,
                          struct machine *m, const char *kernel,
                          struct error *e)
{
    const struct choice *a = &c->choices[0], *b = &c->choices[c->n - 1];
    double least = INFINITY;

    for (int k = -4; k <= 4; k++) {
        double links = pow(2, 0.5 * k), x, y;
        slow_links(m, links);
        int rc = predict_one(&p[0], m, kernel, &x, e)
            || predict_one(&p[c->n - 1], m, kernel, &y, e);
        slow_links(m, 1 / links);
        if (rc)
            return -1;
        double off = fabs(log(a->measured / x) - log(b->measured / y));
        if (off < least) {
            least = off;
            c->links = links;
            c->all = sqrt(a->measured / x * b->measured / y);
        }
    }
    return 0;
}

/* What is left with links that take no time. */
static int find_links(struct attention_case *c, const struct planned *p,
                      struct machine *m, const char *kernel, struct error *e)
{
    static const double no_time = 1e-6;
    int rc = 0;

    slow_links(m, no_time);
    for (int64_t i = 0; i < c->n && !rc; i++) {
        double rest;
        rc = predict_one(&p[i], m, kernel, &rest, e);
        if (!rc)
            c->choices[i].links = 1 - rest
                / c->choices[i].predicted[CALIBRATED];
    }
    slow_links(m, 1 / no_time);
    return rc;
}

static void choose(struct attention_case *c)
{
    for (int64_t i = 0; i < c->n; i++) {
        if (c->choices[i].measured < c->choices[c->best].measured)
            c->best = i;
        for (int k = 0; k < COLUMNS; k++)
            if (c->choices[i].predicted[k]
                < c->choices[c->chosen[k]].predicted[k])
                c->chosen[k] = i;
    }
}

/* P10 and P90 of the calibrated prediction. */
static int find_intervals(struct attention_case *c, const struct planned *p,
                          const struct machine *m, const char *kernel,
                          struct error *e)
{
    struct machine moved = *m;

    for (int k = 0; k < 2; k++) {
        moved.quantile = k ? 1 : -1;
        for (int64_t i = 0; i < c->n; i++)
            if (predict_one(&p[i], &moved, kernel,
                            &c->choices[i].interval[k], e) != 0)
                return -1;
    }
    return 0;
}

/* All columns of the rows of a case. */
static int predict_case(struct attention_case *c, const struct planned *p,
                        struct machine *bare, struct machine *m,
                        const struct box *b, struct error *e)
{
    for (int64_t i = 0; i < c->n; i++)
        if (predict_one(&p[i], bare, b->kernel,
                        &c->choices[i].predicted[UNCALIBRATED], e)
            || predict_one(&p[i], m, b->kernel,
                           &c->choices[i].predicted[CALIBRATED], e))
            return -1;
    if (find_intervals(c, p, m, b->kernel, e) != 0
        || find_links(c, p, m, b->kernel, e) != 0
        || fit_two_points(c, p, m, b->kernel, e) != 0)
        return -1;
    slow_links(m, c->links);
    int rc = 0;
    for (int64_t i = 0; i < c->n && !rc; i++) {
        rc = predict_one(&p[i], m, b->kernel,
                         &c->choices[i].predicted[TWO_POINTS], e);
        c->choices[i].predicted[TWO_POINTS] *= c->all;
    }
    slow_links(m, 1 / c->links);
    if (!rc)
        choose(c);
    return rc;
}

static int plan_case(struct attention_case *c, struct machine *bare,
                     struct machine *m, const struct box *b, struct error *e)
{
    char *text = scenario_of(c);
    struct scenario *s = scenario_parse("case", text, strlen(text), NULL, 0,
                                        e);
    struct planned *p = xcalloc((size_t)c->n, sizeof *p);
    int rc = s ? 0 : -1;

    for (int64_t i = 0; i < c->n && !rc; i++) {
        planned_open(&p[i], s, i, c->ranks);
        if (!p[i].plan)
            rc = fail(e, "%s: %s", c->choices[i].strategy, p[i].reason.text);
        else
            planned_build(&p[i]);
    }
    if (!rc)
        rc = predict_case(c, p, bare, m, b, e);
    for (int64_t i = 0; i < c->n && s; i++)
        if (p[i].asked)
            planned_close(&p[i]);
    free(p);
    scenario_destroy(s);
    free(text);
    return rc;
}

/* A machine for each column of a case. */
static int validate_case(struct attention_case *c, struct error *e)
{
    const struct box *b = find_box(c->box);
    const struct profile *x = find_profile(c->source);

    if (!b || !x)
        return fail_usage(e, "attention.csv: %s of %s is not known", c->box,
                          c->source);
    struct machine *bare = open_machine(b->bare, 0, e);
    struct machine *m = bare ? open_machine(b->calibrated, 1, e) : NULL;
    int rc = m ? 0 : -1;
    if (!rc) {
        forget_calibration(bare);
        bare->merge = m->merge = x->merge / m->memory_bandwidth;
        bare->packs = m->packs = x->packs;
        rc = plan_case(c, bare, m, b, e);
    }
    machine_destroy(bare);
    machine_destroy(m);
    return rc;
}

int validate_attention(struct attention_cases *s, struct error *e)
{
    char *path = NULL;
    size_t size = 0;
    char *text = scenario_data("validation", "attention.csv", "", &path, &size,
                               e);

    int rc = text ? attention_rows(s, path, text, e) : -1;
    for (int64_t i = 0; i < s->n && !rc; i++)
        rc = validate_case(&s->items[i], e);
    free(text);
    free(path);
    return rc;
}
