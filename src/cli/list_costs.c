/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/list.h"

#include "base/json.h"
#include "base/units.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const int64_t few_ranks[] = { 2, 8, 64 };
enum { FEW = sizeof few_ranks / sizeof *few_ranks };

/* What goes over a channel under one label, in sends or in a collective. */
struct move {
    enum channel channel;
    enum collective collective;
    const char *label;
    int64_t messages, bytes;
};

/* Of one pass, at the rank that sends most. */
struct pass_cost {
    int64_t bytes;              /* closed form */
    int64_t n, cap;
    struct move *moves;
};

struct cost {
    const struct strategy *strategy;
    const struct strategy_options *options;
    int64_t ranks;
    struct error reason;        /* text: does not apply */
    int backward;               /* has that pass */
    struct pass_cost pass[2];
    int64_t peak_bytes;
};

/* ---- Jobs --------------------------------------------------------------- */

struct job list_job(const char *family, int64_t tokens)
{
    struct job job = {
        .transformer = { .heads = 32, .kv_heads = 8, .head_dim = 128 },
        .mask = { .kind = MASK_CAUSAL }, .pass = PASS_FORWARD_BACKWARD,
        .dtype = DTYPE_BF16, .wire_grad = DTYPE_FP32,
        .wire_partial = DTYPE_BF16, .decode_page = 16
    };
    struct error e = { 0 };

    if (!strcmp(family, "linear"))
        job.attention = ATTENTION_LINEAR;
    else if (!strcmp(family, "hybrid"))
        job.pattern = xstrdup("LS");
    else if (!strcmp(family, "decode"))
        job.pass = PASS_DECODE;
    else if (!strcmp(family, "star"))
        job.pass = PASS_FORWARD;
    if (!strcmp(family, "star"))
        job.queries = 16;
    if (job_finish(&job, &tokens, 1, &e))
        die("list: %s", e.text);
    return job;
}

/* ---- Counting ----------------------------------------------------------- */

static void count_move(struct pass_cost *c, const struct schedule *s,
                       const struct op *op)
{
    const char *label = pool_label_get(s->pool, op->label);
    int64_t i = 0;

    while (i < c->n && (c->moves[i].channel != op->channel
                        || c->moves[i].collective != op->collective
                        || strcmp(c->moves[i].label, label)))
        i++;
    if (i == c->n) {
        struct move m = { op->channel, op->collective, label, 0, 0 };
        ARRAY_PUSH(c->moves, c->n, c->cap, m);
    }
    c->moves[i].messages++;
    c->moves[i].bytes += op_work(s, op).sent_bytes;
}

/* Closed form of each rank, of a job whose pass is `pass`. */
static int64_t *closed_form(const struct cost *c, const struct job *asked,
                            enum pass pass)
{
    int64_t *bytes = xcalloc((size_t)c->ranks, sizeof *bytes);
    struct job job = *asked;
    struct error e = { 0 };

    job.pass = pass;
    struct plan *p = plan_create(&job, c->strategy, c->options,
                                 (int32_t)c->ranks, &e);
    for (int32_t r = 0; p && r < c->ranks; r++)
        bytes[r] = plan_bytes_expected(p, r);
    plan_destroy(p);
    return bytes;
}

/* Both passes of the rank that sends most in all of them. */
static int32_t cost_bytes(struct cost *c, const struct job *job)
{
    int64_t *all = closed_form(c, job, job->pass);
    int64_t *forward = c->backward ? closed_form(c, job, PASS_FORWARD) : all;
    int32_t busiest = 0;

    for (int32_t r = 1; r < c->ranks; r++)
        if (all[r] > all[busiest])
            busiest = r;
    c->pass[0].bytes = forward[busiest];
    c->pass[1].bytes = all[busiest] - forward[busiest];
    if (forward != all)
        free(forward);
    free(all);
    return busiest;
}

/* The schedule keeps the labels: it and its plan live until `print` is done. */
static void cost_print(FILE *out, struct json *j, struct cost *c,
                       const struct job *job,
                       void (*print)(FILE *out, struct json *j,
                                     const struct cost *c))
{
    struct plan *p = plan_create(job, c->strategy, c->options,
                                 (int32_t)c->ranks, &c->reason);
    struct schedule *s = NULL;

    if (p) {
        c->backward = job_has_backward(job);
        s = plan_build(p, cost_bytes(c, job));
        c->peak_bytes = (int64_t)s->peak_bytes;
    }
    for (int64_t i = 0; s && i < s->n_ops; i++)
        if (s->ops[i].kind == OP_SEND || s->ops[i].kind == OP_COLLECTIVE)
            count_move(&c->pass[s->ops[i].backward], s, &s->ops[i]);
    print(out, j, c);
    for (int i = 0; i < 2; i++)
        free(c->pass[i].moves);
    schedule_destroy(s);
    plan_destroy(p);
}

/* ---- Text --------------------------------------------------------------- */

