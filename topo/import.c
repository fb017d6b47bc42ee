/* SPDX-License-Identifier: Apache-2.0
 *
 * What the readers of measurements have in common, and what becomes of them. */
#include <config.h>

#include "topo/import_internal.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int import_fail(const struct import_source *s, struct error *e,
                const char *fmt, ...)
{
    char text[640], where[320];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (s->line)
        snprintf(where, sizeof where, "%s:%d", s->path, s->line);
    else
        snprintf(where, sizeof where, "%s", s->path);
    return fail_usage(e, "%s: %s", where, text);
}

/* ---- Words -------------------------------------------------------------- */

void import_rank(struct import_source *s, const char *host)
{
    s->ranks++;
    if (strcmp(s->last_host, host) != 0)
        s->hosts++;
    snprintf(s->last_host, sizeof s->last_host, "%s", host);
    if (!*s->host)
        snprintf(s->host, sizeof s->host, "%s", host);
}

int import_kind(struct import_source *s, const char *name, struct error *e)
{
    static const struct { const char *name; enum collective_kind kind; }
    words[] = {
        { "all_gather", OF_ALL_GATHER }, { "allgather", OF_ALL_GATHER },
        { "reduce_scatter", OF_REDUCE_SCATTER },
        { "alltoall", OF_ALL_TO_ALL }, { "all_to_all", OF_ALL_TO_ALL },
        { "all-to-all", OF_ALL_TO_ALL },
        { "all_reduce", OF_ALL_REDUCE }, { "allreduce", OF_ALL_REDUCE },
        { "sendrecv", OF_SEND_RECV }, { "send_recv", OF_SEND_RECV },
    };
    const char *last = strrchr(name, '/');
    char word[48];

    snprintf(word, sizeof word, "%s", last ? last + 1 : name);
    char *perf = strstr(word, "_perf");
    if (perf)                           /* all_gather_perf_mpi */
        *perf = '\0';
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcasecmp(word, words[i].name) == 0) {
            s->kind = (int)words[i].kind;
            return 0;
        }
    return import_fail(s, e, "\"%s\": of all_gather, reduce_scatter, alltoall, "
                       "all_reduce and sendrecv there are tables, of this "
                       "not", word);
}

void import_nccl_version(long code, char *text, size_t size)
{
    long unit = code >= 10000 ? 10000 : 1000;

    snprintf(text, size, "NCCL %ld.%ld.%ld", code / unit, code % unit / 100,
             code % 100);
}

/* ---- Points ------------------------------------------------------------- */

static struct import_run *run_of(struct import_source *s)
{
    struct import *in = s->in;

    for (int64_t i = 0; i < in->n; i++)
        if ((int)in->runs[i].kind == s->kind && in->runs[i].ranks == s->ranks
            && in->runs[i].hosts == s->hosts)
            return &in->runs[i];
    struct import_run run = { .kind = (enum collective_kind)s->kind,
                              .ranks = s->ranks, .hosts = s->hosts };
    ARRAY_PUSH(in->runs, in->n, in->cap, run);
    return &in->runs[in->n - 1];
}

int import_point(struct import_source *s, double bytes, double us,
                 struct error *e)
{
    if (s->kind < 0)
        return import_fail(s, e, "times before what was measured is named");
    if (s->ranks < 2)
        return import_fail(s, e, "on %lld rank%s: a collective needs two",
                           (long long)s->ranks, s->ranks == 1 ? "" : "s");
    if (!(bytes >= 0 && bytes < 9e18) || !(us > 0 && us < 1e12))
        return import_fail(s, e, "%g B in %g us cannot be", bytes, us);
    if (bytes < 1)
        return 0;               /* empty messages tell nothing */
    s->points++;
    struct import_run *r = run_of(s);
    struct link_point p = { llround(bytes), us * 1e-6 };
    int64_t i = r->n;
    while (i > 0 && r->points[i - 1].bytes >= p.bytes)
        i--;
    if (i < r->n && r->points[i].bytes == p.bytes) {
        r->points[i].seconds = fmin(r->points[i].seconds, p.seconds);
        return 0;
    }
    ARRAY_PUSH(r->points, r->n, r->cap, p);
    memmove(r->points + i + 1, r->points + i,
            (size_t)(r->n - 1 - i) * sizeof p);
    r->points[i] = p;
    return 0;
}

/* ---- Files -------------------------------------------------------------- */

