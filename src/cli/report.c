/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/report.h"

#include "base/json.h"
#include "base/units.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

struct result_row result_unknown(void)
{
    struct result_row r = { .median = NAN, .p95 = NAN, .min = NAN,
                            .predicted = NAN, .overlap = NAN,
                            .interval = { NAN, NAN },
                            .has_lse = 1 };

    for (int i = 0; i < RESULTS; i++)
        r.error[i] = r.gate[i] = NAN;
    return r;
}

int job_has_lse(const struct job *job)
{
    for (int64_t i = 0; i < job_layers(job); i++)
        if (job_attention(job, i) == ATTENTION_SOFTMAX)
            return 1;
    return 0;
}

/* Measured, else predicted. */
static double seconds_of(const struct result_row *r)
{
    return isnan(r->median) ? r->predicted : r->median;
}

/* ---- JSON ---------------------------------------------------------------- */

static void json_results(struct json *j, const char *key, int has_lse,
                         const double values[RESULTS])
{
    json_object(j, key);
    for (int i = 0; i < RESULTS; i++)
        if (i != RESULT_LSE || has_lse)
            json_real(j, result_names[i], values[i]);
    json_end(j);
}

static void json_times(struct json *j, const struct result_row *r)
{
    if (isnan(r->median)) {
        json_null(j, "time_s");
        return;
    }
    json_object(j, "time_s");
    json_real(j, "median", r->median);
    json_real(j, "p95", r->p95);
    json_real(j, "min", r->min);
    json_end(j);
}

static void json_interval(struct json *j, const struct result_row *r)
{
    if (isnan(r->interval[0]))
        return;
    json_array(j, "interval_s");
    json_real(j, NULL, r->interval[0]);
    json_real(j, NULL, r->interval[1]);
    json_end(j);
}

static double lean_seconds(const struct leans *l)
{
    double all = 0;

    for (int64_t i = 0; i < l->n; i++)
        all += l->items[i].seconds;
    return all;
}

static void json_table(struct json *j, const struct surface *s,
                       const struct surface_point *p)
{
    json_text(j, "kernel", s->kernel);
    json_text(j, "block", block_names[s->block]);
    json_text(j, "dtype", dtype_name(s->dtype));
    json_int(j, "heads", s->heads);
    json_int(j, "group", s->group);
    json_int(j, "head_dim", s->head_dim);
    json_int(j, "rows", p->q);
    json_int(j, "keys", p->k);
    json_real(j, "seconds", p->seconds);
}

static void json_leans(struct json *j, const struct leans *l)
{
    json_array(j, "leans_on");
    for (int64_t i = 0; i < l->n; i++) {
        const struct lean *x = &l->items[i];
        json_object(j, NULL);
        json_text(j, "op", op_names[x->op]);
        json_text(j, "from", estimate_names[x->how]);
        if (x->surface)
            json_table(j, x->surface, x->point);
        json_int(j, "ops", x->ops);
        json_real(j, "share", x->seconds / lean_seconds(l));
        json_real(j, "p10", x->low);
        json_real(j, "p90", x->high);
        json_end(j);
    }
    json_end(j);
}

static void json_collectives(struct json *j, const struct result_row *r)
{
    json_object(j, "collectives");
    for (int i = 0; i < COLLECTIVE_HOWS; i++)
        json_int(j, collective_hows[i], r->collectives[i]);
    json_end(j);
}

static void json_links(struct json *j, const struct result_row *r)
{
    json_array(j, "links");
    for (int64_t i = 0; i < r->n_links; i++) {
        const struct trace_link *l = &r->links[i];
        json_object(j, NULL);
        json_text(j, "kind", l->kind);
        json_text(j, "from", l->from);
        json_text(j, "to", l->to);
        json_real(j, "capacity", l->capacity);
        json_real(j, "bytes", l->bytes);
        json_real(j, "busy_s", l->busy);
        json_real(j, "peak", l->peak);
        json_end(j);
    }
    json_end(j);
}

static void json_path(struct json *j, const struct critical_path *p)
{
    json_object(j, "critical_path_s");
    for (int i = 0; i < OP_KINDS; i++)
        if (p->kinds[i])
            json_real(j, op_names[i], (double)p->kinds[i] * 1e-9);
    json_real(j, "gaps", (double)p->gaps * 1e-9);
    json_end(j);
}

