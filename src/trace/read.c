/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading a trace back.  The file may come from anywhere: counts and indices
 * are checked before they are used. */
#include <config.h>

#include "trace/file.h"
#include "trace/h5.h"
#include "trace/usage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int damaged(const struct h5_in *in, const char *what)
{
    return fail(in->e, "%s: damaged trace: %s", in->path, what);
}

/* ---- Tables -------------------------------------------------------------- */

enum { T_START, T_DUR, T_READY, T_ENTRY, T_REPEAT, T_LANE, T_RANK, T_OP,
       T_NAME, T_KIND, T_STEP, T_PEER, T_BYTES, T_INTEGERS };
static const char *const integer_names[T_INTEGERS] = {
    "t_start", "dur", "t_ready", "entry", "repeat", "lane", "rank", "op",
    "name", "kind", "step", "peer", "bytes",
};

/* Columns of /events, or of a table of ops (then from T_RANK on). */
struct table {
    int64_t n;
    int64_t *x[T_INTEGERS];
    double *flops;
};

static void table_clear(struct table *t)
{
    for (int i = 0; i < T_INTEGERS; i++)
        free(t->x[i]);
    free(t->flops);
}

static int table_read(const struct h5_in *in, const char *group, int first,
                      struct table *t)
{
    char path[64];
    int64_t n;

    *t = (struct table){ .n = -1 };
    for (int i = first; i < T_INTEGERS; i++) {
        snprintf(path, sizeof path, "%s/%s", group, integer_names[i]);
        t->x[i] = h5_get_column(in, path, H5T_NATIVE_INT64, sizeof(int64_t),
                                &n);
        if (!t->x[i])
            return -1;
        if (t->n >= 0 && n != t->n)
            return damaged(in, "columns of unequal length");
        t->n = n;
    }
    snprintf(path, sizeof path, "%s/flops", group);
    t->flops = h5_get_column(in, path, H5T_NATIVE_DOUBLE, sizeof(double), &n);
    if (!t->flops)
        return -1;
    return n == t->n ? 0 : damaged(in, "columns of unequal length");
}

/* Where row i of the table puts its op, NULL if nowhere. */
static struct op_record *find_op(const struct trace *t, int64_t entry,
                                 const struct table *from, int64_t i)
{
    int64_t rank = from->x[T_RANK][i], op = from->x[T_OP][i];

    if (entry < 0 || entry >= t->n_entries)
        return NULL;
    const struct trace_entry *x = &t->entries[entry];
    if (rank < 0 || rank >= x->ranks || op < 0 || op >= x->n_ops[rank])
        return NULL;
    return &x->ops[rank][op];
}

static int take_op(const struct h5_in *in, const struct trace *t,
                   int64_t entry, const struct table *from, int64_t i)
{
    struct op_record *op = find_op(t, entry, from, i);
    int64_t name = from->x[T_NAME][i], kind = from->x[T_KIND][i];

    if (!op || name < 0 || name >= t->n_names || kind < 0 ||
        kind >= t->n_kinds)
        return damaged(in, "an event of an op that is not there");
    *op = (struct op_record){
        .name = (uint32_t)name, .kind = (uint32_t)kind,
        .step = (int32_t)from->x[T_STEP][i],
        .peer = (int32_t)from->x[T_PEER][i],
        .bytes = from->x[T_BYTES][i], .flops = from->flops[i],
    };
    return 0;
}

/* ---- Events -------------------------------------------------------------- */

