/* SPDX-License-Identifier: Apache-2.0
 *
 * The trace file.  Columns rather than records, so that a reader takes what it
 * needs and pandas makes a table of a group in one line. */
#include <config.h>

#include "trace/file.h"
#include "trace/h5.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { EVENT_CHUNK = 64 * 1024 };   /* elements */

/* ---- Columns ------------------------------------------------------------- */

enum field_type { FIELD_U8, FIELD_I32, FIELD_U32, FIELD_I64, FIELD_F64 };

static hid_t file_type(enum field_type t)
{
    const hid_t types[] = { H5T_STD_U8LE, H5T_STD_I32LE, H5T_STD_U32LE,
                            H5T_STD_I64LE, H5T_IEEE_F64LE };

    return types[t];
}

/* One row of /events or of the ops without a span. */
struct row {
    const struct span *span;    /* NULL in a table of ops */
    const struct op_record *op;
    int32_t rank, number;       /* of the op */
};

typedef int64_t (*integer_fn)(const struct row *r);

struct column {
    const char *name;
    enum field_type type;
    const char *units, *meaning;
    integer_fn get;             /* NULL: flops, the one real number */
};

static int64_t get_start(const struct row *r) { return r->span->start; }
static int64_t get_dur(const struct row *r)
{
    return r->span->end - r->span->start;
}
static int64_t get_ready(const struct row *r) { return r->span->ready; }
static int64_t get_entry(const struct row *r) { return r->span->entry; }
static int64_t get_repeat(const struct row *r) { return r->span->repeat; }
static int64_t get_lane(const struct row *r) { return r->span->lane; }
static int64_t get_rank(const struct row *r) { return r->rank; }
static int64_t get_op(const struct row *r) { return r->number; }
static int64_t get_name(const struct row *r) { return r->op->name; }
static int64_t get_kind(const struct row *r) { return r->op->kind; }
static int64_t get_step(const struct row *r) { return r->op->step; }
static int64_t get_peer(const struct row *r) { return r->op->peer; }
static int64_t get_bytes(const struct row *r) { return r->op->bytes; }

/* Columns from OP_COLUMNS on need no span. */
enum { OP_COLUMNS = 6 };
static const struct column columns[] = {
    { "t_start", FIELD_I64, "ns", "start, since the start of the repeat",
      get_start },
    { "dur", FIELD_I64, "ns", "duration", get_dur },
    { "t_ready", FIELD_I64, "ns", "all dependencies met, since the start of "
      "the repeat", get_ready },
    { "entry", FIELD_I32, "1", "group of /entries", get_entry },
    { "repeat", FIELD_I32, "1", "repeat of the entry", get_repeat },
    { "lane", FIELD_U8, "1", "index into /lanes", get_lane },
    { "rank", FIELD_I32, "1", "rank", get_rank },
    { "op", FIELD_U32, "1", "number of the op within its rank's schedule",
      get_op },
    { "name", FIELD_U32, "1", "index into /ops/name", get_name },
    { "kind", FIELD_U32, "1", "index into /ops/kind", get_kind },
    { "step", FIELD_I32, "1", "hop or step of the strategy, -1: none",
      get_step },
    { "peer", FIELD_I32, "1", "other rank of a message, -1: none", get_peer },
    { "bytes", FIELD_I64, "B", "payload of a message", get_bytes },
    { "flops", FIELD_F64, "1", "floating-point operations", NULL },
};
enum { COLUMNS = sizeof columns / sizeof columns[0] };

/* Where rows come from: all spans, or the ops of an entry without one. */
struct rows {
    int64_t n;
    struct row (*row)(const void *from, int64_t i);
    const void *from;
};

static void *gather(const struct column *c, const struct rows *rows)
{
    int64_t *out = xmalloc((size_t)rows->n * sizeof *out);

    for (int64_t i = 0; i < rows->n; i++) {
        struct row r = rows->row(rows->from, i);
        if (c->get)
            out[i] = c->get(&r);
        else
            memcpy(&out[i], &r.op->flops, sizeof out[i]);
    }
    return out;
}

static int put_rows(hid_t at, const struct column *c, int n,
                    const struct rows *rows, hid_t scale)
{
    for (int i = 0; i < n; i++) {
        struct h5_dataset d = {
            .name = c[i].name, .units = c[i].units, .meaning = c[i].meaning,
            .memory = c[i].get ? H5T_NATIVE_INT64 : H5T_NATIVE_DOUBLE,
            .file = file_type(c[i].type), .rank = 1,
            .shape = { (hsize_t)rows->n }, .chunk = EVENT_CHUNK,
            .scale = scale,
        };
        void *data = gather(&c[i], rows);
        int rc = h5_put_dataset(at, &d, data);
        free(data);
        if (rc)
            return -1;
    }
    return 0;
}

/* ---- Events -------------------------------------------------------------- */

