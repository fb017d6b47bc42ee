/* SPDX-License-Identifier: Apache-2.0
 *
 * The checker, from the schedules to the report. */
#include <config.h>

#include "schedule/check_internal.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- Findings ------------------------------------------------------------ */

static int check_failv(struct checker *c, int64_t rank, int64_t op,
                       const char *fmt, va_list ap)
    __attribute__((format(printf, 4, 0)));

static int check_failv(struct checker *c, int64_t rank, int64_t op,
                       const char *fmt, va_list ap)
{
    struct error *e = &c->report->finding;
    char what[800], name[128];

    if (e->text[0])
        return -1;
    vsnprintf(what, sizeof what, fmt, ap);
    if (rank >= 0 && op >= 0) {
        op_name(c->schedules[rank], &c->schedules[rank]->ops[op], name,
                sizeof name);
        return fail(e, "rank %d, op %d %s: %s", (int)rank, (int)op, name,
                    what);
    }
    if (rank >= 0)
        return fail(e, "rank %d: %s", (int)rank, what);
    return fail(e, "%s", what);
}

int check_fail(struct checker *c, int64_t rank, int64_t op, const char *fmt,
               ...)
{
    va_list ap;

    va_start(ap, fmt);
    check_failv(c, rank, op, fmt, ap);
    va_end(ap);
    return -1;
}

int task_fail(const struct task *t, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    check_failv(t->c, t->rank, t->number, fmt, ap);
    va_end(ap);
    return -1;
}

struct task task_at(struct checker *c, int64_t rank, int64_t op)
{
    struct task t = { .c = c, .rank = rank, .number = op,
                      .s = c->schedules[rank] };

    t.op = &t.s->ops[op];
    t.o = pool_operands_get(t.s->pool, t.op->operands, &t.n);
    return t;
}

/* ---- The checker --------------------------------------------------------- */

static void checker_create(struct checker *c)
{
    c->base = xcalloc((size_t)c->ranks + 1, sizeof *c->base);
    c->contents = xcalloc((size_t)c->ranks, sizeof *c->contents);
    for (int64_t r = 0; r < c->ranks; r++) {
        c->base[r + 1] = c->base[r] + c->schedules[r]->n_ops;
        c->contents[r] = xcalloc((size_t)c->schedules[r]->n_buffers,
                                 sizeof **c->contents);
    }
    int64_t ops = c->base[c->ranks];
    c->events.of = xmalloc((size_t)ops * sizeof *c->events.of);
    for (int64_t i = 0; i < ops; i++)
        c->events.of[i] = -1;
    c->tokens = pool_create();
    c->good_group = -1;
    history_create(&c->history);
}

static void checker_clear(struct checker *c)
{
    for (int64_t r = 0; r < c->ranks; r++) {
        for (int64_t b = 0; b < c->schedules[r]->n_buffers; b++)
            contents_clear(&c->contents[r][b]);
        free(c->contents[r]);
    }
    for (size_t i = 0; i < sizeof c->scratch / sizeof *c->scratch; i++)
        free(c->scratch[i].list);
    free(c->contents);
    free(c->base);
    free(c->events.entries);
    free(c->events.first);
    free(c->events.of);
    pool_destroy(c->tokens);
    history_clear(&c->history);
    prover_clear(&c->prover);
}

static int fill_inputs(struct checker *c)
{
    for (int64_t r = 0; r < c->ranks; r++) {
        const struct schedule *s = c->schedules[r];
        for (int32_t b = 0; b < s->n_buffers; b++) {
            const struct buffer *x = &s->buffers[b];
            if (x->role != ROLE_INPUT)
                continue;
            spans_of_map(s, x, &c->scratch[0]);
            contents_write(s, c->contents[r], tile_whole(s, b),
                           &c->scratch[0]);
        }
    }
    return 0;
}

/* What the ops say, once their shapes are right. */
static void add_up(struct check_report *report,
                   const struct schedule *const *schedules)
{
    for (int64_t r = 0; r < report->ranks; r++) {
        report->bytes_sent[r] = schedule_sent_bytes(schedules[r]);
        report->pairs[r] = schedule_pairs(schedules[r]);
    }
}

/* Outputs may be right and an attend wasted. */
static int check_pairs(struct checker *c)
{
    int64_t pairs = 0;

    for (int64_t r = 0; r < c->ranks; r++)
        pairs += c->report->pairs[r];
    if (pairs == c->report->expected_pairs)
        return 0;
    return check_fail(c, -1, -1, "forward attends %lld pairs where %lld are "
                      "visible", (long long)pairs,
                      (long long)c->report->expected_pairs);
}

static int check_all(struct checker *c)
{
    if (check_shapes(c) || check_order(c))
        return -1;
    add_up(c->report, c->schedules);
    if (fill_inputs(c) || check_run(c))
        return -1;
    c->report->reuse_stalls = check_stalls(c);
    c->report->coverage = check_outputs(c) == 0;
    return c->report->coverage ? check_pairs(c) : -1;
}

void check_schedules(const struct schedule *const *schedules, int64_t ranks,
                     struct check_report *report)
{
    struct checker c = { .schedules = schedules, .ranks = ranks,
                         .report = report };

    *report = (struct check_report){ .ranks = ranks };
    report->bytes_sent = xcalloc((size_t)ranks, sizeof(int64_t));
    report->pairs = xcalloc((size_t)ranks, sizeof(int64_t));
    report->peak_bytes = xcalloc((size_t)ranks, sizeof(int64_t));
    c.job = schedules[0]->job;
    c.pool = schedules[0]->pool;
    report->expected_pairs = job_pairs(c.job) * c.job->transformer.heads
        * job_layers(c.job);
    for (int64_t r = 0; r < ranks; r++) {
        report->peak_bytes[r] = (int64_t)schedules[r]->peak_bytes;
        report->ops += schedules[r]->n_ops;
    }
    checker_create(&c);
    report->passed = check_all(&c) == 0;
    checker_clear(&c);
}

void check_report_clear(struct check_report *report)
{
    free(report->bytes_sent);
    free(report->pairs);
    free(report->peak_bytes);
    *report = (struct check_report){ 0 };
}

int64_t check_reuse(const struct schedule *const *schedules, int64_t ranks)
{
    struct check_report report = { .ranks = ranks };
    struct checker c = { .schedules = schedules, .ranks = ranks,
                         .report = &report, .timing_only = 1,
                         .job = schedules[0]->job,
                         .pool = schedules[0]->pool };

    checker_create(&c);
    int64_t stalls = check_run(&c) ? -1 : check_stalls(&c);
    checker_clear(&c);
    return stalls;
}
