/* SPDX-License-Identifier: Apache-2.0
 *
 * A measured against a simulated trace, op by op. Every ratio is predicted /
 * measured: 1.1 means that the model is 10 % too slow. */
#include <config.h>

#include "trace/usage.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TOP_OPS = 10, TEXT_RANKS = 16 };

struct joined {
    int32_t rank, op;
    double measured, predicted; /* ns */
};

struct comparison {
    const struct trace *m, *s;  /* measured, simulated */
    int64_t entry;
    int32_t ranks;
    double measured, predicted; /* makespan, ns: median of repeats */
    struct joined *ops;         /* by rank, op; then by |difference| */
    int64_t n;
    int64_t only_measured, only_predicted;  /* ops with a span in one */
    struct usage *m_usage, *s_usage;        /* [ranks] */
};

/* ---- Joining ------------------------------------------------------------- */

static int order_time(const struct op_time *a, const struct op_time *b)
{
    if (a->rank != b->rank)
        return a->rank < b->rank ? -1 : 1;
    return (a->op > b->op) - (a->op < b->op);
}

static void join_ops(struct comparison *c)
{
    struct op_time *a, *b;
    int64_t n = usage_ops(c->m->spans, c->m->n_spans, c->entry, &a);
    int64_t k = usage_ops(c->s->spans, c->s->n_spans, c->entry, &b);

    c->ops = xmalloc((size_t)min64(n, k) * sizeof *c->ops);
    for (int64_t i = 0, j = 0; i < n && j < k;) {
        int order = order_time(&a[i], &b[j]);
        if (order == 0)
            c->ops[c->n++] = (struct joined){ a[i].rank, a[i].op, a[i].ns,
                                              b[j].ns };
        i += order <= 0;
        j += order >= 0;
    }
    c->only_measured = n - c->n;
    c->only_predicted = k - c->n;
    free(a);
    free(b);
}

static int order_difference(const void *x, const void *y)
{
    const struct joined *a = x, *b = y;
    double p = fabs(a->measured - a->predicted);
    double q = fabs(b->measured - b->predicted);

    if (p != q)
        return p > q ? -1 : 1;
    if (a->rank != b->rank)
        return a->rank < b->rank ? -1 : 1;
    return (a->op > b->op) - (a->op < b->op);
}

static void comparison_make(struct comparison *c, const struct trace *m,
                            const struct trace *s, int64_t entry)
{
    *c = (struct comparison){ .m = m, .s = s, .entry = entry };
    c->ranks = m->entries[entry].ranks;
    c->measured = entry_makespan(&m->entries[entry]);
    c->predicted = entry_makespan(&s->entries[entry]);
    c->m_usage = usage_measure(m->spans, m->n_spans, entry, c->ranks);
    c->s_usage = usage_measure(s->spans, s->n_spans, entry, c->ranks);
    join_ops(c);
    if (c->n)
        qsort(c->ops, (size_t)c->n, sizeof *c->ops, order_difference);
}

static void comparison_clear(struct comparison *c)
{
    free(c->ops);
    free(c->m_usage);
    free(c->s_usage);
}

/* Sum over the joined ops of one kind. */
struct kind_sum {
    int64_t count;
    double measured, predicted;
};

static struct kind_sum *sum_kinds(const struct comparison *c)
{
    struct kind_sum *sums = xcalloc((size_t)c->m->n_kinds, sizeof *sums);

    for (int64_t i = 0; i < c->n; i++) {
        const struct joined *j = &c->ops[i];
        const struct op_record *op =
            &c->m->entries[c->entry].ops[j->rank][j->op];
        sums[op->kind].count++;
        sums[op->kind].measured += j->measured;
        sums[op->kind].predicted += j->predicted;
    }
    return sums;
}

/* ---- Text ---------------------------------------------------------------- */

/* "0.97", "-" where nothing was measured. */
static const char *ratio_text(char text[24], double predicted, double measured)
{
    if (measured > 0)
        snprintf(text, 24, "%.2f", predicted / measured);
    else
        snprintf(text, 24, "-");
    return text;
}

