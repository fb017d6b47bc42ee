/* SPDX-License-Identifier: Apache-2.0
 *
 * What a trace holds, rank by rank; of a run that was killed, what its spool
 * holds and where each rank was. */
#include <config.h>

#include "trace/usage.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- A trace file -------------------------------------------------------- */

static void text_entry(FILE *out, const struct trace *t, int64_t entry)
{
    const struct trace_entry *x = &t->entries[entry];
    struct usage *usage = usage_measure(t->spans, t->n_spans, entry, x->ranks);
    char a[24], b[24], c[24], d[24];

    fprintf(out, "entry %" PRId64 ": %s, %s, %" PRId32 " ranks, schedule "
            "%016" PRIx64 ", median %s of %" PRId32 ", traced %s\n", entry,
            x->strategy, x->layout, x->ranks, x->schedule_hash,
            ns_text(a, entry_makespan(x)), x->repeats,
            ns_text(b, (double)x->spans_ns));
    fprintf(out, "  %5s %7s %8s %11s %13s %11s %11s  %-16s last op\n", "rank",
            "ops", "spans", "busy", "wait for data", "delay", "tail", "host");
    for (int32_t r = 0; r < x->ranks; r++) {
        const struct usage *u = &usage[r];
        fprintf(out, "  %5" PRId32 " %7" PRId64 " %8" PRId64
                " %11s %13s %11s %11s  %-16s %s\n", r, x->n_ops[r], u->spans,
                ns_text(a, u->busy), ns_text(b, u->wait), ns_text(c, u->delay),
                ns_text(d, u->tail), trace_host(t, r),
                trace_op_name(t, entry, r, u->last_op));
    }
    free(usage);
}

static void text_trace(FILE *out, const char *path, const struct trace *t)
{
    fprintf(out, "%s: %s, %" PRId32 " ranks, %" PRId64 " spans\n", path,
            t->simulated ? "simulated" : "measured", t->ranks, t->n_spans);
    if (t->job)
        fprintf(out, "  job %s: nodes %s, tasks %s\n", t->job->id,
                t->job->nodes, t->job->tasks);
    for (int32_t r = 0; t->slots && r < t->ranks; r++) {
        const char *place = trace_place(t, r);
        fprintf(out, "  rank %" PRId32 " on %s of %s%s%s\n", r, t->slots[r],
                trace_host(t, r), *place ? ", " : "", place);
    }
    for (int64_t i = 0; i < t->n_entries; i++)
        text_entry(out, t, i);
}

static void json_entry(struct json *j, const struct trace *t, int64_t entry)
{
    const struct trace_entry *x = &t->entries[entry];
    struct usage *usage = usage_measure(t->spans, t->n_spans, entry, x->ranks);

    json_object(j, NULL);
    json_text(j, "strategy", x->strategy);
    json_text(j, "layout", x->layout);
    json_hash(j, "schedule_hash", x->schedule_hash);
    json_ns(j, "median_s", entry_makespan(x));
    json_int(j, "repeats", x->repeats);
    json_ns(j, "traced_s", (double)x->spans_ns);
    json_array(j, "ranks");
    for (int32_t r = 0; r < x->ranks; r++) {
        json_object(j, NULL);
        json_int(j, "rank", r);
        json_text(j, "host", trace_host(t, r));
        json_text(j, "slot", trace_slot(t, r));
        if (t->job)
            json_text(j, "place", trace_place(t, r));
        json_int(j, "ops", x->n_ops[r]);
        usage_json(j, "usage", &usage[r]);
        json_text(j, "last_op",
                    trace_op_name(t, entry, r, usage[r].last_op));
        json_end(j);
    }
    json_end(j);
    json_end(j);
    free(usage);
}

static void json_job(struct json *j, const struct trace_job *job)
{
    json_object(j, "job");
    json_text(j, "id", job->id);
    json_text(j, "nodes", job->nodes);
    json_text(j, "tasks", job->tasks);
    json_text(j, "topology", job->topology);
    json_end(j);
}

static void json_trace(FILE *out, const struct trace *t)
{
    struct json j;

    json_begin(&j, out);
    json_object(&j, NULL);
    json_text(&j, "time_base", t->simulated ? "simulated" : "measured");
    json_int(&j, "ranks", t->ranks);
    json_int(&j, "spans", t->n_spans);
    if (t->job)
        json_job(&j, t->job);
    json_array(&j, "entries");
    for (int64_t i = 0; i < t->n_entries; i++)
        json_entry(&j, t, i);
    json_end(&j);
    json_end(&j);
}

static int summary_file(const char *path, int json, FILE *out, struct error *e)
{
    struct trace *t = trace_read(path, e);

    if (!t)
        return -1;
    if (json)
        json_trace(out, t);
    else
        text_trace(out, path, t);
    trace_destroy(t);
    return 0;
}

/* ---- A spool ------------------------------------------------------------- */

/* A rank's spool: its state, and its spans summed over entries and repeats. */
struct part {
    struct spool_state state;
    struct usage usage;         /* sums; tail 0: unknown */
    const struct span *last;    /* that ended last in the last repeat */
};

static const char *state_word(const struct spool_state *s)
{
    return s->finished ? "finished" : s->running ? "running" : "killed";
}

