/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/place_report.h"

#include "base/json.h"
#include "base/units.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CELL = 24 };

static const struct placed *choice(const struct place_report *r)
{
    return &r->placement->rows[r->placement->best];
}

/* Time that linear takes longer, as a part of linear's. */
static double gain(const struct place_report *r, const struct placed *x)
{
    return 1 - x->predicted / r->placement->rows[0].predicted;
}

static const char *reason_of(const char *name)
{
    for (int i = 0; placement_rules[i]; i++)
        if (strcmp(placement_rules[i]->name, name) == 0)
            return placement_rules[i]->summary;
    return "the best of these, ranks exchanged";
}

/* ---- Text ---------------------------------------------------------------- */

static void text_row(FILE *out, const struct place_report *r,
                     const struct placed *x)
{
    char a[CELL], b[CELL], c[CELL];

    if (!x->map) {
        fprintf(out, "%-14s does not apply: %s\n", x->name, x->reason.text);
        return;
    }
    fprintf(out, "%-14s %11s %+7.1f %% %11s %11s  %s%s\n", x->name,
            quantity_print(x->predicted, "s", a, CELL), 100 * gain(r, x),
            quantity_print(x->alone, "s", b, CELL),
            quantity_print(x->busiest_nic, "B", c, CELL),
            x->as ? "as " : reason_of(x->name), x->as ? x->as : "");
}

/* Ranks of slots that follow each other are one piece, "0-7". */
static void text_map(FILE *out, const int32_t *map, int64_t n)
{
    for (int64_t i = 0, end; i < n; i = end) {
        int32_t way = i + 1 < n ? map[i + 1] - map[i] : 0;
        for (end = i + 1; end < n && (way == 1 || way == -1)
             && map[end] - map[end - 1] == way;)
            end++;
        fprintf(out, "%s%d", i ? " " : "", map[i]);
        if (end - i > 1)
            fprintf(out, "-%d", map[end - 1]);
    }
    putc('\n', out);
}

static void text_loss(FILE *out, const struct place_report *r)
{
    const struct placed *linear = &r->placement->rows[0], *best = choice(r);

    if (best == linear) {
        fputs("nothing is faster than the order as it is\n", out);
        return;
    }
    fprintf(out, "%s is the fastest; the order as it is takes %.1f %% "
            "longer\n", best->name,
            100 * (linear->predicted / best->predicted - 1));
}

void place_text(FILE *out, const struct place_report *r)
{
    const struct placements *c = r->placement;
    int64_t ranks = r->problem->traffic->ranks;

    fprintf(out, "%s, %lld ranks on %d slots of %s, %lld simulations\n\n",
            r->entry->asked->strategy->name, (long long)ranks,
            r->problem->machine->graph->n_slots, r->problem->machine->name,
            (long long)c->simulations);
    fprintf(out, "%-14s %11s %9s %11s %11s\n", "placement", "predicted", "gain",
            "messages", "busiest NIC");
    for (int64_t i = 0; i < c->n; i++)
        text_row(out, r, &c->rows[i]);
    putc('\n', out);
    text_loss(out, r);
    fputs("slots by rank: ", out);
    text_map(out, choice(r)->map, ranks);
}

/* ---- JSON ---------------------------------------------------------------- */

static void json_map(struct json *j, const int32_t *map, int64_t n)
{
    json_array(j, "slots");
    for (int64_t i = 0; i < n; i++)
        json_int(j, NULL, map[i]);
    json_end(j);
}

static void json_placed(struct json *j, const struct place_report *r,
                        const struct placed *x)
{
    json_object(j, NULL);
    json_text(j, "name", x->name);
    if (!x->map) {
        json_bool(j, "applies", 0);
        json_text(j, "reason", x->reason.text);
    } else {
        json_real(j, "predicted_s", x->predicted);
        json_real(j, "gain", gain(r, x));
        json_real(j, "messages_s", x->alone);
        json_real(j, "busiest_nic_bytes", x->busiest_nic);
        json_map(j, x->map, r->problem->traffic->ranks);
    }
    json_end(j);
}

void place_json(FILE *out, const struct place_report *r)
{
    struct json j;

    json_begin(&j, out);
    json_object(&j, NULL);
    json_text(&j, "strategy", r->entry->asked->strategy->name);
    json_text(&j, "machine", r->problem->machine->name);
    json_int(&j, "ranks", r->problem->traffic->ranks);
    json_int(&j, "simulations", r->placement->simulations);
    json_text(&j, "choice", choice(r)->name);
    json_array(&j, "placements");
    for (int64_t i = 0; i < r->placement->n; i++)
        json_placed(&j, r, &r->placement->rows[i]);
    json_end(&j);
    json_end(&j);
}

/* ---- Files --------------------------------------------------------------- */

void place_hosts(FILE *out, const struct place_report *r)
{
    const struct graph *g = r->problem->machine->graph;

    for (int64_t i = 0; i < r->problem->traffic->ranks; i++) {
        int32_t host = g->vertices[g->slots[choice(r)->map[i]]].host;
        fprintf(out, "%s\n", g->hosts[host].name);
    }
}

char *place_slots(const struct place_report *r)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    if (!out)
        die("out of memory");
    for (int64_t i = 0; i < r->problem->traffic->ranks; i++)
        fprintf(out, "%s%d", i ? ", " : "[", choice(r)->map[i]);
    fputs("]", out);
    fclose(out);
    return text;
}