static void text_makespan(FILE *out, const struct comparison *c)
{
    const struct trace_entry *x = &c->m->entries[c->entry];
    char a[24], b[24], r[24];

    fprintf(out, "entry %" PRId64 ": %s, %s, %" PRId32 " ranks, schedule "
            "%016" PRIx64 "\n", c->entry, x->strategy, x->layout, c->ranks,
            x->schedule_hash);
    fprintf(out, "  makespan  measured %s, predicted %s, ratio %s\n",
            ns_text(a, c->measured), ns_text(b, c->predicted),
            ratio_text(r, c->predicted, c->measured));
    if (x->spans_ns > 0 && c->measured > 0)
        fprintf(out, "  traced repeat %s, %+.1f %% of the median of %" PRId32
                "\n", ns_text(a, (double)x->spans_ns),
                100 * ((double)x->spans_ns / c->measured - 1), x->repeats);
    if (c->only_measured || c->only_predicted)
        fprintf(out, "  not compared: %" PRId64 " ops with a span only in the "
                "measured trace, %" PRId64 " only in the simulated one\n",
                c->only_measured, c->only_predicted);
}

static void text_kinds(FILE *out, const struct comparison *c)
{
    struct kind_sum *sums = sum_kinds(c);
    char a[24], b[24], r[24];

    fprintf(out, "  %-16s %8s %12s %12s %7s\n", "kind", "ops", "measured",
            "predicted", "ratio");
    for (int64_t k = 0; k < c->m->n_kinds; k++)
        if (sums[k].count)
            fprintf(out, "  %-16s %8" PRId64 " %12s %12s %7s\n",
                    c->m->kinds[k], sums[k].count,
                    ns_text(a, sums[k].measured), ns_text(b, sums[k].predicted),
                    ratio_text(r, sums[k].predicted, sums[k].measured));
    free(sums);
}

static void text_pair(FILE *out, double measured, double predicted)
{
    char a[24], b[24];

    fprintf(out, " %11s %11s", ns_text(a, measured), ns_text(b, predicted));
}

static void text_waits(FILE *out, const struct comparison *c)
{
    int32_t shown = c->ranks < TEXT_RANKS ? c->ranks : TEXT_RANKS;

    fprintf(out, "  compute lane, measured and predicted\n"
            "  %5s %23s %23s %23s %23s  host\n", "rank", "busy",
            "wait for data", "delay", "tail");
    for (int32_t r = 0; r < shown; r++) {
        const struct usage *m = &c->m_usage[r], *s = &c->s_usage[r];
        fprintf(out, "  %5" PRId32, r);
        text_pair(out, m->busy, s->busy);
        text_pair(out, m->wait, s->wait);
        text_pair(out, m->delay, s->delay);
        text_pair(out, m->tail, s->tail);
        fprintf(out, "  %s\n", trace_host(c->m, r));
    }
    if (shown < c->ranks)
        fprintf(out, "  ... and %" PRId32 " ranks more: --format json\n",
                c->ranks - shown);
}

static void text_top(FILE *out, const struct comparison *c)
{
    char a[24], b[24], d[24];

    fprintf(out, "  ops that differ most\n  %5s %7s %12s %12s %12s  name\n",
            "rank", "op", "measured", "predicted", "difference");
    for (int64_t i = 0; i < min64(c->n, TOP_OPS); i++) {
        const struct joined *j = &c->ops[i];
        fprintf(out, "  %5" PRId32 " %7" PRId32 " %12s %12s %12s  %s\n",
                j->rank, j->op, ns_text(a, j->measured),
                ns_text(b, j->predicted),
                ns_text(d, j->predicted - j->measured),
                trace_op_name(c->m, c->entry, j->rank, j->op));
    }
}

static void text_comparison(FILE *out, const struct comparison *c)
{
    text_makespan(out, c);
    if (c->n == 0) {
        fprintf(out, "  no op has a span in both traces\n");
        return;
    }
    text_kinds(out, c);
    text_waits(out, c);
    text_top(out, c);
}

/* ---- Refusing ------------------------------------------------------------ */

static int check_entry(const struct trace_entry *m,
                       const struct trace_entry *s, int64_t i, struct error *e)
{
    if (strcmp(m->strategy, s->strategy))
        return fail(e, "entry %" PRId64 " is %s in the measured trace and %s "
                    "in the simulated one", i, m->strategy, s->strategy);
    if (m->ranks != s->ranks)
        return fail(e, "entry %" PRId64 " (%s): %" PRId32 " ranks measured, "
                    "%" PRId32 " simulated", i, m->strategy, m->ranks,
                    s->ranks);
    if (m->schedule_hash != s->schedule_hash)
        return fail(e, "entry %" PRId64 " (%s): not the same schedule: hash "
                    "%016" PRIx64 " measured, %016" PRIx64 " simulated", i,
                    m->strategy, m->schedule_hash, s->schedule_hash);
    return 0;
}