static void json_row(struct json *j, const struct result_row *r)
{
    char hash[17];

    snprintf(hash, sizeof hash, "%016" PRIx64, r->schedule_hash);
    json_text(j, "layout", r->layout);
    if (r->transport)
        json_text(j, "transport", r->transport);
    json_int(j, "ranks", r->ranks);
    if (r->network)
        json_text(j, "network", r->network);
    if (r->classes)
        json_int(j, "classes", r->classes);
    json_text(j, "pass", pass_names[r->pass]);
    if (r->steps)
        json_int(j, "steps", r->steps);
    json_text(j, "dtype", dtype_name(r->dtype));
    if (r->schedule_hash)
        json_text(j, "schedule_hash", hash);
    else                        /* not all schedules were built */
        json_null(j, "schedule_hash");
    json_times(j, r);
    json_real(j, "predicted_s", r->predicted);
    json_interval(j, r);
    if (r->leans) {
        json_leans(j, r->leans);
        json_collectives(j, r);
    }
    json_real(j, "tflops", r->flops / seconds_of(r) * 1e-12);
    json_ints(j, "bytes_sent", r->bytes_sent, r->ranks);
    json_ints(j, "bytes_expected", r->bytes_expected, r->ranks);
    json_ints(j, "pairs", r->pairs, r->ranks);
    json_ints(j, "peak_bytes", r->peak_bytes, r->ranks);
    if (r->work_bytes)
        json_ints(j, "work_bytes", r->work_bytes, r->ranks);
    json_results(j, "error", r->has_lse, r->error);
    json_results(j, "gate", r->has_lse, r->gate);
    json_real(j, "overlap", r->overlap);
    if (r->n_links)
        json_links(j, r);
    if (r->path)
        json_path(j, r->path);
    json_bool(j, "passed", r->passed);
}

void results_json(FILE *out, const struct result_row *rows, int64_t n)
{
    struct json j;

    json_begin(&j, out);
    json_array(&j, NULL);
    for (int64_t i = 0; i < n; i++) {
        json_object(&j, NULL);
        json_text(&j, "strategy", rows[i].strategy);
        if (rows[i].reason) {
            json_bool(&j, "applies", 0);
            json_text(&j, "reason", rows[i].reason);
        } else {
            json_row(&j, &rows[i]);
        }
        json_end(&j);
    }
    json_end(&j);
}

/* ---- Text ---------------------------------------------------------------- */

enum { CELL = 24 };

/* `value` by `format`, or "-" if there is none. */
static const char *number(char cell[CELL], const char *format, double value)
{
    if (isnan(value))
        return "-";
    snprintf(cell, CELL, format, value);
    return cell;
}

static const char *quantity(char cell[CELL], const char *unit, double value)
{
    return isnan(value) ? "-" : quantity_print(value, unit, cell, CELL);
}

/* The result that comes nearest to its gate, or passes it; -1: none known. */
static int worst_result(const struct result_row *r)
{
    int worst = -1;

    for (int i = 0; i < RESULTS; i++) {
        if (isnan(r->gate[i]))
            continue;
        if (isnan(r->error[i]))
            return i;
        if (worst < 0
            || r->error[i] / r->gate[i] > r->error[worst] / r->gate[worst])
            worst = i;
    }
    return worst;
}

static const char *error_text(char cell[CELL], const struct result_row *r)
{
    int i = worst_result(r);

    if (i < 0)
        return "-";
    snprintf(cell, CELL, "%s %.1e/%.0e", result_names[i], r->error[i],
             r->gate[i]);
    return cell;
}

double largest(const int64_t *values, int64_t n)
{
    int64_t found = 0;

    if (!values)
        return NAN;
    for (int64_t i = 0; i < n; i++)
        found = max64(found, values[i]);
    return (double)found;
}

static void text_row(FILE *out, const struct result_row *r)
{
    char error[CELL], measured[CELL], predicted[CELL], ratio[CELL];
    char rate[CELL], bytes[CELL], overlap[CELL];

    fprintf(out, "%-11s %-10s %5" PRId64 " %-20s %-6s %9s %9s %6s %8s %9s %7s",
            r->strategy, r->layout, r->ranks, error_text(error, r),
            r->passed ? "passed" : "FAILED",
            quantity(measured, "s", r->median),
            quantity(predicted, "s", r->predicted),
            number(ratio, "%.3f", r->predicted / r->median),
            number(rate, "%.4f", r->flops / seconds_of(r) * 1e-12),
            quantity(bytes, "B", largest(r->bytes_sent, r->ranks)),
            number(overlap, "%.0f %%", r->overlap * 100));
    if (r->asked)
        print_variant(out, r->asked);
    fputc('\n', out);
}

