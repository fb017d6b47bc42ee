/* SPDX-License-Identifier: Apache-2.0
 *
 * The longest sequence that fits, at the points of a what-if. */
#include <config.h>

#include "cli/what_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* By its form, else what a schedule of the first rank needs. */
static double memory_of(const struct job *job, int64_t ranks,
                        const struct candidate *c)
{
    struct plan *p;

    if (!isnan(c->estimate.memory))
        return c->estimate.memory;
    p = plan_create(job, c->strategy, &c->options, (int32_t)ranks, NULL);
    struct schedule *s = plan_build(p, 0);
    double bytes = (double)s->peak_bytes;
    schedule_destroy(s);
    plan_destroy(p);
    return bytes;
}

/* Bytes of the candidate that needs least. */
static double least_memory(const struct job *job, int64_t ranks,
                           const struct machine *m, const char *kernel,
                           const struct strategy **who)
{
    struct forms *f = forms_create(job, ranks);
    struct candidates all = { 0 };
    double least = INFINITY;

    forms_machine(f, m, kernel);
    candidates_find(&all, job, ranks);
    candidates_estimate(&all, f);
    for (int64_t i = 0; i < all.n; i++) {
        double bytes = memory_of(job, ranks, &all.list[i]);
        if (bytes < least) {
            least = bytes;
            *who = all.list[i].strategy;
        }
    }
    candidates_clear(&all);
    forms_destroy(f);
    return least;
}

/* Bytes that `tokens` need at a point, and *room that there is; INFINITY:
 * nothing applies. */
static double memory_at(struct walk *k, char *const *sets, int64_t tokens,
                        double *room, const struct strategy **who)
{
    const char *all[SWEEP_AXES + 1];
    char *last = xasprintf("job.sequence=%lld", (long long)tokens);
    double bytes = INFINITY;

    for (int i = 0; i < k->w->n_axes; i++)
        all[i] = sets[i];
    all[k->w->n_axes] = last;
    struct scenario *s = what_with(k->s, all, k->w->n_axes + 1, NULL);
    if (s && s->ranks && !walk_machine(k, s, sets, NULL)) {
        *room = walk_limit(k, s->ranks);
        bytes = least_memory(&s->job, s->ranks, k->machine, s->kernel, who);
    }
    scenario_destroy(s);
    free(last);
    return bytes;
}

/* Memory goes with tokens: in proportion to what the last guess needed, to the
 * Ki token. */
static struct what_longest longest_at(struct walk *k, int64_t point)
{
    enum { TRIES = 6, STEP = 1024 };
    struct what_longest x = { .point = point };
    const struct strategy *who = NULL;
    int64_t tokens = 1 << 20;
    char *sets[SWEEP_AXES];
    double room = 0;

    walk_sets(k->w, point, sets);
    for (int i = 0; i < TRIES; i++) {
        double bytes = memory_at(k, sets, tokens, &room, &who);
        x.known = room > 0;
        if (!isfinite(bytes) || !x.known)
            break;
        if (bytes <= room && tokens > x.tokens) {
            x.tokens = tokens;
            x.strategy = who;
        }
        int64_t next = (int64_t)((double)tokens * room / bytes) / STEP * STEP;
        if (next == tokens || next < STEP)
            break;
        tokens = next;
    }
    walk_sets_free(k->w, sets);
    return x;
}

/* The sequence itself and the machine's times do not count. */
int what_needs_memory(const struct what_axis *x)
{
    return strcmp(x->key, "job.sequence")
        && (!what_is_machine(x) || !strcmp(x->key, "machine.memory")
            || !strcmp(x->key, "machine.name") || !strcmp(x->key, "machine"));
}

struct what_longest *what_if_longest(const struct what_if *w,
                                     struct scenario *s,
                                     const struct what_question *q, int64_t *n)
{
    struct walk k = { .w = w, .s = s, .q = q };
    struct what_longest *list = NULL;
    int64_t cap = 0;

    *n = 0;
    for (int64_t i = 0; i < w->points; i++) {
        int first = 1;
        for (int a = 0; a < w->n_axes; a++)
            first &= what_needs_memory(&w->axes[a]) || what_index(w, i, a) == 0;
        if (!first)
            continue;
        struct what_longest x = longest_at(&k, i);
        if (x.known)
            ARRAY_PUSH(list, *n, cap, x);
    }
    walk_clear(&k);
    return list;
}
