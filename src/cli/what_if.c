/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/what_if.h"

#include "base/yaml.h"
#include "cli/planned.h"
#include "topo/knobs.h"
#include "topo/machine_reader.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const int64_t most_points = 1000000;

/* ---- Reading ------------------------------------------------------------- */

static char *assignment(const struct what_axis *x, int64_t i)
{
    return xasprintf("%s=%s", x->key, x->texts[i]);
}

/* Scenarios are made from the tree as it is, assignments included. */
static struct scenario *scenario_with(const struct scenario *s,
                                      const char *const *sets, int n,
                                      struct error *e)
{
    return question_parse(s->path, s->json, strlen(s->json), sets, n, e);
}

/* Each value alone must make a scenario. */
static int check_value(struct scenario *s, const struct what_axis *x,
                       int64_t i, int node, struct error *e)
{
    char *set = assignment(x, i), key[160];
    struct error why = { 0 };
    struct scenario *t = scenario_with(s, (const char *const[]){ set }, 1,
                                       &why);

    snprintf(key, sizeof key, "what_if.%s", x->key);
    const char *text = why.text;
    if (!strncmp(text, "--set ", 6) && strlen(text) > strlen(set) + 8)
        text += 6 + strlen(set) + 2;
    int rc = t ? 0 : yaml_fail(s->yaml, node, key, e, "%s", text);
    scenario_destroy(t);
    free(set);
    return rc;
}

static const char *unit_of(const char *key)
{
    const struct knob *k = strncmp(key, "machine.", 8) ? NULL
                                                       : knob_find(key + 8);

    return k ? k->unit : "1";
}

/* All numbers: an axis of numbers. */
static void read_numbers(struct scenario *s, struct what_axis *x, int list)
{
    double *values = xcalloc((size_t)x->n, sizeof *values);
    int64_t i = 0;

    while (i < x->n && yaml_type(s->yaml, yaml_item(s->yaml, list, i))
           == YAML_SCALAR
           && !machine_read_real(s->yaml, yaml_item(s->yaml, list, i), "",
                                 x->unit, &values[i], NULL))
        i++;
    if (i == x->n)
        x->values = values;
    else
        free(values);
}

static int read_axis(struct scenario *s, struct what_axis *x, int list,
                     struct error *e)
{
    char key[160];

    snprintf(key, sizeof key, "what_if.%s", x->key);
    if (yaml_type(s->yaml, list) != YAML_LIST || !yaml_count(s->yaml, list))
        return yaml_fail(s->yaml, list, key, e, "needs a list of values, as in "
                         "[8, 64]");
    x->n = yaml_count(s->yaml, list);
    x->texts = xcalloc((size_t)x->n, sizeof *x->texts);
    x->unit = unit_of(x->key);
    for (int64_t i = 0; i < x->n; i++) {
        int node = yaml_item(s->yaml, list, i);
        x->texts[i] = yaml_flow(s->yaml, node);
        if (check_value(s, x, i, node, e))
            return -1;
        for (int64_t k = 0; k < i; k++)
            if (!strcmp(x->texts[k], x->texts[i]))
                return yaml_fail(s->yaml, node, key, e, "%s stands there twice",
                                 x->texts[i]);
    }
    read_numbers(s, x, list);
    return 0;
}

/* A key may be written out, or in mappings, machine: {hosts: [2, 4]}. */
static int read_map(struct what_if *w, struct scenario *s, int map,
                    const char *before, struct error *e)
{
    const char *name;

    for (int64_t i = 0; i < yaml_count(s->yaml, map); i++) {
        int value = yaml_pair(s->yaml, map, i, &name), rc;
        char *key = xasprintf("%s%s%s", before, *before ? "." : "", name);
        if (yaml_type(s->yaml, value) == YAML_MAP) {
            rc = read_map(w, s, value, key, e);
            free(key);
        } else if (w->n_axes == SWEEP_AXES) {
            rc = yaml_fail(s->yaml, value, "what_if", e, "more than %d keys",
                           SWEEP_AXES);
            free(key);
        } else {
            struct what_axis *x = &w->axes[w->n_axes++];
            x->key = key;
            rc = read_axis(s, x, value, e);
        }
        if (rc)
            return -1;
    }
    return 0;
}

