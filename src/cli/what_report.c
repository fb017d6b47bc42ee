/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/what_report.h"

#include "base/json.h"
#include "base/units.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FEW = 64, MOST_ROWS = 40, OF_AXIS = 8, CELL = 24 };

static const char *quantity(char cell[CELL], double value, const char *unit)
{
    return isnan(value) ? "-" : quantity_print(value, unit, cell, CELL);
}

static const char *best_name(const struct what_report *r, int64_t point)
{
    int i = r->result->best[point].strategy;

    return i < 0 ? "nothing" : strategies[i]->name;
}

static const char *value_at(const struct what_report *r, int64_t point,
                            int axis)
{
    return r->what_if->axes[axis].texts[what_index(r->what_if, point, axis)];
}

/* ---- Crossovers ---------------------------------------------------------- */

/* From one value of an axis to the next the best strategy changes, all else the
 * same. */
struct crossover {
    int axis;
    int64_t value;              /* index of the first of the two */
    int from, to;               /* strategies; -1: nothing fits */
    int64_t points, of;
    int64_t first;              /* a point where it does */
};

static void add_crossover(struct crossover **list, int64_t *n, int64_t *cap,
                          struct crossover x)
{
    for (int64_t i = *n - 1; i >= 0; i--) {
        struct crossover *y = &(*list)[i];
        if (y->axis != x.axis || y->value != x.value)
            break;
        if (y->from == x.from && y->to == x.to) {
            y->points++;
            return;
        }
    }
    ARRAY_PUSH(*list, *n, *cap, x);
}

static struct crossover *find_crossovers(const struct what_report *r,
                                         int64_t *n)
{
    const struct what_if *w = r->what_if;
    struct crossover *list = NULL;
    int64_t cap = 0;

    *n = 0;
    for (int a = 0; a < w->n_axes; a++)
        for (int64_t v = 0; v + 1 < w->axes[a].n; v++)
            for (int64_t p = 0; p < w->points; p++) {
                int64_t next = p + what_stride(w, a);
                if (what_index(w, p, a) != v)
                    continue;
                int from = r->result->best[p].strategy;
                int to = r->result->best[next].strategy;
                if (from != to)
                    add_crossover(&list, n, &cap, (struct crossover){
                        a, v, from, to, 1, w->points / w->axes[a].n, p });
            }
    return list;
}

static const char *strategy_name(int i)
{
    return i < 0 ? "nothing" : strategies[i]->name;
}

/* The values of a point but those of an axis, "run.ranks 8, job.sequence 4096";
 * but -1: those that count for memory. */
static void others_text(const struct what_report *r, int64_t point, int but,
                        char *text, size_t size)
{
    *text = '\0';
    for (int a = 0; a < r->what_if->n_axes; a++)
        if (but < 0 ? what_needs_memory(&r->what_if->axes[a]) : a != but)
            snprintf(text + strlen(text), size - strlen(text), "%s%s %s",
                     *text ? ", " : "", r->what_if->axes[a].key,
                     value_at(r, point, a));
}

static int by_points(const void *a, const void *b)
{
    const struct crossover *x = a, *y = b;

    if (x->axis != y->axis)
        return x->axis - y->axis;
    return x->points != y->points ? x->points < y->points ? 1 : -1
        : (x->value > y->value) - (x->value < y->value);
}

static void text_crossover(FILE *out, const struct what_report *r,
                           const struct crossover *x)
{
    const struct what_axis *axis = &r->what_if->axes[x->axis];
    char values[64], names[64], rest[256];

    snprintf(values, sizeof values, "%.28s -> %.28s", axis->texts[x->value],
             axis->texts[x->value + 1]);
    snprintf(names, sizeof names, "%s -> %s", strategy_name(x->from),
             strategy_name(x->to));
    others_text(r, x->first, x->axis, rest, sizeof rest);
    fprintf(out, "%-24s %-26s %-26s %" PRId64 " of %" PRId64 "; %s\n",
            axis->key, values, names, x->points, x->of, rest);
}

