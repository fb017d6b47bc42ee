/* SPDX-License-Identifier: Apache-2.0
 *
 * How good predictions are: scores of a case, what explains a miss, summaries.
 */
#include <config.h>

#include "cli/validate.h"

#include "topo/estimate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

double case_regret(const struct attention_case *c, int column)
{
    return c->choices[c->chosen[column]].measured
        / c->choices[c->best].measured - 1;
}

double case_error(const struct attention_case *c, int column)
{
    double *error = xcalloc((size_t)c->n, sizeof *error), median;

    for (int64_t i = 0; i < c->n; i++)
        error[i] = fabs(c->choices[i].predicted[column]
                        / c->choices[i].measured - 1);
    median = quantile_of(error, c->n, 0.5);
    free(error);
    return median;
}

double case_margin(const struct attention_case *c)
{
    double second = INFINITY;

    for (int64_t i = 0; i < c->n; i++)
        if (i != c->best)
            second = fmin(second, c->choices[i].measured);
    return second / c->choices[c->best].measured - 1;
}

int case_missed(const struct attention_case *c, int column)
{
    return case_margin(c) > 0.1 && c->chosen[column] != c->best;
}

/* ---- Explanations ------------------------------------------------------- */

/* The same job on the same box by the same code base. */
static int same_job(const struct attention_case *a,
                    const struct attention_case *b)
{
    return !strcmp(a->source, b->source) && !strcmp(a->box, b->box)
        && !strcmp(a->pass, b->pass) && a->sequence == b->sequence
        && a->heads == b->heads && a->kv_heads == b->kv_heads
        && a->head_dim == b->head_dim;
}

/* The code base's other interface has another winner. */
static int is_contradicted(const struct attention_cases *s,
                           const struct attention_case *c)
{
    for (int64_t i = 0; i < s->n; i++) {
        const struct attention_case *o = &s->items[i];
        if (same_job(o, c) && strcmp(o->layout, c->layout) == 0
            && strcmp(o->api, c->api) != 0)
            return o->choices[o->best].head != c->choices[c->best].head;
    }
    return 0;
}

/* With a head group of all ranks nothing is left of the layout of a ring: how
 * far these rows are apart is noise. */
static double measured_noise(const struct attention_cases *s,
                             const struct attention_case *c)
{
    double least = INFINITY, most = 0;

    for (int64_t i = 0; i < s->n; i++) {
        const struct attention_case *o = &s->items[i];
        for (int64_t k = 0; k < o->n && same_job(o, c)
             && strcmp(o->api, c->api) == 0; k++)
            if (o->choices[k].head == o->ranks) {
                least = fmin(least, o->choices[k].measured);
                most = fmax(most, o->choices[k].measured);
            }
    }
    return most > 0 ? most / least - 1 : 0;
}

void case_explain(const struct attention_cases *s,
                  const struct attention_case *c, char *text, size_t size)
{
    double noise = measured_noise(s, c);
    double tie = c->choices[c->best].predicted[CALIBRATED]
        / c->choices[c->chosen[CALIBRATED]].predicted[CALIBRATED] - 1;
    int at = 0;

    text[0] = '\0';
    if (is_contradicted(s, c))
        at += snprintf(text + at, size - (size_t)at, " through its other "
                       "interface the same case has another winner;");
    if (noise > 0.1)
        at += snprintf(text + at, size - (size_t)at, " rows of one "
                       "computation are %.0f %% apart;", 100 * noise);
    if (tie < 0.05)
        at += snprintf(text + at, size - (size_t)at, " predicted %.1f %% "
                       "apart, a tie;", 100 * tie);
    if (box_stands_in(c->box))
        snprintf(text + at, size - (size_t)at, " the links of this box are "
                 "not known, those of L40S stand in for them");
}

/* ---- Summaries ---------------------------------------------------------- */

double collectives_error(const struct collective_scores *s, int column)
{
    int64_t n = 0, at = 0;

    for (int64_t i = 0; i < s->n; i++)
        n += s->items[i].rows;
    double *all = xcalloc((size_t)max64(1, n), sizeof *all);
    for (int64_t i = 0; i < s->n; i++) {
        memcpy(all + at, s->items[i].error[column],
               (size_t)s->items[i].rows * sizeof *all);
        at += s->items[i].rows;
    }
    double median = quantile_of(all, n, 0.5);
    free(all);
    return median;
}

static void count_pairs_of(const struct attention_case *c, int column,
                           struct summary *s)
{
    for (int64_t i = 0; i < c->n; i++)
        for (int64_t k = 0; k < i; k++) {
            const struct choice *a = &c->choices[i], *b = &c->choices[k];
            if (fmax(a->measured, b->measured)
                < 1.1 * fmin(a->measured, b->measured))
                continue;
            s->pairs++;
            s->ordered += (a->measured < b->measured)
                == (a->predicted[column] < b->predicted[column]);
        }
}

struct summary attention_summary(const struct attention_cases *cases,
                                 const char *box, int column)
{
    struct summary s = { .cases = 0 };
    double *regret = xcalloc((size_t)max64(1, cases->n), sizeof *regret);
    double *error = xcalloc((size_t)max64(1, cases->n), sizeof *error);

    for (int64_t i = 0; i < cases->n; i++) {
        const struct attention_case *c = &cases->items[i];
        if (box && strcmp(box, c->box) != 0)
            continue;
        regret[s.cases] = case_regret(c, column);
        error[s.cases++] = case_error(c, column);
        if (case_margin(c) > 0.1) {
            s.clear++;
            s.right += c->chosen[column] == c->best;
        }
        count_pairs_of(c, column, &s);
    }
    s.regret = quantile_of(regret, s.cases, 0.5);
    s.worst = quantile_of(regret, s.cases, 1);
    s.error = quantile_of(error, s.cases, 0.5);
    free(regret);
    free(error);
    return s;
}