static int take_events(const struct h5_in *in, struct trace *t,
                       const struct table *e)
{
    struct span *spans = calloc((size_t)e->n + 1, sizeof *spans);

    if (!spans)
        return fail(in->e, "%s: no memory for %lld events", in->path,
                    (long long)e->n);
    t->spans = spans;
    t->n_spans = e->n;
    for (int64_t i = 0; i < e->n; i++) {
        if (take_op(in, t, e->x[T_ENTRY][i], e, i))
            return -1;
        spans[i] = (struct span){
            .start = e->x[T_START][i],
            .end = (int64_t)((uint64_t)e->x[T_START][i] +
                             (uint64_t)e->x[T_DUR][i]),
            .ready = e->x[T_READY][i],
            .entry = (int32_t)e->x[T_ENTRY][i],
            .repeat = (int32_t)e->x[T_REPEAT][i],
            .rank = (int32_t)e->x[T_RANK][i], .op = (int32_t)e->x[T_OP][i],
            .lane = (int32_t)e->x[T_LANE][i],
        };
        if (spans[i].end < spans[i].start)
            return damaged(in, "an event of negative duration");
    }
    spans_sort(spans, e->n);
    return 0;
}

/* ---- Entries ------------------------------------------------------------- */

static int copy_text(const struct h5_in *in, const char *group,
                     const char *attribute, char *text, size_t size)
{
    char *s = h5_get_string(in, group, attribute);

    if (!s)
        return -1;
    snprintf(text, size, "%s", s);
    free(s);
    return 0;
}

static int64_t *read_int64s(const struct h5_in *in, const char *group,
                            const char *name, int64_t *n)
{
    char path[64];

    snprintf(path, sizeof path, "%s/%s", group, name);
    return h5_get_column(in, path, H5T_NATIVE_INT64, sizeof(int64_t), n);
}

static int read_arrays(const struct h5_in *in, const char *group,
                       struct trace_entry *x)
{
    int64_t n;

    x->repeat_ns = read_int64s(in, group, "repeat_ns", &n);
    if (!x->repeat_ns)
        return -1;
    x->repeats = (int32_t)n;
    x->peak_bytes = read_int64s(in, group, "peak_bytes", &n);
    if (!x->peak_bytes)
        return -1;
    if (n != x->ranks)
        return damaged(in, "peak_bytes of another number of ranks");
    x->n_ops = read_int64s(in, group, "n_ops", &n);
    if (!x->n_ops)
        return -1;
    return n == x->ranks ? 0
                         : damaged(in, "n_ops of another number of ranks");
}

static int read_entry(const struct h5_in *in, int64_t i, struct trace_entry *x)
{
    char group[40];

    snprintf(group, sizeof group, "entries/%lld", (long long)i);
    if (copy_text(in, group, "strategy", x->strategy, sizeof x->strategy) ||
        copy_text(in, group, "layout", x->layout, sizeof x->layout) ||
        h5_get_number(in, group, "schedule_hash_u64", H5T_NATIVE_UINT64,
                      &x->schedule_hash) ||
        h5_get_number(in, group, "ranks", H5T_NATIVE_INT32, &x->ranks) ||
        h5_get_number(in, group, "spans_ns", H5T_NATIVE_INT64, &x->spans_ns))
        return -1;
    return read_arrays(in, group, x);
}

/* Every op has a row somewhere, so that a damaged count cannot ask for more
 * memory than the file's rows account for. */
static int make_ops(const struct h5_in *in, struct trace_entry *x,
                    int64_t *budget)
{
    x->ops = xcalloc((size_t)x->ranks, sizeof *x->ops);
    for (int32_t r = 0; r < x->ranks; r++) {
        if (x->n_ops[r] < 0 || x->n_ops[r] > *budget)
            return damaged(in, "more ops than events and tables of ops hold");
        *budget -= x->n_ops[r];
        x->ops[r] = xmalloc((size_t)x->n_ops[r] * sizeof *x->ops[r]);
        for (int64_t op = 0; op < x->n_ops[r]; op++)
            x->ops[r][op].name = UINT32_MAX;
    }
    return 0;
}

static int check_ops(const struct h5_in *in, const struct trace *t)
{
    for (int64_t i = 0; i < t->n_entries; i++)
        for (int32_t r = 0; r < t->entries[i].ranks; r++)
            for (int64_t op = 0; op < t->entries[i].n_ops[r]; op++)
                if (t->entries[i].ops[r][op].name == UINT32_MAX)
                    return damaged(in, "an op without a record");
    return 0;
}