/* The most frequent of each axis. */
static void text_crossovers(FILE *out, const struct what_report *r)
{
    int64_t n, told = 0, of_axis = 0;
    struct crossover *list = find_crossovers(r, &n);

    if (n)
        qsort(list, (size_t)n, sizeof *list, by_points);
    fprintf(out, "\n%-24s %-26s %-26s %s\n", "crossovers",
            "from one value to the next", "the best changes", "points; first "
            "where");
    for (int64_t i = 0; i < n; i++) {
        of_axis = i > 0 && list[i].axis == list[i - 1].axis ? of_axis + 1 : 0;
        if (of_axis >= OF_AXIS)
            continue;
        text_crossover(out, r, &list[i]);
        told++;
    }
    if (n == 0)
        fputs("none: one strategy is the best everywhere\n", out);
    if (n > told)
        fprintf(out, "and %" PRId64 " more: --format json\n", n - told);
    free(list);
}

/* ---- The longest --------------------------------------------------------- */

static void text_longest(FILE *out, const struct what_report *r)
{
    fprintf(out, "\n%-24s %12s  %s\n", "longest sequence", "tokens",
            "by");
    for (int64_t i = 0; i < min64(r->n_longest, MOST_ROWS); i++) {
        const struct what_longest *x = &r->longest[i];
        char rest[256];
        others_text(r, x->point, -1, rest, sizeof rest);
        fprintf(out, "%-24s %12" PRId64 "  %s%s%s\n", "that fits", x->tokens,
                x->strategy ? x->strategy->name : "nothing",
                *rest ? "; " : "", rest);
    }
    if (r->n_longest > MOST_ROWS)
        fprintf(out, "and %" PRId64 " more: --format json\n",
                r->n_longest - MOST_ROWS);
}

/* ---- Text ---------------------------------------------------------------- */

static void text_head(FILE *out, const struct what_report *r)
{
    const struct what_result *x = r->result;

    fprintf(out, "%" PRId64 " points:", r->what_if->points);
    for (int a = 0; a < r->what_if->n_axes; a++)
        fprintf(out, "%s %" PRId64 " of %s", a ? " x" : "",
                r->what_if->axes[a].n, r->what_if->axes[a].key);
    fprintf(out, "\n%" PRId64 " candidates, %" PRId64 " simulated, else "
            "by closed forms, in %.2f s: %.0f points/s\n", x->candidates,
            x->simulated, x->seconds, (double)x->points / x->seconds);
}

static void text_points(FILE *out, const struct what_report *r)
{
    const struct what_if *w = r->what_if;

    fputc('\n', out);
    for (int a = 0; a < w->n_axes; a++)
        fprintf(out, "%-*s ", (int)strlen(w->axes[a].key), w->axes[a].key);
    fprintf(out, "%-11s %9s %9s  %s\n", "best", "time", "memory", "options");
    for (int64_t p = 0; p < w->points; p++) {
        const struct what_best *b = &r->result->best[p];
        char cells[2][CELL];
        for (int a = 0; a < w->n_axes; a++)
            fprintf(out, "%*s ", (int)strlen(w->axes[a].key),
                    value_at(r, p, a));
        fprintf(out, "%-11s %9s %9s  %s\n", best_name(r, p),
                quantity(cells[0], b->seconds, "s"),
                quantity(cells[1], b->memory, "B"), b->options);
    }
}

void what_text(FILE *out, const struct what_report *r)
{
    text_head(out, r);
    if (r->what_if->points <= FEW)
        text_points(out, r);
    text_crossovers(out, r);
    if (r->n_longest)
        text_longest(out, r);
}

/* ---- JSON ---------------------------------------------------------------- */

static void json_values(struct json *j, const struct what_report *r,
                        int64_t point)
{
    json_object(j, "values");
    for (int a = 0; a < r->what_if->n_axes; a++)
        json_text(j, r->what_if->axes[a].key, value_at(r, point, a));
    json_end(j);
}

static void json_points(struct json *j, const struct what_report *r)
{
    json_array(j, "best");
    for (int64_t p = 0; p < r->what_if->points; p++) {
        const struct what_best *b = &r->result->best[p];
        json_object(j, NULL);
        json_values(j, r, p);
        json_text(j, "strategy", b->strategy < 0 ? NULL : best_name(r, p));
        json_text(j, "options", b->options);
        json_real(j, "seconds", b->seconds);
        json_real(j, "memory_bytes", b->memory);
        json_end(j);
    }
    json_end(j);
}