int what_if_read(struct what_if *w, struct scenario *s, struct error *e)
{
    int map = yaml_get(s->yaml, yaml_root(s->yaml), "what_if");

    *w = (struct what_if){ .points = 1 };
    if (yaml_type(s->yaml, map) != YAML_MAP || !yaml_count(s->yaml, map))
        return yaml_fail(s->yaml, map, "what_if", e, "needs keys with lists of "
                         "values, as in {run.ranks: [8, 64]}");
    if (read_map(w, s, map, "", e))
        return -1;
    for (int i = 0; i < w->n_axes; i++)
        if (w->axes[i].n > most_points / w->points)
            return yaml_fail(s->yaml, map, "what_if", e, "more than %lld "
                             "points", (long long)most_points);
        else
            w->points *= w->axes[i].n;
    return 0;
}

void what_if_clear(struct what_if *w)
{
    for (int i = 0; i < w->n_axes; i++) {
        struct what_axis *x = &w->axes[i];
        for (int64_t k = 0; x->texts && k < x->n; k++)
            free(x->texts[k]);
        free(x->texts);
        free(x->values);
        free(x->key);
    }
    *w = (struct what_if){ 0 };
}

int64_t what_stride(const struct what_if *w, int axis)
{
    int64_t stride = 1;

    for (int i = axis + 1; i < w->n_axes; i++)
        stride *= w->axes[i].n;
    return stride;
}

int64_t what_index(const struct what_if *w, int64_t point, int axis)
{
    return point / what_stride(w, axis) % w->axes[axis].n;
}

/* ---- Points -------------------------------------------------------------- */

/* What neighbouring points have in common. */
struct walk {
    const struct what_if *w;
    struct scenario *s;
    const struct what_question *q;
    struct what_result *r;
    char *machine_sets;         /* that made the machine */
    struct machine *machine;
    int64_t n_ways, ways_cap;
    struct known_ways {
        int64_t ranks;
        struct ways *ways;
    } *ways;                    /* of the machine */
};

static int is_machine(const struct what_axis *x)
{
    return strncmp(x->key, "machine", 7) == 0;
}

static void forget_machine(struct walk *k)
{
    for (int64_t i = 0; i < k->n_ways; i++)
        ways_destroy(k->ways[i].ways);
    k->n_ways = 0;
    machine_destroy(k->machine);
    k->machine = NULL;
    free(k->machine_sets);
    k->machine_sets = NULL;
}

static struct ways *ways_known(struct walk *k, int64_t ranks)
{
    if (!k->machine->graph)
        return NULL;
    for (int64_t i = 0; i < k->n_ways; i++)
        if (k->ways[i].ranks == ranks)
            return k->ways[i].ways;
    struct known_ways x = { ranks, ways_create(k->machine->graph, ranks) };
    ARRAY_PUSH(k->ways, k->n_ways, k->ways_cap, x);
    return x.ways;
}

/* The machine of a point's scenario, made anew where it differs from the last
 * one's. */
static int point_machine(struct walk *k, struct scenario *s,
                         char *const *sets, struct error *e)
{
    char *all = xstrdup("");

    for (int i = 0; i < k->w->n_axes; i++) {
        if (!is_machine(&k->w->axes[i]))
            continue;
        char *more = xasprintf("%s %s", all, sets[i]);
        free(all);
        all = more;
    }
    if (k->machine && !strcmp(all, k->machine_sets)) {
        free(all);
        return 0;
    }
    forget_machine(k);
    k->machine_sets = all;
    k->machine = scenario_machine(s, NULL, e);
    if (k->machine && k->q->kept)
        anchor_apply(k->q->kept, k->machine);
    return k->machine ? 0 : -1;
}