static struct row span_row(const void *from, int64_t i)
{
    const struct trace *t = from;
    const struct span *s = &t->spans[i];

    return (struct row){ s, &t->entries[s->entry].ops[s->rank][s->op],
                         s->rank, s->op };
}

/* The dimension of all event columns: in netCDF's words one without values. */
static hid_t event_scale(hid_t file, int64_t n)
{
    char label[96];
    struct h5_dataset d = {
        .name = "event", .units = "1", .memory = H5T_NATIVE_INT64,
        .file = H5T_STD_I64LE, .rank = 1, .shape = { (hsize_t)n },
        .chunk = EVENT_CHUNK,
    };

    if (h5_put_dataset(file, &d, NULL))
        return -1;
    snprintf(label, sizeof label,
             "This is a netCDF dimension but not a netCDF variable.%10lld",
             (long long)n);
    return h5_make_scale(file, "event", label);
}

static int put_events(hid_t file, const struct trace *t)
{
    struct rows rows = { t->n_spans, span_row, t };
    hid_t scale = event_scale(file, t->n_spans);
    hid_t group = h5_make_group(file, "events");
    int rc = scale < 0 || group < 0 ||
                     put_rows(group, columns, COLUMNS, &rows, scale)
                 ? -1
                 : 0;

    h5_close_object(group);
    h5_close_object(scale);
    return rc;
}

/* ---- Entries ------------------------------------------------------------- */

/* Ops of an entry that have no span: what /events does not say. */
struct unseen {
    const struct trace_entry *entry;
    int64_t n, cap;
    struct op_place {
        int32_t rank, op;
    } *places;
};

static struct row unseen_row(const void *from, int64_t i)
{
    const struct unseen *u = from;
    struct op_place p = u->places[i];

    return (struct row){ NULL, &u->entry->ops[p.rank][p.op], p.rank, p.op };
}

static void find_unseen(const struct trace *t, int64_t entry, struct unseen *u)
{
    const struct trace_entry *x = &t->entries[entry];
    char **seen = xcalloc((size_t)x->ranks, sizeof *seen);

    *u = (struct unseen){ .entry = x };
    for (int32_t r = 0; r < x->ranks; r++)
        seen[r] = xcalloc((size_t)x->n_ops[r], 1);
    for (int64_t i = 0; i < t->n_spans; i++)
        if (t->spans[i].entry == entry)
            seen[t->spans[i].rank][t->spans[i].op] = 1;
    for (int32_t r = 0; r < x->ranks; r++) {
        for (int32_t op = 0; op < x->n_ops[r]; op++)
            if (!seen[r][op])
                ARRAY_PUSH(u->places, u->n, u->cap,
                           ((struct op_place){ r, op }));
        free(seen[r]);
    }
    free(seen);
}

static int put_unseen(hid_t group, const struct trace *t, int64_t entry)
{
    struct unseen u;
    int rc = 0;

    find_unseen(t, entry, &u);
    if (u.n) {
        struct rows rows = { u.n, unseen_row, &u };
        hid_t ops = h5_make_group(group, "ops");
        rc = ops < 0 || put_rows(ops, columns + OP_COLUMNS,
                                 COLUMNS - OP_COLUMNS, &rows, 0)
                 ? -1
                 : 0;
        h5_close_object(ops);
    }
    free(u.places);
    return rc;
}

static int put_int64s(hid_t at, const char *name, const char *units,
                      const char *meaning, const int64_t *data, int64_t n)
{
    struct h5_dataset d = {
        .name = name, .units = units, .meaning = meaning,
        .memory = H5T_NATIVE_INT64, .file = H5T_STD_I64LE, .rank = 1,
        .shape = { (hsize_t)n },
    };

    return h5_put_dataset(at, &d, data);
}

static int put_entry(hid_t entries, const struct trace *t, int64_t i)
{
    const struct trace_entry *x = &t->entries[i];
    char number[24], hash[24];

    snprintf(number, sizeof number, "%lld", (long long)i);
    snprintf(hash, sizeof hash, "%016llx",
             (unsigned long long)x->schedule_hash);
    hid_t g = h5_make_group(entries, number);
    if (g < 0)
        return -1;
    int rc = h5_put_string(g, "strategy", x->strategy) ||
             h5_put_string(g, "layout", x->layout) ||
             (*x->transport && h5_put_string(g, "transport", x->transport)) ||
             h5_put_string(g, "schedule_hash", hash) ||
             h5_put_number(g, "schedule_hash_u64", H5T_NATIVE_UINT64,
                           &x->schedule_hash) ||
             h5_put_number(g, "ranks", H5T_NATIVE_INT32, &x->ranks) ||
             h5_put_number(g, "spans_ns", H5T_NATIVE_INT64, &x->spans_ns) ||
             put_int64s(g, "repeat_ns", "ns", "wall time of each timed repeat, "
                        "maximum over ranks", x->repeat_ns, x->repeats) ||
             put_int64s(g, "peak_bytes", "B", "planned memory of each rank",
                        x->peak_bytes, x->ranks) ||
             put_int64s(g, "n_ops", "1", "ops of each rank's schedule",
                        x->n_ops, x->ranks) ||
             trace_put_links(g, x) || trace_put_memory(g, x) ||
             put_unseen(g, t, i);
    h5_close_object(g);
    return rc ? -1 : 0;
}

