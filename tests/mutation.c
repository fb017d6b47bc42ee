/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "mutation.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* ---- Taking apart, building ---------------------------------------------- */

static void disassemble(struct program *p, int rank)
{
    struct schedule *s = plan_build(p->plan, rank);
    struct code *c = &p->code[rank];

    c->n_buffers = s->n_buffers;
    c->buffers = xcalloc((size_t)s->n_buffers + 1, sizeof *c->buffers);
    memcpy(c->buffers, s->buffers, (size_t)s->n_buffers * sizeof *c->buffers);
    for (int64_t i = 0; i < s->n_ops; i++) {
        struct item item = { .op = s->ops[i] };
        const struct operand *o = pool_operands_get(p->pool, item.op.operands,
                                                    &item.n);
        assert_true(item.n <= 64);
        memcpy(item.o, o, (size_t)item.n * sizeof *o);
        ARRAY_PUSH(c->items, c->n, c->cap, item);
    }
    schedule_destroy(s);
}

int program_create(struct program *p, struct trial t)
{
    struct error e = { 0 };

    t.ranks = RANKS;
    t.heads = 4;
    t.kv_heads = 2;
    t.head_dim = t.value_dim = 8;
    if (!t.sequences)
        t.lengths[0] = 32;
    *p = (struct program){ .job = trial_job(&t) };
    p->plan = plan_create(&p->job, strategy_find(t.strategy), &t.options,
                          RANKS, &e);
    if (!p->plan) {
        job_clear(&p->job);
        return 0;
    }
    p->pool = plan_pool(p->plan);
    for (int r = 0; r < RANKS; r++)
        disassemble(p, r);
    return 1;
}

void program_destroy(struct program *p)
{
    for (int r = 0; r < RANKS; r++) {
        free(p->code[r].buffers);
        free(p->code[r].items);
    }
    plan_destroy(p->plan);
    job_clear(&p->job);
}

struct schedule *assemble(const struct program *p, int rank)
{
    const struct code *c = &p->code[rank];
    struct schedule *s = schedule_create(p->pool, plan_job(p->plan), RANKS,
                                         rank);

    for (int64_t b = 0; b < c->n_buffers; b++) {
        schedule_buffer(s, pool_label_get(p->pool, c->buffers[b].label),
                        c->buffers[b]);
        s->buffers[b].layer = c->buffers[b].layer;
    }
    for (int64_t i = 0; i < c->n; i++)
        schedule_op(s, c->items[i].op, c->items[i].o, c->items[i].n);
    schedule_freeze(s);
    return s;
}

struct check_report check_program(const struct program *p)
{
    const struct schedule *s[RANKS];
    struct check_report report;

    for (int r = 0; r < RANKS; r++)
        s[r] = assemble(p, r);
    check_schedules(s, RANKS, &report);
    for (int r = 0; r < RANKS; r++)
        schedule_destroy((struct schedule *)s[r]);
    return report;
}

void must_pass(const struct program *p)
{
    struct check_report r = check_program(p);

    if (!r.passed)
        fail_msg("%s", r.finding.text);
    assert_int_equal(r.coverage, 1);
    assert_int_equal(r.deadlock, 0);
    assert_string_equal(r.finding.text, "");
    check_report_clear(&r);
}

void must_fail(const struct program *p, const char *what, int rank,
               int64_t op)
{
    struct check_report r = check_program(p);
    char name[128] = "";

    if (r.passed) {
        struct schedule *s = assemble(p, rank);
        if (op < s->n_ops)
            op_name(s, &s->ops[op], name, sizeof name);
        fail_msg("passed: %s at rank %d op %d %s", what, rank, (int)op, name);
    }
    assert_string_not_equal(r.finding.text, "");
    check_report_clear(&r);
}

void must_find(const struct program *p, const char *word, int deadlock)
{
    struct check_report r = check_program(p);

    assert_int_equal(r.passed, 0);
    if (!strstr(r.finding.text, word))
        fail_msg("no \"%s\" in \"%s\"", word, r.finding.text);
    assert_int_equal(r.deadlock, deadlock);
    check_report_clear(&r);
}

/* ---- Editing ------------------------------------------------------------- */

void remove_item(struct code *c, int64_t i)
{
    memmove(&c->items[i], &c->items[i + 1],
            (size_t)(c->n - i - 1) * sizeof *c->items);
    c->n--;
}

void insert_item(struct code *c, int64_t i, struct item item)
{
    ARRAY_PUSH(c->items, c->n, c->cap, item);
    memmove(&c->items[i + 1], &c->items[i],
            (size_t)(c->n - i - 1) * sizeof *c->items);
    c->items[i] = item;
}

int64_t elements(const struct program *p, int rank, struct tile t)
{
    int64_t n;
    const struct run *r = pool_rows_get(p->pool, t.rows, &n);

    return runs_count(r, n) * t.head_count
        * p->code[rank].buffers[t.buffer].width;
}

int64_t find(const struct code *c, enum op_kind kind, int64_t from)
{
    for (int64_t i = from; i < c->n; i++)
        if (c->items[i].op.kind == kind)
            return i;
    return -1;
}

struct item *at(struct program *p, int rank, enum op_kind kind,
                int64_t which)
{
    struct code *c = &p->code[rank];
    int64_t i = find(c, kind, 0);

    for (; which > 0; which--)
        i = find(c, kind, i + 1);
    assert_true(i >= 0);
    return &c->items[i];
}

struct item *collective_at(struct program *p, int rank, enum collective what,
                           int64_t which)
{
    struct code *c = &p->code[rank];

    for (int64_t i = 0; i < c->n; i++)
        if (c->items[i].op.kind == OP_COLLECTIVE
            && c->items[i].op.collective == what && which-- == 0)
            return &c->items[i];
    fail_msg("no %s", collective_names[what]);
    return NULL;
}