static int is_json(const char *text)
{
    return text[strspn(text, " \t\r\n")] == '{';
}
static int is_osu(const char *text)
{
    return strstr(text, "# OSU ") != NULL;
}
static int is_nccl(const char *text)
{
    return strstr(text, "# nThread ") != NULL
        || strstr(text, "# Using devices") != NULL;
}
static int is_csv(const char *text)
{
    return strncmp(text, "gpu,link,nodes,ranks,op,bytes,time_us,", 38) == 0;
}

static const struct import_format {
    const char *name;
    int (*is)(const char *text);
    int (*read)(struct import_source *s, char *text, size_t size,
                struct error *e);
} formats[] = {
    { "JSON of nccl-tests (-J)", is_json, import_nccl_json },
    { "text of nccl-tests", is_nccl, import_nccl_text },
    { "text of the OSU micro-benchmarks", is_osu, import_osu },
    { "CSV", is_csv, import_csv },
};

/* Files of one call are of one host and the same versions. */
static int agree_on(const struct import_source *s, const char *what,
                    char *known, size_t size, const char *said,
                    struct error *e)
{
    struct import_source whole = *s;

    whole.line = 0;
    if (*known && *said && strcmp(known, said) != 0)
        return import_fail(&whole, e, "of %s %s, before it of %s: not mixed",
                           what, said, known);
    if (*said)
        snprintf(known, size, "%s", said);
    return 0;
}

int import_file(struct import *in, const char *path, char *text, size_t size,
                const struct import_asked *asked, struct error *e)
{
    struct import_source s = { .in = in, .asked = asked, .path = path,
                               .kind = -1 };
    size_t i = 0, n = sizeof formats / sizeof *formats;

    while (i < n && !formats[i].is(text))
        i++;
    if (asked->op && import_kind(&s, asked->op, e) != 0)
        return -1;
    if (i == n)
        return import_fail(&s, e, "neither text nor JSON of nccl-tests, nor "
                           "text of the OSU micro-benchmarks");
    if (formats[i].read(&s, text, size, e) != 0)
        return -1;
    s.line = 0;
    if (s.points == 0)
        return import_fail(&s, e, "no times in it");
    if (agree_on(&s, "host", in->host, sizeof in->host, s.host, e)
        || agree_on(&s, "versions", in->versions, sizeof in->versions,
                    s.versions, e))
        return -1;
    if (*s.processor)
        snprintf(in->processor, sizeof in->processor, "%s", s.processor);
    return 0;
}

void import_clear(struct import *in)
{
    for (int64_t i = 0; i < in->n; i++)
        free(in->runs[i].points);
    free(in->runs);
    memset(in, 0, sizeof *in);
}

/* ---- Into a machine ----------------------------------------------------- */

static struct collective_table *place_for(struct machine *m,
                                          const struct import_run *r)
{
    for (int64_t i = 0; i < m->n_collectives; i++) {
        struct collective_table *t = &m->collectives[i];
        if (t->kind == r->kind && t->group.ranks == r->ranks
            && t->group.hosts == r->hosts && !t->group.cores) {
            free(t->segments);
            return t;
        }
    }
    m->collectives = xrealloc(m->collectives, (size_t)(m->n_collectives + 1)
                              * sizeof *m->collectives);
    return &m->collectives[m->n_collectives++];
}

int import_into(const struct import *in, struct machine *m, struct error *e)
{
    for (int64_t i = 0; i < m->n_collectives; i++) {
        const struct collective_table *t = &m->collectives[i];
        if (strcmp(t->host, in->host) != 0
            || strcmp(t->versions, in->versions) != 0)
            return fail_usage(e, "machine %s has collectives of host \"%s\", "
                              "%s; these are of host \"%s\", %s: not mixed "
                              "(--replace drops the former)",
                              m->name, t->host, t->versions, in->host,
                              in->versions);
    }
    for (int64_t i = 0; i < in->n; i++) {
        const struct import_run *r = &in->runs[i];
        struct collective_table *t = place_for(m, r);
        *t = (struct collective_table){ .kind = r->kind,
                                        .group = { .ranks = r->ranks,
                                                   .hosts = r->hosts } };
        snprintf(t->host, sizeof t->host, "%s", in->host);
        snprintf(t->versions, sizeof t->versions, "%s", in->versions);
        collective_fit(t, r->points, r->n);
        if (r->kind == OF_SEND_RECV && !m->link.n && !m->graph)
            link_fit(&m->link, r->points, r->n);
    }
    return 0;
}