static double limit(const struct walk *k, int64_t ranks)
{
    double all = k->q->memory > 0 ? k->q->memory
        : question_memory(k->machine, ranks);

    return all * (double)(100 - k->q->reserve) / 100;
}

static int index_of(const struct strategy *st)
{
    int i = 0;

    while (strategies[i] != st)
        i++;
    return i;
}

static void take_best(struct what_best *b, const struct candidate *c,
                      double seconds, double memory, double sent)
{
    char options[160];

    options_text(c->strategy, &c->options, options, sizeof options);
    b->strategy = index_of(c->strategy);
    b->seconds = seconds;
    b->memory = memory;
    b->sent = sent;
    free(b->options);
    b->options = xstrdup(options);
}

static int is_fit(const struct candidate *c, const struct question *q)
{
    return !isnan(c->estimate.seconds)
        && (q->memory <= 0 || c->estimate.memory <= q->memory);
}

/* The first of those that closed forms cannot tell from the fastest: simpler
 * strategies come first. */
static const struct candidate *first_best(const struct candidates *all,
                                          const struct question *q)
{
    const double alike = 1.005;
    double least = INFINITY;

    for (int64_t i = 0; i < all->n; i++)
        if (is_fit(&all->list[i], q))
            least = fmin(least, all->list[i].estimate.seconds);
    for (int64_t i = 0; i < all->n; i++)
        if (is_fit(&all->list[i], q)
            && all->list[i].estimate.seconds <= alike * least)
            return &all->list[i];
    return NULL;
}

/* By closed forms; 0: there is none of what applies. */
static int estimate_point(struct walk *k, const struct question *q,
                          int64_t point)
{
    struct what_best *b = &k->r->best[point];
    double *by = &k->r->by_strategy[point * k->r->n_strategies];
    struct forms *f = forms_create(q->job, q->ranks);
    struct candidates all = { 0 };
    int without = 0;

    forms_machine_known(f, q->machine, q->kernel, ways_known(k, q->ranks));
    candidates_find(&all, q->job, q->ranks);
    candidates_estimate(&all, f);
    for (int64_t i = 0; i < all.n; i++) {
        const struct candidate *c = &all.list[i];
        without += isnan(c->estimate.seconds);
        if (is_fit(c, q))
            by[index_of(c->strategy)] = fmin(by[index_of(c->strategy)],
                                             c->estimate.seconds);
    }
    const struct candidate *best = first_best(&all, q);
    if (best)
        take_best(b, best, best->estimate.seconds, best->estimate.memory,
                  best->estimate.sent);
    int done = all.n == 0 || without < all.n;
    k->r->candidates += done ? all.n : 0;
    candidates_clear(&all);
    forms_destroy(f);
    return done;
}

/* By the planner: nothing that fits is an answer, too. */
static int simulate_point(struct walk *k, struct question *q, int64_t point,
                          struct error *e)
{
    double *by = &k->r->by_strategy[point * k->r->n_strategies];
    struct answer a = { 0 };
    int rc = planner_answer(&a, q, max64(k->q->simulate, 1), NULL, 0, e);

    for (int64_t i = a.n - 1; !rc && i >= 0; i--) {
        const struct contender *x = &a.contenders[i];
        if (x->fits)
            by[index_of(x->candidate.strategy)] = x->seconds;
    }
    if (!rc)
        take_best(&k->r->best[point], &a.contenders[0].candidate,
                  a.contenders[0].seconds, (double)a.contenders[0].peak,
                  (double)a.contenders[0].sent);
    k->r->candidates += a.all.n;
    k->r->simulated += a.n;
    rc = a.none ? 0 : rc;
    answer_clear(&a);
    return rc;
}

static int ask(struct walk *k, struct scenario *s, char *const *sets,
               int64_t point, struct error *e)
{
    if (scenario_need_ranks(s, e) || point_machine(k, s, sets, e))
        return -1;
    struct question q = {
        .job = &s->job, .ranks = s->ranks, .machine = k->machine,
        .kernel = s->kernel, .memory = limit(k, s->ranks),
        .network = k->q->network ? k->q->network
                                 : network_default(k->machine)
    };
    if (!k->q->simulate && estimate_point(k, &q, point))
        return 0;
    return simulate_point(k, &q, point, e);
}

