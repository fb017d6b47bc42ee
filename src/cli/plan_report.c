/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/plan_report.h"

#include "base/json.h"
#include "base/units.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { CELL = 24, LINE = 160 };

/* "1": a bare number. */
static const char *quantity(char cell[CELL], double value, const char *unit)
{
    if (isnan(value))
        return "-";
    if (strcmp(unit, "1"))
        return quantity_print(value, unit, cell, CELL);
    snprintf(cell, CELL, "%.4g", value);
    return cell;
}

/* The options but the layout, which has a column of its own. */
static void variant(const struct contender *x, char text[LINE])
{
    struct strategy_options o = x->candidate.options;

    o.layout = LAYOUT_CONTIGUOUS;
    options_text(x->candidate.strategy, &o, text, LINE);
}

static double exposed(const struct contender *x)
{
    return fmax(0, x->seconds - x->computed);
}

static void why(const struct plan_report *r, int64_t i, char text[LINE])
{
    const struct contender *all = r->answer->contenders;

    *text = '\0';
    if (i > 0)
        contender_loses(&all[i], &all[0], text, LINE);
}

/* ---- Text ---------------------------------------------------------------- */

static void text_job(FILE *out, const struct plan_report *r)
{
    const struct job *job = r->question->job;
    const struct transformer *t = &job->transformer;

    fprintf(out, "%" PRId64 " tokens, %" PRId64 " heads of %" PRId64 ", %"
            PRId64 " KV heads, %s, %s, %s on %" PRId64 " ranks of %s\n",
            job->tokens, t->heads, t->head_dim, t->kv_heads,
            mask_names[job->mask.kind], dtype_name(job->dtype),
            pass_names[job->pass], r->question->ranks,
            r->question->machine->name);
}

static int64_t strategies_of(const struct candidates *all)
{
    int64_t n = 0;

    for (int i = 0; strategies[i]; i++)
        for (int64_t k = 0; k < all->n; k++)
            if (all->list[k].strategy == strategies[i]) {
                n++;
                break;
            }
    return n;
}

static void text_counts(FILE *out, const struct plan_report *r)
{
    const struct answer *a = r->answer;
    char limit[CELL], capacity[CELL], ready[CELL];

    fprintf(out, "%" PRId64 " candidates of %" PRId64 " strategies, estimated "
            "in %s, from then on %.0f /s; %" PRId64 " simulated (%s)\n",
            a->all.n, strategies_of(&a->all),
            quantity(ready, a->ready_seconds, "s"),
            (double)a->all.n / a->find_seconds, a->n,
            r->question->network->name);
    if (r->question->memory > 0)
        fprintf(out, "%" PRId64 " may fit in %s a rank, %s less a reserve of %"
                PRId64 " %%\n", a->fit,
                quantity(limit, r->question->memory, "B"),
                quantity(capacity, r->capacity, "B"), r->reserve);
    else
        fputs("memory of a rank: not known, anything fits\n", out);
}

/* Classes by which anything is sent. */
static int is_used(const struct plan_report *r, int class)
{
    for (int64_t i = 0; i < r->answer->n; i++)
        if (r->answer->contenders[i].by_class[class] > 0)
            return 1;
    return 0;
}

static void text_classes(FILE *out, const struct plan_report *r,
                         const struct contender *x)
{
    char cell[CELL];

    for (int k = 0; k < ROUTE_CLASSES; k++)
        if (is_used(r, k))
            fprintf(out, " %9s", x ? quantity(cell, x->by_class[k], "B")
                                   : class_names[k]);
}

static void text_row(FILE *out, const struct plan_report *r, int64_t i)
{
    const struct contender *x = &r->answer->contenders[i];
    char cells[5][CELL], reason[LINE], options[LINE], overlap[CELL] = "-";
    char interval[CELL] = "-";

    if (!isnan(x->overlap))
        snprintf(overlap, sizeof overlap, "%.0f %%", 100 * x->overlap);
    variant(x, options);
    why(r, i, reason);
    if (!isnan(x->interval[0]))
        snprintf(interval, sizeof interval, "%+.0f %+.0f %%",
                 100 * (x->interval[0] / x->seconds - 1),
                 100 * (x->interval[1] / x->seconds - 1));
    fprintf(out, "%3" PRId64 "%c %-11s %-10s %9s %10s %9s %9s %7s %9s %9s",
            i + 1, x->asked ? '*' : ' ', x->candidate.strategy->name,
            layout_names[x->candidate.options.layout],
            quantity(cells[0], x->seconds, "s"), interval,
            quantity(cells[1], x->candidate.estimate.seconds, "s"),
            quantity(cells[2], exposed(x), "s"), overlap,
            quantity(cells[3], (double)x->sent, "B"),
            quantity(cells[4], (double)x->peak, "B"));
    text_classes(out, r, x);
    fprintf(out, "  %s%s%s\n", options, *options && *reason ? "; " : "",
            reason);
}