/* What kernels took beside the plan, and what they left to others. */
static void text_device(FILE *out, const struct result_row *r)
{
    char peak[CELL], work[CELL];

    if (!r->work_bytes)
        return;
    fprintf(out, "    memory %s planned, %s to work in",
            quantity(peak, "B", largest(r->peak_bytes, r->ranks)),
            quantity(work, "B", largest(r->work_bytes, r->ranks)));
    if (r->left)
        fprintf(out, "; %" PRId64 " of %" PRId64 " attends by other kernels: "
                "%s", r->left, r->attends, r->why_left);
    fputc('\n', out);
}

/* How sure a prediction is, and the table row that most of it leans on. */
static void text_leans(FILE *out, const struct result_row *r)
{
    char low[CELL], high[CELL];

    if (isnan(r->interval[0]) || !r->leans || !r->leans->n)
        return;
    const struct lean *x = &r->leans->items[0];
    fprintf(out, "    P10-P90 %s to %s; %.0f %% of attention by ",
            quantity(low, "s", r->interval[0]),
            quantity(high, "s", r->interval[1]),
            100 * x->seconds / lean_seconds(r->leans));
    if (x->surface)
        fprintf(out, "%s%s %s %s [%" PRId64 " x %" PRId64 "], %" PRId64
                " heads of %" PRId64 "\n",
                x->how == ESTIMATE_TABLE ? "" : "what follows from ",
                x->surface->kernel, x->surface->op,
                block_names[x->surface->block],
                x->point->q, x->point->k, max64(1, x->surface->heads),
                x->surface->head_dim);
    else
        fputs("the roofline\n", out);
    for (int i = 0; i < COLLECTIVE_HOWS; i++)
        if (r->collectives[i])
            fprintf(out, "    %" PRId64 " collectives by %s\n",
                    r->collectives[i], collective_hows[i]);
}

/* Ranks that were simulated once for all that do the same. */
static void text_classes(FILE *out, const struct result_row *r)
{
    if (r->classes == 0 || r->classes == r->ranks)
        return;
    fprintf(out, "    folded: %" PRId64 " ranks in %" PRId64 " %s of %" PRId64
            ", rank r and r + %" PRId64 " do the same\n", r->ranks, r->classes,
            r->classes == 1 ? "class" : "classes", r->ranks / r->classes,
            r->classes);
}

/* The links of one kind, most to least loaded. */
static void text_kind(FILE *out, const struct result_row *r, int64_t first)
{
    const struct trace_link *most = &r->links[first];
    double bytes = 0;
    int64_t n = 0;
    char all[CELL], top[CELL];

    for (int64_t i = first; i < r->n_links; i++) {
        const struct trace_link *l = &r->links[i];
        if (strcmp(l->kind, r->links[first].kind) != 0)
            continue;
        n++;
        bytes += l->bytes;
        most = l->bytes > most->bytes ? l : most;
    }
    fprintf(out, "    %-8s %5" PRId64 " links, %s each; most %s, %s to %s: "
            "busy %.0f %%, at most %.0f %% used\n", most->kind, n,
            quantity(all, "B", bytes / (double)n),
            quantity(top, "B", most->bytes), most->from, most->to,
            100 * most->busy / r->predicted, 100 * most->peak);
}

static void text_links(FILE *out, const struct result_row *r)
{
    for (int64_t i = 0; i < r->n_links; i++) {
        int64_t k = 0;
        while (strcmp(r->links[k].kind, r->links[i].kind) != 0)
            k++;
        if (k == i)             /* the first of its kind */
            text_kind(out, r, i);
    }
}

static void text_path(FILE *out, const struct critical_path *p)
{
    if (!p || p->total <= 0)
        return;
    fprintf(out, "    critical path:");
    for (int i = 0; i < OP_KINDS; i++)
        if (p->kinds[i] * 200 > p->total)
            fprintf(out, " %s %.0f %%,", op_names[i],
                    100 * (double)p->kinds[i] / (double)p->total);
    fprintf(out, " gaps %.0f %%\n",
            100 * (double)p->gaps / (double)p->total);
}

void results_text(FILE *out, const struct result_row *rows, int64_t n)
{
    fprintf(out, "%-11s %-10s %5s %-20s %-6s %9s %9s %6s %8s %9s %7s\n",
            "strategy", "layout", "ranks", "worst error/gate", "", "measured",
            "predicted", "ratio", "TFLOP/s", "sent/rank", "overlap");
    for (int64_t i = 0; i < n; i++)
        if (rows[i].reason)
            fprintf(out, "%-11s does not apply: %s\n", rows[i].strategy,
                    rows[i].reason);
        else {
            text_row(out, &rows[i]);
            text_device(out, &rows[i]);
            text_classes(out, &rows[i]);
            text_links(out, &rows[i]);
            text_path(out, rows[i].path);
            text_leans(out, &rows[i]);
        }
}