/* "intra.kv 6x", "m all_reduce_max 1x" */
static void print_moves(FILE *out, const struct pass_cost *c)
{
    for (int64_t i = 0; i < c->n; i++) {
        const struct move *m = &c->moves[i];
        int nested = (m->channel == CHANNEL_INTRA
                      || m->channel == CHANNEL_INTER)
            && !strstr(m->label, channel_names[m->channel]);
        fprintf(out, "%s%s%s%s%s%s %" PRId64 "x", i ? ", " : "",
                nested ? channel_names[m->channel] : "",
                nested && *m->label ? "." : "", m->label,
                m->collective && *m->label ? " " : "",
                m->collective ? collective_names[m->collective] : "",
                m->messages);
    }
    if (!c->n)
        fputc('-', out);
}

static void text_cost(FILE *out, struct json *j, const struct cost *c)
{
    char options[128], bytes[2][24], peak[24];

    (void)j;
    options_text(c->strategy, c->options, options, sizeof options);
    fprintf(out, "%-11s %-22s %5" PRId64 " ", c->strategy->name, options,
            c->ranks);
    if (*c->reason.text) {
        fprintf(out, "does not apply: %s\n", c->reason.text);
        return;
    }
    for (int i = 0; i < 2; i++)
        quantity_print((double)c->pass[i].bytes, "B", bytes[i],
                       sizeof bytes[i]);
    fprintf(out, "%9s %9s %9s  ", bytes[0], c->backward ? bytes[1] : "-",
            quantity_print((double)c->peak_bytes, "B", peak, sizeof peak));
    print_moves(out, &c->pass[0]);
    if (c->backward) {
        fputs("; ", out);
        print_moves(out, &c->pass[1]);
    }
    fputc('\n', out);
}

static void text_job(FILE *out, const struct job *job)
{
    const struct transformer *t = &job->transformer;

    fprintf(out, "%" PRId64 " tokens, %" PRId64 " heads of %" PRId64 ", %"
            PRId64 " KV heads, %s, %s; ranks that send most\n", job->tokens,
            t->heads, t->head_dim, t->kv_heads, dtype_name(job->dtype),
            pass_names[job->pass]);
    fprintf(out, "%-11s %-22s %5s %9s %9s %9s  %s\n", "strategy", "options",
            "ranks", "forward", "backward", "peak", "moves (forward; "
            "backward)");
}

/* ---- JSON --------------------------------------------------------------- */

static void json_pass(struct json *j, const char *key,
                      const struct pass_cost *c)
{
    json_object(j, key);
    json_int(j, "bytes_sent", c->bytes);
    json_array(j, "moves");
    for (int64_t i = 0; i < c->n; i++) {
        const struct move *m = &c->moves[i];
        json_object(j, NULL);
        json_text(j, "what", m->label);
        json_text(j, "channel", channel_names[m->channel]);
        if (m->collective)
            json_text(j, "collective", collective_names[m->collective]);
        json_int(j, "messages", m->messages);
        json_int(j, "bytes_sent", m->bytes);
        json_end(j);
    }
    json_end(j);
    json_end(j);
}

static void json_cost(FILE *out, struct json *j, const struct cost *c)
{
    char options[128];

    (void)out;
    options_text(c->strategy, c->options, options, sizeof options);
    json_object(j, NULL);
    json_text(j, "name", c->strategy->name);
    json_text(j, "family", c->strategy->family);
    json_text(j, "options", options);
    json_int(j, "ranks", c->ranks);
    if (*c->reason.text) {
        json_bool(j, "applies", 0);
        json_text(j, "reason", c->reason.text);
    } else {
        json_pass(j, "forward", &c->pass[0]);
        if (c->backward)
            json_pass(j, "backward", &c->pass[1]);
        json_int(j, "peak_bytes", c->peak_bytes);
    }
    json_end(j);
}

/* ---- All ---------------------------------------------------------------- */

static void list_one(FILE *out, struct json *j, const struct job *job,
                     const struct strategy *st,
                     const struct strategy_options *o, int64_t own_ranks)
{
    for (int i = 0; i <= FEW; i++) {
        struct cost c = { .strategy = st, .options = o,
                          .ranks = i < FEW ? few_ranks[i] : own_ranks };
        int known = 0;
        for (int k = 0; i == FEW && k < FEW; k++)
            known |= few_ranks[k] == own_ranks;
        if (c.ranks && !known)
            cost_print(out, j, &c, job, j ? json_cost : text_cost);
    }
}

/* Strategies in order of the table, a heading where the job changes. */
static void list_defaults(FILE *out, struct json *j)
{
    static const struct strategy_options none;
    const char *family = "";

    for (int i = 0; strategies[i]; i++) {
        struct job job = list_job(strategies[i]->family, 65536);
        if (!j && strcmp(family, strategies[i]->family)) {
            family = strategies[i]->family;
            fprintf(out, "%s%s: ", i ? "\n" : "", family);
            text_job(out, &job);
        }
        list_one(out, j, &job, strategies[i], &none, 0);
        job_clear(&job);
    }
}

void list_costs(FILE *out, const struct scenario *s, int json)
{
    struct json j;

    json_begin(&j, out);
    if (json)
        json_array(&j, NULL);
    else if (s)
        text_job(out, &s->job);
    for (int64_t i = 0; s && i < s->n_strategies; i++)
        list_one(out, json ? &j : NULL, &s->job, s->strategies[i].strategy,
                 &s->strategies[i].options, s->ranks);
    if (!s)
        list_defaults(out, json ? &j : NULL);
    if (json)
        json_end(&j);
}