static int put_entries(hid_t file, const struct trace *t)
{
    hid_t g = h5_make_group(file, "entries");
    int rc = g < 0 ? -1 : 0;

    for (int64_t i = 0; !rc && i < t->n_entries; i++)
        rc = put_entry(g, t, i);
    h5_close_object(g);
    return rc;
}

/* ---- The rest ------------------------------------------------------------ */

static int put_names(hid_t file, const struct trace *t)
{
    hid_t g = h5_make_group(file, "ops");
    int rc = g < 0 || h5_put_string_column(g, "name", t->names, t->n_names) ||
             h5_put_string_column(g, "kind", t->kinds, t->n_kinds) ||
             h5_put_string_column(file, "lanes", t->lanes, t->n_lanes);

    h5_close_object(g);
    return rc ? -1 : 0;
}

/* ISO 8601 with the zone, "2025-01-31T12:00:00+01:00". */
static void time_text(char *text, size_t size)
{
    time_t now = time(NULL);
    struct tm tm;
    char date[32], zone[8];

    localtime_r(&now, &tm);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm);
    strftime(zone, sizeof zone, "%z", &tm);
    snprintf(text, size, "%s%.3s:%s", date, zone, zone + 3);
}

static int uuid_text(char *text, int size)
{
    FILE *f = fopen("/proc/sys/kernel/random/uuid", "r");
    int ok = f && fgets(text, size, f);

    if (f)
        fclose(f);
    if (ok)
        text[strcspn(text, "\n")] = '\0';
    return ok ? 0 : -1;
}

static int put_job(hid_t f, const struct trace *t)
{
    const struct trace_job *j = t->job;

    return h5_put_string(f, "job_id", j->id) ||
                   h5_put_string(f, "job_nodes", j->nodes) ||
                   h5_put_string(f, "job_tasks", j->tasks) ||
                   h5_put_string(f, "job_topology", j->topology) ||
                   h5_put_strings(f, "job_places", j->places, t->ranks)
               ? -1
               : 0;
}

static int put_provenance(hid_t f, const struct trace *t)
{
    int32_t version = TRACE_SCHEMA;
    char created[64], uuid[64];

    time_text(created, sizeof created);
    if (uuid_text(uuid, sizeof uuid))
        return -1;
    return h5_put_string(f, "Conventions", "spar-trace") ||
                   h5_put_string(f, "title", t->simulated
                                                 ? "spar: simulated spans"
                                                 : "spar: measured spans") ||
                   h5_put_string(f, "history", t->command) ||
                   h5_put_number(f, "schema_version", H5T_NATIVE_INT32,
                                 &version) ||
                   h5_put_string(f, "created", created) ||
                   h5_put_string(f, "run_uuid", uuid) ||
                   h5_put_strings(f, "hosts", t->hosts, t->ranks) ||
                   (t->slots &&
                    h5_put_strings(f, "slots", t->slots, t->ranks)) ||
                   (t->job && put_job(f, t)) ||
                   h5_put_string(f, "versions", t->versions) ||
                   h5_put_string(f, "scenario", t->scenario_json) ||
                   h5_put_string(f, "machine", t->machine) ||
                   h5_put_string(f, "time_base",
                                 t->simulated ? "simulated" : "measured")
               ? -1
               : 0;
}

/* A span must name an op that its entry has. */
static int check_spans(const char *path, const struct trace *t,
                       struct error *e)
{
    for (int64_t i = 0; i < t->n_spans; i++) {
        const struct span *s = &t->spans[i];
        const struct trace_entry *x = s->entry >= 0 && s->entry < t->n_entries
                                          ? &t->entries[s->entry]
                                          : NULL;
        if (!x || s->rank < 0 || s->rank >= x->ranks || s->op < 0 ||
            s->op >= x->n_ops[s->rank] || s->end < s->start)
            return fail(e, "%s: not written: span %lld is of no op (entry %d, "
                        "rank %d, op %d) or ends before it starts", path,
                        (long long)i, s->entry, s->rank, s->op);
    }
    return 0;
}

int trace_write(const char *path, const struct trace *t, struct error *e)
{
    uint8_t complete = 1;

    if (check_spans(path, t, e))
        return -1;
    hid_t f = h5_create();
    int bad = f < 0 || put_provenance(f, t) || put_names(f, t) ||
              clock_put(f, t) || put_entries(f, t) || put_events(f, t) ||
              h5_put_number(f, "complete", H5T_NATIVE_UINT8, &complete);
    return h5_save(f, bad, path, e);
}