static int is_simulated(const struct answer *a, const struct strategy *st)
{
    for (int64_t i = 0; i < a->n; i++)
        if (a->contenders[i].candidate.strategy == st)
            return 1;
    return 0;
}

/* The best candidate of each strategy that was not simulated; the list is in
 * order. */
static void text_left_out(FILE *out, const struct plan_report *r)
{
    const struct candidates *all = &r->answer->all;
    const struct strategy *told[64];
    int64_t n = 0;

    for (int64_t i = 0; i < all->n && n < 64; i++) {
        const struct candidate *x = &all->list[i];
        char seconds[CELL], bytes[CELL];
        int64_t k = 0;
        while (k < n && told[k] != x->strategy)
            k++;
        if (k < n || is_simulated(r->answer, x->strategy))
            continue;
        told[n++] = x->strategy;
        fprintf(out, "%-11s not simulated: %s and %s a rank by closed forms\n",
                x->strategy->name, quantity(seconds, x->estimate.seconds, "s"),
                quantity(bytes, x->estimate.memory, "B"));
    }
}

static double placement_gain(const struct answer *a, const struct placed *x)
{
    return 1 - x->predicted / a->placed.rows[0].predicted;
}

static void text_placement(FILE *out, const struct plan_report *r)
{
    const struct answer *a = r->answer;
    const struct placed *x = answer_placement(a);
    char seconds[CELL];

    if (x)
        fprintf(out, "placement: %s, %s, %.1f %% less than in the order of "
                "slots\n\n", x->name, quantity(seconds, x->predicted, "s"),
                100 * placement_gain(a, x));
    else if (a->placed.n)
        fprintf(out, "placement: none of %" PRId64 " is better than the order "
                "of slots\n\n", a->placed.n);
    else if (r->question->machine->graph && !r->question->slots)
        fputs("placement: not tried, the schedules are large; see `spar place`"
              "\n\n", out);
}

static void text_refusals(FILE *out, const struct candidates *all)
{
    for (int64_t i = 0; i < all->n_refusals; i++) {
        const struct refusal *x = &all->refusals[i];
        char count[2 * CELL] = "";
        if (x->count > 1)
            snprintf(count, sizeof count, " (%" PRId64 " times)", x->count);
        fprintf(out, "%-11s does not apply%s: %s\n", x->strategy->name, count,
                x->reason.text);
    }
}

/* "ring zigzag, backward: q", of what is not a contender, too. */
static void candidate_text(const struct candidate *c, char text[LINE])
{
    struct strategy_options o = c->options;
    char options[LINE];

    o.layout = LAYOUT_CONTIGUOUS;
    options_text(c->strategy, &o, options, sizeof options);
    snprintf(text, LINE, "%s %.12s%s%.96s", c->strategy->name,
             layout_names[c->options.layout], *options ? ", " : "", options);
}

static void turn_text(const struct turn *t, const char *unit, char text[LINE])
{
    char value[CELL], choice[LINE];

    if (isnan(t->value)) {
        snprintf(text, LINE, "-");
        return;
    }
    candidate_text(&t->choice, choice);
    snprintf(text, LINE, "%s: %.120s", quantity(value, t->value, unit), choice);
}

/* Counts, or may change the choice. */
static int matters(const struct swing *x)
{
    return fabs(x->elasticity) >= 0.01 || !isnan(x->below.value)
        || !isnan(x->above.value);
}

static void text_sensitivity(FILE *out, const struct plan_report *r)
{
    int told = 0;

    for (int i = 0; i < r->sensitivity->n; i++) {
        const struct swing *x = &r->sensitivity->list[i];
        const char *unit = x->knob->unit;
        char value[CELL], below[LINE], above[LINE];
        if (!matters(x))
            continue;
        if (!told++)
            fprintf(out, "%-17s %10s %9s  %-44s %s\n", "depends on", "now",
                    "by +10 %", "choice changes below", "above");
        turn_text(&x->below, unit, below);
        turn_text(&x->above, unit, above);
        fprintf(out, "%-17s %10s %+7.1f %%  %-44s %s\n", x->knob->name,
                quantity(value, x->value, unit),
                100 * (pow(1.1, x->elasticity) - 1), below, above);
    }
    if (told)
        fputc('\n', out);
}

void plan_text(FILE *out, const struct plan_report *r)
{
    const struct answer *a = r->answer;
    int asked = 0;

    text_job(out, r);
    text_counts(out, r);
    fprintf(out, "\n     %-11s %-10s %9s %10s %9s %9s %7s %9s %9s",
            "strategy", "layout", "predicted", "P10 P90", "estimate",
            "exposed", "overlap", "sent/rank", "peak/rank");
    text_classes(out, r, NULL);
    fputs("  options; why it loses\n", out);
    for (int64_t i = 0; i < a->n; i++) {
        text_row(out, r, i);
        asked |= a->contenders[i].asked;
    }
    if (asked)
        fputs("  * in `strategies`\n", out);
    fputc('\n', out);
    text_placement(out, r);
    text_left_out(out, r);
    text_refusals(out, &a->all);
    fputc('\n', out);
    text_sensitivity(out, r);
}