/* The tables of ops without a span, one an entry (n < 0: it has none). */
static int read_unseen(const struct h5_in *in, const struct trace *t,
                       struct table *tables, int64_t *rows)
{
    for (int64_t i = 0; i < t->n_entries; i++) {
        char group[40];

        snprintf(group, sizeof group, "entries/%lld/ops", (long long)i);
        if (!h5_exists(in->file, group))
            continue;
        if (table_read(in, group, T_RANK, &tables[i]))
            return -1;
        *rows += tables[i].n;
    }
    return 0;
}

static int fill(const struct h5_in *in, struct trace *t,
                const struct table *events, struct table *unseen)
{
    int64_t budget = events->n;

    if (read_unseen(in, t, unseen, &budget))
        return -1;
    for (int64_t i = 0; i < t->n_entries; i++)
        if (make_ops(in, &t->entries[i], &budget))
            return -1;
    if (take_events(in, t, events))
        return -1;
    for (int64_t i = 0; i < t->n_entries; i++)
        for (int64_t k = 0; k < unseen[i].n; k++)
            if (take_op(in, t, i, &unseen[i], k))
                return -1;
    return check_ops(in, t);
}

static int read_events(const struct h5_in *in, struct trace *t)
{
    struct table events, *unseen = xcalloc((size_t)t->n_entries,
                                           sizeof *unseen);
    int rc = table_read(in, "events", 0, &events) ||
             fill(in, t, &events, unseen);

    table_clear(&events);
    for (int64_t i = 0; i < t->n_entries; i++)
        table_clear(&unseen[i]);
    free(unseen);
    return rc ? -1 : 0;
}

static int read_entries(const struct h5_in *in, struct trace *t)
{
    char group[40];
    int64_t n = 0;

    for (;; n++) {
        snprintf(group, sizeof group, "entries/%lld", (long long)n);
        if (!h5_exists(in->file, "entries") || !h5_exists(in->file, group))
            break;
    }
    t->entries = xcalloc((size_t)n, sizeof *t->entries);
    t->n_entries = n;
    for (int64_t i = 0; i < n; i++)
        if (read_entry(in, i, &t->entries[i]))
            return -1;
        else if (t->entries[i].ranks > t->ranks)
            return damaged(in, "an entry of more ranks than hosts");
    return 0;
}

/* ---- The rest ------------------------------------------------------------ */

static int read_strings(const struct h5_in *in, const char *name,
                        const char ***strings, int64_t *n)
{
    *strings = (const char **)h5_get_strings(in, name, NULL, n);
    return *strings ? 0 : -1;
}

/* One of each rank, where the attribute is there: measured runs have them,
 * older ones did not. */
static int read_by_rank(const struct h5_in *in, const char *name,
                        const struct trace *t, const char ***strings)
{
    int64_t n;

    if (H5Aexists(in->file, name) <= 0)
        return 0;
    char **found = h5_get_strings(in, "/", name, &n);
    if (found && n == t->ranks) {
        *strings = (const char **)found;
        return 0;
    }
    if (!found)
        return -1;
    h5_free_strings(found, n);
    return damaged(in, "not as many slots or places as hosts");
}

static int read_job(const struct h5_in *in, struct trace *t)
{
    if (H5Aexists(in->file, "job_id") <= 0)
        return 0;
    struct trace_job *j = xcalloc(1, sizeof *j);
    t->job = j;
    return (j->id = h5_get_string(in, "/", "job_id")) &&
                   (j->nodes = h5_get_string(in, "/", "job_nodes")) &&
                   (j->tasks = h5_get_string(in, "/", "job_tasks")) &&
                   (j->topology = h5_get_string(in, "/", "job_topology"))
               ? read_by_rank(in, "job_places", t, &j->places)
               : -1;
}