/* Spans s[0 .. n) of one entry, repeat and rank. */
static void add_slice(struct part *p, const struct span *s, int64_t n)
{
    struct usage u = usage_slice(s, n, 0);

    p->usage.busy += u.busy;
    p->usage.wait += u.wait;
    p->usage.delay += u.delay;
    p->usage.spans += n;
    p->last = s;
    for (int64_t i = 0; i < n; i++)
        if (s[i].end >= p->last->end)
            p->last = &s[i];
}

static void add_spans(struct part *parts, int64_t n_parts,
                      const struct span *spans, int64_t n)
{
    for (int64_t i = 0, k; i < n; i = k) {
        k = usage_slice_end(spans, n, i);
        for (int64_t p = 0; p < n_parts; p++)
            if (parts[p].state.rank == spans[i].rank)
                add_slice(&parts[p], spans + i, k - i);
    }
}

static void text_under_way(FILE *out, const struct spool_state *s)
{
    if (s->finished)
        return;
    fprintf(out, "rank %" PRId32 " on %s %s ", s->rank,
            s->host[0] ? s->host : "?",
            s->running ? "runs, now" : "was killed");
    if (s->op >= 0)
        fprintf(out, "in op %" PRId32 ", %s (entry %" PRId32 ", repeat %"
                PRId32 ")\n", s->op, s->name, s->entry, s->repeat);
    else if (s->name[0])
        fprintf(out, "between ops: %s\n", s->name);
    else
        fprintf(out, "between ops\n");
}

static void text_part(FILE *out, const struct part *p)
{
    const struct usage *u = &p->usage;
    char a[24], b[24], c[24], last[64] = "none";

    if (p->last)
        snprintf(last, sizeof last, "op %" PRId32 " of entry %" PRId32
                 ", repeat %" PRId32, p->last->op, p->last->entry,
                 p->last->repeat);
    fprintf(out, "  %5" PRId32 " %8s %8" PRId64 " %11s %13s %11s  %-16s %s\n",
            p->state.rank, state_word(&p->state), u->spans,
            ns_text(a, u->busy), ns_text(b, u->wait), ns_text(c, u->delay),
            p->state.host[0] ? p->state.host : "?", last);
}

static void text_parts(FILE *out, const char *path, const struct part *parts,
                       int64_t n)
{
    int64_t finished = 0, running = 0;
    int32_t ranks = 0;

    for (int64_t i = 0; i < n; i++) {
        finished += parts[i].state.finished != 0;
        running += !parts[i].state.finished && parts[i].state.running;
        if (parts[i].state.ranks > ranks)
            ranks = parts[i].state.ranks;
    }
    fprintf(out, "%s: what %" PRId64 " of %" PRId32 " ranks spooled: %" PRId64
            " finished, %" PRId64 " running, %" PRId64 " killed\n", path, n,
            ranks, finished, running, n - finished - running);
    for (int64_t i = 0; i < n; i++)
        text_under_way(out, &parts[i].state);
    fprintf(out, "  %5s %8s %8s %11s %13s %11s  %-16s last whole op\n", "rank",
            "state", "spans", "busy", "wait for data", "delay", "host");
    for (int64_t i = 0; i < n; i++)
        text_part(out, &parts[i]);
}

static void json_op(struct json *j, const char *key, int32_t entry,
                    int32_t repeat, int32_t op, const char *name)
{
    json_object(j, key);
    json_int(j, "entry", entry);
    json_int(j, "repeat", repeat);
    json_int(j, "op", op);
    if (name)
        json_text(j, "name", name);
    json_end(j);
}

static void json_part(struct json *j, const struct part *p)
{
    const struct spool_state *s = &p->state;

    json_object(j, NULL);
    json_int(j, "rank", s->rank);
    json_text(j, "host", s->host);
    json_text(j, "state", state_word(s));
    usage_json(j, "usage", &p->usage);
    if (p->last)
        json_op(j, "last_op", p->last->entry, p->last->repeat, p->last->op,
                NULL);
    if (!s->finished && s->op >= 0)
        json_op(j, "under_way", s->entry, s->repeat, s->op, s->name);
    json_end(j);
}

static void json_parts(FILE *out, const struct part *parts, int64_t n)
{
    struct json j;

    json_begin(&j, out);
    json_object(&j, NULL);
    json_text(&j, "time_base", "measured");
    json_array(&j, "ranks");
    for (int64_t i = 0; i < n; i++)
        json_part(&j, &parts[i]);
    json_end(&j);
    json_end(&j);
}

static int summary_folder(const char *path, int json, FILE *out,
                          struct error *e)
{
    struct spool_state *states;
    struct span *spans = NULL;
    int64_t n = spool_states(path, &states, e);

    if (n < 0)
        return -1;
    int64_t n_spans = spool_read(path, &spans, e);
    if (n_spans < 0) {
        free(states);
        return -1;
    }
    struct part *parts = xcalloc((size_t)n, sizeof *parts);
    for (int64_t i = 0; i < n; i++)
        parts[i].state = states[i];
    add_spans(parts, n, spans, n_spans);
    if (json)
        json_parts(out, parts, n);
    else
        text_parts(out, path, parts, n);
    free(parts);
    free(spans);
    free(states);
    return 0;
}

int trace_summary(const char *path, int json, FILE *out, struct error *e)
{
    struct stat st;

    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return summary_folder(path, json, out, e);
    return summary_file(path, json, out, e);
}