/* ---- JSON ---------------------------------------------------------------- */

static void json_contender(struct json *j, const struct plan_report *r,
                           int64_t i)
{
    const struct contender *x = &r->answer->contenders[i];
    char hash[17], options[LINE], reason[LINE];

    variant(x, options);
    why(r, i, reason);
    snprintf(hash, sizeof hash, "%016" PRIx64, x->hash);
    json_object(j, NULL);
    json_text(j, "strategy", x->candidate.strategy->name);
    json_text(j, "layout", layout_names[x->candidate.options.layout]);
    json_text(j, "options", options);
    json_text(j, "schedule_hash", hash);
    json_real(j, "predicted_s", x->seconds);
    json_array(j, "interval_s");
    json_real(j, NULL, x->interval[0]);
    json_real(j, NULL, x->interval[1]);
    json_end(j);
    json_real(j, "estimated_s", x->candidate.estimate.seconds);
    json_real(j, "exposed_s", exposed(x));
    json_real(j, "overlap", x->overlap);
    json_int(j, "bytes_sent", x->sent);
    json_int(j, "peak_bytes", x->peak);
    json_object(j, "bytes_by_class");
    for (int k = 0; k < ROUTE_CLASSES; k++)
        if (x->by_class[k] > 0)
            json_real(j, class_names[k], x->by_class[k]);
    json_end(j);
    json_bool(j, "fits", x->fits);
    json_bool(j, "asked", x->asked);
    json_text(j, "loses", i ? reason : NULL);
    json_end(j);
}

static void json_refusals(struct json *j, const struct candidates *all)
{
    json_array(j, "refused");
    for (int64_t i = 0; i < all->n_refusals; i++) {
        json_object(j, NULL);
        json_text(j, "strategy", all->refusals[i].strategy->name);
        json_int(j, "candidates", all->refusals[i].count);
        json_text(j, "reason", all->refusals[i].reason.text);
        json_end(j);
    }
    json_end(j);
}

static void json_placement(struct json *j, const struct answer *a,
                           int64_t ranks)
{
    const struct placed *x = answer_placement(a);

    if (!x)
        return;
    json_object(j, "placement");
    json_text(j, "name", x->name);
    json_real(j, "predicted_s", x->predicted);
    json_real(j, "gain", placement_gain(a, x));
    json_array(j, "slots");
    for (int64_t r = 0; r < ranks; r++)
        json_int(j, NULL, x->map[r]);
    json_end(j);
    json_end(j);
}

static void json_turn(struct json *j, const char *key, const struct turn *t)
{
    char choice[LINE];

    candidate_text(&t->choice, choice);
    json_object(j, key);
    json_real(j, "value", t->value);
    json_text(j, "choice", choice);
    json_end(j);
}

static void json_sensitivity(struct json *j, const struct sensitivity *s)
{
    json_array(j, "sensitivity");
    for (int i = 0; i < s->n; i++) {
        const struct swing *x = &s->list[i];
        json_object(j, NULL);
        json_text(j, "number", x->knob->name);
        json_text(j, "unit", x->knob->unit);
        json_real(j, "value", x->value);
        json_real(j, "elasticity", x->elasticity);
        if (!isnan(x->below.value))
            json_turn(j, "below", &x->below);
        if (!isnan(x->above.value))
            json_turn(j, "above", &x->above);
        json_end(j);
    }
    json_end(j);
}

void plan_json(FILE *out, const struct plan_report *r)
{
    const struct answer *a = r->answer;
    struct json j;

    json_begin(&j, out);
    json_object(&j, NULL);
    json_text(&j, "machine", r->question->machine->name);
    json_int(&j, "ranks", r->question->ranks);
    json_int(&j, "candidates", a->all.n);
    json_text(&j, "network", r->question->network->name);
    json_real(&j, "candidates_s", a->ready_seconds);
    json_real(&j, "candidates_per_s", (double)a->all.n / a->find_seconds);
    json_int(&j, "fit", a->fit);
    json_real(&j, "memory_bytes", r->question->memory > 0
              ? r->question->memory : NAN);
    json_array(&j, "plans");
    for (int64_t i = 0; i < a->n; i++)
        json_contender(&j, r, i);
    json_end(&j);
    json_refusals(&j, &a->all);
    json_placement(&j, a, r->question->ranks);
    json_sensitivity(&j, r->sensitivity);
    json_end(&j);
}
