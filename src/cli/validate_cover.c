/* SPDX-License-Identifier: Apache-2.0
 *
 * How often a measured time lies between P10 and P90, by kind of row. */
#include <config.h>

#include "cli/validate.h"

#include "topo/estimate.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A row that counts for `name`. */
struct counted {
    char name[80];
    const struct choice *choice;
};
struct counted_rows {
    int64_t n, cap;
    struct counted *items;
};

static void count_row(struct counted_rows *rows, const char *name,
                      const struct choice *x)
{
    struct counted row = { .choice = x };

    snprintf(row.name, sizeof row.name, "%s", name);
    ARRAY_PUSH(rows->items, rows->n, rows->cap, row);
}

static struct coverage cover(const struct counted_rows *rows, const char *name)
{
    struct coverage c = { .rows = 0 };
    double *value[3];

    snprintf(c.name, sizeof c.name, "%s", name);
    for (int k = 0; k < 3; k++)
        value[k] = xcalloc((size_t)rows->n, sizeof **value);
    for (int64_t i = 0; i < rows->n; i++) {
        const struct choice *x = rows->items[i].choice;
        if (strcmp(rows->items[i].name, name) != 0)
            continue;
        value[0][c.rows] = x->measured / x->predicted[CALIBRATED];
        value[1][c.rows] = x->interval[0] / x->predicted[CALIBRATED];
        value[2][c.rows++] = x->interval[1] / x->predicted[CALIBRATED];
        c.below += x->measured < x->interval[0];
        c.above += x->measured > x->interval[1];
    }
    c.inside = c.rows - c.below - c.above;
    c.ratio = quantile_of(value[0], c.rows, 0.5);
    c.low = quantile_of(value[1], c.rows, 0.5);
    c.high = quantile_of(value[2], c.rows, 0.5);
    for (int k = 0; k < 3; k++)
        free(value[k]);
    return c;
}

/* One for each name, in the order of their first rows. */
static void cover_each(const struct counted_rows *rows, struct coverages *out)
{
    for (int64_t i = 0; i < rows->n; i++) {
        int64_t k = 0;
        while (strcmp(rows->items[k].name, rows->items[i].name) != 0)
            k++;
        if (k == i)
            ARRAY_PUSH(out->items, out->n, out->cap,
                       cover(rows, rows->items[i].name));
    }
}

static void case_name(const struct attention_case *c, char *text, size_t size)
{
    snprintf(text, size, "%s %s %" PRId64 "k x %" PRId64 " %s", c->box,
             c->source, c->sequence / 1024, c->head_dim,
             strcmp(c->pass, "forward") ? "f+b" : "fwd");
}

void attention_coverage(const struct attention_cases *s,
                        struct coverages *out)
{
    struct counted_rows alike = { .n = 0 }, decides = { .n = 0 };
    struct counted_rows all = { .n = 0 };
    char name[80];

    for (int64_t i = 0; i < s->n; i++) {
        const struct attention_case *c = &s->items[i];
        case_name(c, name, sizeof name);
        for (int64_t k = 0; k < c->n; k++) {
            const struct choice *x = &c->choices[k];
            count_row(&alike, name, x);
            count_row(&decides, x->links >= 0.5
                      ? "links take half of the time or more"
                      : "links take less", x);
            count_row(&all, "all", x);
        }
    }
    cover_each(&alike, out);
    cover_each(&decides, out);
    cover_each(&all, out);
    free(alike.items);
    free(decides.items);
    free(all.items);
}
