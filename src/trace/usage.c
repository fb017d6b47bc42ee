/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "base/units.h"
#include "trace/usage.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ORDER(a, b, field)                                                    \
    do {                                                                      \
        if ((a)->field != (b)->field)                                         \
            return (a)->field < (b)->field ? -1 : 1;                          \
    } while (0)

static int order_start(const void *x, const void *y)
{
    const struct span *a = x, *b = y;

    ORDER(a, b, entry);
    ORDER(a, b, repeat);
    ORDER(a, b, rank);
    ORDER(a, b, start);
    ORDER(a, b, op);
    ORDER(a, b, end);
    return 0;
}

void spans_sort(struct span *spans, int64_t n)
{
    for (int64_t i = 1; i < n; i++)
        if (order_start(&spans[i - 1], &spans[i]) > 0) {
            qsort(spans, (size_t)n, sizeof *spans, order_start);
            return;
        }
}

static int order_double(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;

    return (a > b) - (a < b);
}

/* Sorts x. 0 of none. */
static double median(double *x, int64_t n)
{
    if (n == 0)
        return 0;
    qsort(x, (size_t)n, sizeof *x, order_double);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

double entry_makespan(const struct trace_entry *x)
{
    double *ns = xmalloc((size_t)x->repeats * sizeof *ns);

    for (int32_t i = 0; i < x->repeats; i++)
        ns[i] = (double)x->repeat_ns[i];
    double m = median(ns, x->repeats);
    free(ns);
    return m;
}

/* End of the run of spans from `i` on that share entry and repeat, and (with
 * `rank`) the rank. */
static int64_t run_end(const struct span *s, int64_t n, int64_t i, int rank)
{
    int64_t k = i;

    while (k < n && s[k].entry == s[i].entry && s[k].repeat == s[i].repeat &&
           (!rank || s[k].rank == s[i].rank))
        k++;
    return k;
}

int64_t usage_slice_end(const struct span *s, int64_t n, int64_t i)
{
    return run_end(s, n, i, 1);
}

/* Spans of the entry: first and one past the last. */
static void entry_range(const struct span *s, int64_t n, int64_t entry,
                        int64_t *first, int64_t *last)
{
    int64_t i = 0;

    while (i < n && s[i].entry < entry)
        i++;
    *first = i;
    while (i < n && s[i].entry == entry)
        i++;
    *last = i;
}

/* ---- Usage --------------------------------------------------------------- */

struct usage usage_slice(const struct span *s, int64_t n, int64_t end)
{
    struct usage u = { .last_op = -1, .spans = n };
    int64_t previous = 0, latest = INT64_MIN;

    for (int64_t i = 0; i < n; i++) {
        if (s[i].end >= latest) {
            latest = s[i].end;
            u.last_op = s[i].op;
        }
        if (s[i].lane != 0)
            continue;
        if (s[i].start > previous) {
            int64_t ready = min64(max64(s[i].ready, previous), s[i].start);
            u.wait += (double)(ready - previous);
            u.delay += (double)(s[i].start - ready);
            previous = s[i].start;
        }
        if (s[i].end > previous) {
            u.busy += (double)(s[i].end - previous);
            previous = s[i].end;
        }
    }
    u.tail = (double)max64(end - previous, 0);
    return u;
}

/* All ranks in one repeat: the run of spans s[0 .. n). */
static void measure_repeat(const struct span *s, int64_t n, int32_t ranks,
                           struct usage *out)
{
    int64_t end = 0;

    for (int64_t i = 0; i < n; i++)
        end = max64(end, s[i].end);
    for (int32_t r = 0; r < ranks; r++)
        out[r] = (struct usage){ .tail = (double)end, .last_op = -1 };
    for (int64_t i = 0, k; i < n; i = k) {
        k = run_end(s, n, i, 1);
        if (s[i].rank >= 0 && s[i].rank < ranks)
            out[s[i].rank] = usage_slice(s + i, k - i, end);
    }
}

/* Median over repeats of one field, at `offset` in struct usage. */
static double median_field(const struct usage *all, int64_t repeats,
                           int32_t ranks, int32_t rank, size_t offset,
                           double *work)
{
    for (int64_t k = 0; k < repeats; k++)
        memcpy(&work[k], (const char *)&all[k * ranks + rank] + offset,
               sizeof work[k]);
    return median(work, repeats);
}

struct usage *usage_measure(const struct span *spans, int64_t n, int64_t entry,
                            int32_t ranks)
{
    struct usage *all = NULL, *out = xcalloc((size_t)ranks, sizeof *out);
    int64_t first, last, repeats = 0, cap = 0;

    entry_range(spans, n, entry, &first, &last);
    for (int64_t i = first, k; i < last; i = k, repeats++) {
        k = run_end(spans, last, i, 0);
        all = array_grow(all, (repeats + 1) * ranks, &cap, sizeof *all);
        measure_repeat(spans + i, k - i, ranks, all + repeats * ranks);
    }
    double *work = xmalloc((size_t)repeats * sizeof *work);
    for (int32_t r = 0; r < ranks; r++) {
        struct usage *u = &out[r];
#define MEDIAN(f)                                                             \
    median_field(all, repeats, ranks, r, offsetof(struct usage, f), work)
        *u = (struct usage){ MEDIAN(busy), MEDIAN(wait), MEDIAN(delay),
                             MEDIAN(tail), 0, -1 };
#undef MEDIAN
        for (int64_t k = 0; k < repeats; k++) {
            u->spans += all[k * ranks + r].spans;
            u->last_op = all[k * ranks + r].last_op;
        }
    }
    free(work);
    free(all);
    return out;
}

/* ---- Ops ----------------------------------------------------------------- */

static int order_op(const void *x, const void *y)
{
    const struct span *a = x, *b = y;

    ORDER(a, b, rank);
    ORDER(a, b, op);
    ORDER(a, b, repeat);
    ORDER(a, b, start);
    return 0;
}

/* Median over repeats of the union of the spans of one op. */
static double op_median(const struct span *s, int64_t n)
{
    double *x = xcalloc((size_t)n, sizeof *x);
    int64_t repeats = 0;

    for (int64_t i = 0; i < n;) {
        int32_t repeat = s[i].repeat;
        int64_t covered = INT64_MIN;
        for (; i < n && s[i].repeat == repeat; i++) {
            int64_t from = max64(s[i].start, covered);
            if (s[i].end > from)
                x[repeats] += (double)(s[i].end - from);
            covered = max64(covered, s[i].end);
        }
        repeats++;
    }
    double m = median(x, repeats);
    free(x);
    return m;
}

int64_t usage_ops(const struct span *spans, int64_t n, int64_t entry,
                  struct op_time **ops)
{
    int64_t first, last, count = 0, cap = 0;

    *ops = NULL;
    entry_range(spans, n, entry, &first, &last);
    if (first == last)
        return 0;
    size_t bytes = (size_t)(last - first) * sizeof *spans;
    struct span *s = xmalloc(bytes);
    memcpy(s, spans + first, bytes);
    n = last - first;
    qsort(s, (size_t)n, sizeof *s, order_op);
    for (int64_t i = 0, k; i < n; i = k) {
        for (k = i; k < n && s[k].rank == s[i].rank && s[k].op == s[i].op;)
            k++;
        struct op_time t = { s[i].rank, s[i].op, op_median(s + i, k - i) };
        ARRAY_PUSH(*ops, count, cap, t);
    }
    free(s);
    return count;
}

/* ---- Words --------------------------------------------------------------- */

const char *ns_text(char text[24], double ns)
{
    return quantity_print(ns * 1e-9, "s", text, 24);
}

const char *trace_op_name(const struct trace *t, int64_t entry, int32_t rank,
                          int32_t op)
{
    const struct trace_entry *x = &t->entries[entry];

    if (op < 0 || op >= x->n_ops[rank])
        return "?";
    return t->names[x->ops[rank][op].name];
}

const char *trace_host(const struct trace *t, int32_t rank)
{
    return rank < t->ranks && t->hosts ? t->hosts[rank] : "?";
}

const char *trace_slot(const struct trace *t, int32_t rank)
{
    return rank < t->ranks && t->slots ? t->slots[rank] : "";
}

const char *trace_place(const struct trace *t, int32_t rank)
{
    return rank < t->ranks && t->job && t->job->places ? t->job->places[rank]
                                                       : "";
}

void json_ns(struct json *j, const char *key, double ns)
{
    json_real(j, key, ns / 1e9);
}

void json_hash(struct json *j, const char *key, uint64_t hash)
{
    char text[24];

    snprintf(text, sizeof text, "%016" PRIx64, hash);
    json_text(j, key, text);
}

void usage_json(struct json *j, const char *key, const struct usage *u)
{
    json_object(j, key);
    json_int(j, "spans", u->spans);
    json_ns(j, "busy_s", u->busy);
    json_ns(j, "wait_s", u->wait);
    json_ns(j, "delay_s", u->delay);
    json_ns(j, "tail_s", u->tail);
    json_end(j);
}