static int check_pair(const struct trace *m, const struct trace *s,
                      struct error *e)
{
    if (m->simulated && !s->simulated)
        return fail_usage(e, "the first trace is simulated and the second "
                          "measured: name the measured one first");
    if (m->n_entries != s->n_entries)
        return fail(e, "%" PRId64 " entries measured, %" PRId64 " simulated: "
                    "not of one scenario", m->n_entries, s->n_entries);
    for (int64_t i = 0; i < m->n_entries; i++)
        if (check_entry(&m->entries[i], &s->entries[i], i, e))
            return -1;
    return 0;
}

/* ---- JSON ---------------------------------------------------------------- */

static double ratio(double predicted, double measured)
{
    return measured > 0 ? predicted / measured : NAN;
}

static void json_times(struct json *j, double measured, double predicted)
{
    json_ns(j, "measured_s", measured);
    json_ns(j, "predicted_s", predicted);
    json_real(j, "ratio", ratio(predicted, measured));
}

static void json_kinds(struct json *j, const struct comparison *c)
{
    struct kind_sum *sums = sum_kinds(c);

    json_array(j, "kinds");
    for (int64_t k = 0; k < c->m->n_kinds; k++) {
        if (!sums[k].count)
            continue;
        json_object(j, NULL);
        json_text(j, "kind", c->m->kinds[k]);
        json_int(j, "ops", sums[k].count);
        json_times(j, sums[k].measured, sums[k].predicted);
        json_end(j);
    }
    json_end(j);
    free(sums);
}

static void json_waits(struct json *j, const struct comparison *c)
{
    json_array(j, "waits");
    for (int32_t i = 0; i < c->ranks; i++) {
        json_object(j, NULL);
        json_int(j, "rank", i);
        json_text(j, "host", trace_host(c->m, i));
        usage_json(j, "measured", &c->m_usage[i]);
        usage_json(j, "predicted", &c->s_usage[i]);
        json_end(j);
    }
    json_end(j);
}

static void json_top(struct json *j, const struct comparison *c)
{
    json_array(j, "top");
    for (int64_t i = 0; i < min64(c->n, TOP_OPS); i++) {
        const struct joined *op = &c->ops[i];
        json_object(j, NULL);
        json_int(j, "rank", op->rank);
        json_int(j, "op", op->op);
        json_text(j, "name",
                    trace_op_name(c->m, c->entry, op->rank, op->op));
        json_times(j, op->measured, op->predicted);
        json_ns(j, "difference_s", op->predicted - op->measured);
        json_end(j);
    }
    json_end(j);
}

static void json_comparison(struct json *j, const struct comparison *c)
{
    const struct trace_entry *x = &c->m->entries[c->entry];

    json_object(j, NULL);
    json_text(j, "strategy", x->strategy);
    json_text(j, "layout", x->layout);
    json_int(j, "ranks", c->ranks);
    json_hash(j, "schedule_hash", x->schedule_hash);
    json_times(j, c->measured, c->predicted);
    json_ns(j, "traced_s", (double)x->spans_ns);
    json_int(j, "ops", c->n);
    json_int(j, "only_measured", c->only_measured);
    json_int(j, "only_predicted", c->only_predicted);
    json_kinds(j, c);
    json_waits(j, c);
    json_top(j, c);
    json_end(j);
}

/* ---- The command --------------------------------------------------------- */

int trace_compare(const struct trace *measured, const struct trace *simulated,
                  int json, FILE *out, struct error *e)
{
    struct json j;

    if (check_pair(measured, simulated, e))
        return -1;
    json_begin(&j, out);
    if (json)
        json_array(&j, NULL);
    for (int64_t i = 0; i < measured->n_entries; i++) {
        struct comparison c;

        comparison_make(&c, measured, simulated, i);
        if (json)
            json_comparison(&j, &c);
        else
            text_comparison(out, &c);
        comparison_clear(&c);
    }
    if (json)
        json_end(&j);
    return 0;
}