static void json_crossovers(struct json *j, const struct what_report *r)
{
    int64_t n;
    struct crossover *list = find_crossovers(r, &n);

    json_array(j, "crossovers");
    for (int64_t i = 0; i < n; i++) {
        const struct what_axis *axis = &r->what_if->axes[list[i].axis];
        json_object(j, NULL);
        json_text(j, "key", axis->key);
        json_text(j, "from_value", axis->texts[list[i].value]);
        json_text(j, "to_value", axis->texts[list[i].value + 1]);
        json_text(j, "from", strategy_name(list[i].from));
        json_text(j, "to", strategy_name(list[i].to));
        json_int(j, "points", list[i].points);
        json_values(j, r, list[i].first);
        json_end(j);
    }
    json_end(j);
    free(list);
}

static void json_longest(struct json *j, const struct what_report *r)
{
    json_array(j, "longest");
    for (int64_t i = 0; i < r->n_longest; i++) {
        const struct what_longest *x = &r->longest[i];
        json_object(j, NULL);
        json_values(j, r, x->point);
        json_int(j, "tokens", x->tokens);
        json_text(j, "strategy", x->strategy ? x->strategy->name : NULL);
        json_end(j);
    }
    json_end(j);
}

void what_json(FILE *out, const struct what_report *r)
{
    struct json j;

    json_begin(&j, out);
    json_object(&j, NULL);
    json_int(&j, "points", r->what_if->points);
    json_int(&j, "candidates", r->result->candidates);
    json_int(&j, "simulated", r->result->simulated);
    json_real(&j, "seconds", r->result->seconds);
    json_points(&j, r);
    json_crossovers(&j, r);
    json_longest(&j, r);
    json_end(&j);
}

/* ---- The file ------------------------------------------------------------ */

/* Columns of the results. */
struct columns {
    double *seconds, *memory, *sent;
    int32_t *strategy;
    const char **options, **names;
};

static void columns_fill(struct columns *c, const struct what_result *r)
{
    size_t n = (size_t)r->points;

    *c = (struct columns){
        xcalloc(n, sizeof *c->seconds), xcalloc(n, sizeof *c->memory),
        xcalloc(n, sizeof *c->sent), xcalloc(n, sizeof *c->strategy),
        xcalloc(n, sizeof *c->options),
        xcalloc((size_t)r->n_strategies, sizeof *c->names)
    };
    for (int64_t i = 0; i < r->points; i++) {
        c->seconds[i] = r->best[i].seconds;
        c->memory[i] = r->best[i].memory;
        c->sent[i] = r->best[i].sent;
        c->strategy[i] = r->best[i].strategy;
        c->options[i] = r->best[i].options;
    }
    for (int64_t i = 0; i < r->n_strategies; i++)
        c->names[i] = strategies[i]->name;
}

static void columns_clear(struct columns *c)
{
    free(c->seconds);
    free(c->memory);
    free(c->sent);
    free(c->strategy);
    free(c->options);
    free(c->names);
}

int what_write(const char *path, const struct what_report *r, const char *line,
               struct error *e)
{
    const struct what_if *w = r->what_if;
    struct columns c;

    columns_fill(&c, r->result);
    struct sweep s = {
        .scenario_json = r->scenario->json, .command = line,
        .versions = PACKAGE_STRING, .how = r->result->simulated
        ? "simulated" : "closed forms", .n_axes = w->n_axes,
        .n_strategies = r->result->n_strategies, .strategies = c.names,
        .seconds = c.seconds, .memory = c.memory, .sent = c.sent,
        .strategy = c.strategy, .options = c.options,
        .by_strategy = r->result->by_strategy
    };
    for (int a = 0; a < w->n_axes; a++)
        s.axes[a] = (struct sweep_axis){
            w->axes[a].key, w->axes[a].unit, w->axes[a].n, w->axes[a].values,
            (const char *const *)w->axes[a].texts
        };
    int rc = sweep_write(path, &s, e);
    columns_clear(&c);
    return rc;
}