/* The assignments of a point; the caller frees each. */
static void point_sets(const struct what_if *w, int64_t point,
                       char *sets[SWEEP_AXES])
{
    for (int i = 0; i < w->n_axes; i++)
        sets[i] = assignment(&w->axes[i], what_index(w, point, i));
}

static void free_sets(const struct what_if *w, char *sets[SWEEP_AXES])
{
    for (int i = 0; i < w->n_axes; i++)
        free(sets[i]);
}

static int run_point(struct walk *k, int64_t point, struct error *e)
{
    char *sets[SWEEP_AXES];

    point_sets(k->w, point, sets);
    struct scenario *s = scenario_with(k->s, (const char *const *)sets,
                                       k->w->n_axes, e);
    int rc = s ? ask(k, s, sets, point, e) : -1;
    scenario_destroy(s);
    free_sets(k->w, sets);
    return rc;
}

/* Points in such an order that the machine changes least: the i-th, with the
 * machine's axes slowest. */
static int64_t point_at(const struct what_if *w, int64_t i)
{
    int64_t point = 0;

    for (int machine = 0; machine < 2; machine++)
        for (int k = w->n_axes - 1; k >= 0; k--)
            if (is_machine(&w->axes[k]) == machine) {
                point += i % w->axes[k].n * what_stride(w, k);
                i /= w->axes[k].n;
            }
    return point;
}

static void result_init(struct what_result *r, int64_t points)
{
    *r = (struct what_result){ .points = points };
    while (strategies[r->n_strategies])
        r->n_strategies++;
    r->best = xcalloc((size_t)points, sizeof *r->best);
    r->by_strategy = xcalloc((size_t)(points * r->n_strategies),
                             sizeof *r->by_strategy);
    for (int64_t i = 0; i < points; i++)
        r->best[i] = (struct what_best){ -1, NAN, NAN, NAN, xstrdup("") };
    for (int64_t i = 0; i < points * r->n_strategies; i++)
        r->by_strategy[i] = NAN;
}

void what_result_clear(struct what_result *r)
{
    for (int64_t i = 0; r->best && i < r->points; i++)
        free(r->best[i].options);
    free(r->best);
    free(r->by_strategy);
    *r = (struct what_result){ 0 };
}

int what_if_run(struct what_result *r, const struct what_if *w,
                struct scenario *s, const struct what_question *q,
                struct error *e)
{
    struct walk k = { .w = w, .s = s, .q = q, .r = r };
    double start = processor_seconds();
    int rc = 0, some = 0;

    result_init(r, w->points);
    for (int64_t i = 0; i < w->points && !rc; i++)
        rc = run_point(&k, point_at(w, i), e);
    for (int64_t i = 0; i < w->points && !rc; i++)
        some |= r->best[i].strategy >= 0;
    if (!rc && !some)
        rc = scenario_fail(s, "what_if", e, "nothing applies, or fits, at any "
                           "of the points");
    forget_machine(&k);
    free(k.ways);
    r->seconds = processor_seconds() - start;
    return rc;
}

/* ---- The longest sequence ------------------------------------------------ */

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
    struct scenario *s = scenario_with(k->s, all, k->w->n_axes + 1, NULL);
    if (s && s->ranks && !point_machine(k, s, sets, NULL)) {
        *room = limit(k, s->ranks);
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

    point_sets(k->w, point, sets);
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
    free_sets(k->w, sets);
    return x;
}

/* The sequence itself and the machine's times do not count. */
int what_needs_memory(const struct what_axis *x)
{
    return strcmp(x->key, "job.sequence")
        && (!is_machine(x) || !strcmp(x->key, "machine.memory")
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
    forget_machine(&k);
    free(k.ways);
    return list;
}