static void free_job(struct trace_job *j, int32_t ranks)
{
    if (!j)
        return;
    h5_free_strings((char **)j->places, j->places ? ranks : 0);
    free((char *)j->id);
    free((char *)j->nodes);
    free((char *)j->tasks);
    free((char *)j->topology);
    free(j);
}

static int read_provenance(const struct h5_in *in, struct trace *t)
{
    char base[16];
    int64_t ranks;

    if (copy_text(in, "/", "time_base", base, sizeof base))
        return -1;
    t->simulated = strcmp(base, "simulated") == 0;
    t->hosts = (const char **)h5_get_strings(in, "/", "hosts", &ranks);
    if (!t->hosts)
        return -1;
    t->ranks = (int32_t)ranks;
    if (read_by_rank(in, "slots", t, &t->slots) || read_job(in, t))
        return -1;
    return (t->scenario_json = h5_get_string(in, "/", "scenario")) &&
                   (t->command = h5_get_string(in, "/", "history")) &&
                   (t->machine = h5_get_string(in, "/", "machine")) &&
                   (t->versions = h5_get_string(in, "/", "versions"))
               ? 0
               : -1;
}

/* A whole trace of a version that this program reads. */
static int check_kind(const struct h5_in *in)
{
    int32_t version = 0;
    uint8_t complete = 0;

    if (H5Aexists(in->file, "schema_version") <= 0 ||
        !h5_exists(in->file, "events"))
        return fail(in->e, "%s: an HDF5 file, but not a trace of spar",
                    in->path);
    if (h5_get_number(in, "/", "schema_version", H5T_NATIVE_INT32, &version))
        return -1;
    if (version != TRACE_SCHEMA)
        return fail(in->e, "%s: trace of schema version %d; this program reads "
                    "version %d", in->path, version, TRACE_SCHEMA);
    if (H5Aexists(in->file, "complete") <= 0 ||
        h5_get_number(in, "/", "complete", H5T_NATIVE_UINT8, &complete) ||
        complete != 1)
        return fail(in->e, "%s: not complete: its writing was interrupted",
                    in->path);
    return 0;
}

static int read_all(const struct h5_in *in, struct trace *t)
{
    return check_kind(in) || read_provenance(in, t) || clock_get(in, t) ||
                   read_strings(in, "ops/name", &t->names, &t->n_names) ||
                   read_strings(in, "ops/kind", &t->kinds, &t->n_kinds) ||
                   read_strings(in, "lanes", &t->lanes, &t->n_lanes) ||
                   read_entries(in, t) || read_events(in, t)
               ? -1
               : 0;
}

struct trace *trace_read(const char *path, struct error *e)
{
    struct h5_in in;

    if (h5_open(&in, path, e))
        return NULL;
    struct trace *t = xcalloc(1, sizeof *t);
    if (read_all(&in, t)) {
        trace_destroy(t);
        t = NULL;
    }
    h5_close(&in);
    return t;
}

static void entry_clear(struct trace_entry *x)
{
    for (int32_t r = 0; x->ops && r < x->ranks; r++)
        free(x->ops[r]);
    free(x->ops);
    free(x->n_ops);
    free(x->repeat_ns);
    free(x->peak_bytes);
}

void trace_destroy(struct trace *t)
{
    if (!t)
        return;
    for (int64_t i = 0; i < t->n_entries; i++)
        entry_clear(&t->entries[i]);
    free(t->entries);
    free((void *)t->spans);
    free((void *)t->clocks);
    h5_free_strings((char **)t->names, t->n_names);
    h5_free_strings((char **)t->kinds, t->n_kinds);
    h5_free_strings((char **)t->lanes, t->n_lanes);
    h5_free_strings((char **)t->hosts, t->ranks);
    h5_free_strings((char **)t->slots, t->slots ? t->ranks : 0);
    free_job((struct trace_job *)t->job, t->ranks);
    free((void *)t->scenario_json);
    free((void *)t->command);
    free((void *)t->machine);
    free((void *)t->versions);
    free(t);
}
