/* SPDX-License-Identifier: Apache-2.0
 *
 * Readers of what nccl-tests and the OSU micro-benchmarks print. */
#include <config.h>

#include "base/yaml.h"
#include "topo/import_internal.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The next line of *at, without its end; NULL: none. */
static char *next_line(char **at)
{
    char *line = *at;

    if (!line || !*line)
        return NULL;
    char *end = strchr(line, '\n');
    *at = end ? end + 1 : NULL;
    if (end)
        *end = '\0';
    size_t n = strlen(line);
    if (n && line[n - 1] == '\r')
        line[n - 1] = '\0';
    return line;
}

enum { WORDS = 24 };

/* Cuts a line at white space, or at `cut`; how many words. */
static int split(char *line, char cut, char *words[WORDS])
{
    int n = 0;

    while (n < WORDS) {
        if (!cut)
            line += strspn(line, " \t");
        if (!*line)
            break;
        words[n++] = line;
        size_t length = cut ? strcspn(line, (char[]){ cut, '\0' })
            : strcspn(line, " \t");
        if (!line[length])
            break;
        line[length] = '\0';
        line += length + 1;
    }
    return n;
}

static int is_number(const char *text, double *value)
{
    char *end;

    *value = strtod(text, &end);
    return end != text && *end == '\0';
}

/* ---- Text of nccl-tests ------------------------------------------------- */

/* Where in a line of results the out-of-place columns are. */
struct nccl_columns {
    int time, wrong;            /* -1: not yet seen */
};

/* "... nccl-library=22803", or, of NCCL_DEBUG, "NCCL version 2.28.3+cuda13". */
static void nccl_version(struct import_source *s, const char *line)
{
    const char *code = strstr(line, "nccl-library=");
    char number[40];

    if (code)
        import_nccl_version(atol(code + strlen("nccl-library=")), s->versions,
                            sizeof s->versions);
    else if (!*s->versions
             && sscanf(line, "NCCL version %39[0-9.]", number) == 1)
        snprintf(s->versions, sizeof s->versions, "NCCL %.39s", number);
}

/* A line for each rank. */
static int nccl_rank(struct import_source *s, const char *line)
{
    char host[48];
    int end = 0;

    if (sscanf(line, "# Rank %*d Group %*d Pid %*d on %47s device %*d [%*[^]]]"
               " %n", host, &end) != 1
        && sscanf(line, "# Rank %*d Pid %*d on %47s device %*d [%*[^]]] %n",
                  host, &end) != 1)
        return 0;
    import_rank(s, host);
    if (end)
        snprintf(s->processor, sizeof s->processor, "%s", line + end);
    return 1;
}

static int nccl_columns(struct import_source *s, char *line,
                        struct nccl_columns *c, struct error *e)
{
    char *words[WORDS];
    int n = split(line + 1, '\0', words);

    if (n < 5 || strcmp(words[0], "size") != 0)
        return 0;
    *c = (struct nccl_columns){ -1, -1 };
    for (int i = 0; i < n; i++) {
        if (c->time < 0 && strcmp(words[i], "time") == 0)
            c->time = i;
        if (c->wrong < 0 && (strcmp(words[i], "#wrong") == 0
                             || strcmp(words[i], "error") == 0))
            c->wrong = i;
    }
    return c->time < 0 ? import_fail(s, e, "no column \"time\": run nccl-tests "
                                     "without -C") : 0;
}

static int nccl_header(struct import_source *s, char *line,
                       struct nccl_columns *c, struct error *e)
{
    char name[64];

    nccl_version(s, line);
    if (sscanf(line, "# Collective test starting: %63s", name) == 1)
        return import_kind(s, name, e);
    if (strncmp(line, "# nThread ", 10) == 0) {         /* another test */
        s->ranks = s->hosts = 0;
        s->last_host[0] = '\0';
        c->time = -1;
    }
    return nccl_rank(s, line) ? 0 : nccl_columns(s, line, c, e);
}

/* Other programs print into the same file: a line of results begins with a
 * number, after the line that heads them. */
static int nccl_row(struct import_source *s, char *line,
                    const struct nccl_columns *c, struct error *e)
{
    char *words[WORDS];
    int n = split(line, '\0', words);
    double bytes, us, wrong;

    if (c->time < 0 || !is_number(words[0], &bytes))
        return 0;
    if (n <= c->time || !is_number(words[c->time], &us))
        return import_fail(s, e, "not a line of results: \"%s ...\"",
                           words[0]);
    if (s->kind < 0)
        return import_fail(s, e, "which collective this is is not said: --op");
    if (c->wrong >= 0 && c->wrong < n && is_number(words[c->wrong], &wrong)
        && wrong > 0)
        return import_fail(s, e, "%g wrong values: not a measurement", wrong);
    return import_point(s, bytes, us, e);
}

int import_nccl_text(struct import_source *s, char *text, size_t size,
                     struct error *e)
{
    struct nccl_columns c = { -1, -1 };
    char *line;

    (void)size;
    while ((line = next_line(&text)) != NULL) {
        int rc = 0;
        s->line++;
        line += strspn(line, " \t");
        if (*line == '#')
            rc = nccl_header(s, line, &c, e);
        else if (isdigit((unsigned char)*line))
            rc = nccl_row(s, line, &c, e);
        else
            nccl_version(s, line);
        if (rc != 0)
            return -1;
    }
    return 0;
}

/* ---- JSON of nccl-tests ------------------------------------------------- */

static int json_ranks(struct import_source *s, struct yaml *y, int config,
                      struct error *e)
{
    int devices = yaml_get(y, config, "devices");
    int64_t threads = 1, gpus = 1;

    if (yaml_int(y, yaml_get(y, config, "nthreads"), "config.nthreads", 1,
                 1 << 20, &threads, e)
        || yaml_int(y, yaml_get(y, config, "ngpus"), "config.ngpus", 1,
                    1 << 20, &gpus, e))
        return -1;
    if (yaml_count(y, devices) < 1)
        return yaml_fail(y, config, "config.devices", e, "missing");
    for (int64_t i = 0; i < yaml_count(y, devices); i++) {
        int d = yaml_item(y, devices, i);
        import_rank(s, yaml_text(y, yaml_get(y, d, "hostname")));
        snprintf(s->processor, sizeof s->processor, "%s",
                 yaml_text(y, yaml_get(y, d, "device_info")));
    }
    s->ranks *= threads * gpus; /* one entry a process */
    return 0;
}

static int json_result(struct import_source *s, struct yaml *y, int item,
                       int64_t i, struct error *e)
{
    int out = yaml_get(y, item, "out_of_place");
    double bytes = 0, us = 0, wrong = 0;
    char key[64];

    if (yaml_is_null(y, out))
        out = yaml_get(y, item, "in_place");
    snprintf(key, sizeof key, "results.%d", (int)i);
    if (!yaml_get(y, out, "time"))
        return yaml_fail(y, item, key, e, "no out_of_place.time");
    if (yaml_number(y, yaml_get(y, item, "size"), key, 0, 9e18, &bytes, e)
        || yaml_number(y, yaml_get(y, out, "time"), key, 0, 1e12, &us, e))
        return -1;
    int nwrong = yaml_get(y, out, "nwrong");
    if (!yaml_is_null(y, nwrong)
        && yaml_number(y, nwrong, key, 0, 1e18, &wrong, e))
        return -1;
    if (wrong > 0)
        return yaml_fail(y, item, key, e, "%g wrong values: not a measurement",
                         wrong);
    return import_point(s, bytes, us, e);
}

static int json_results(struct import_source *s, struct yaml *y,
                        struct error *e)
{
    int root = yaml_root(y), args = yaml_get(y, root, "args");
    int results = yaml_get(y, root, "results");
    int64_t code = 0;

    if (yaml_type(y, results) != YAML_LIST || yaml_count(y, args) < 1)
        return yaml_fail(y, root, "results", e, "missing: not what nccl-tests "
                         "-J writes");
    if (yaml_int(y, yaml_get(y, root, "nccl_version"), "nccl_version", 1,
                 1 << 30, &code, e)
        || json_ranks(s, y, yaml_get(y, root, "config"), e)
        || import_kind(s, yaml_text(y, yaml_item(y, args, 0)), e))
        return -1;
    if (code)
        import_nccl_version((long)code, s->versions, sizeof s->versions);
    for (int64_t i = 0; i < yaml_count(y, results); i++)
        if (json_result(s, y, yaml_item(y, results, i), i, e) != 0)
            return -1;
    return 0;
}

/* JSON is YAML. */
int import_nccl_json(struct import_source *s, char *text, size_t size,
                     struct error *e)
{
    struct yaml *y = yaml_parse(s->path, text, size, e);

    if (!y)
        return -1;
    int rc = json_results(s, y, e);
    yaml_destroy(y);
    return rc;
}

/* ---- Text of OSU -------------------------------------------------------- */

/* "# OSU MPI-CUDA Allgather Latency Test v7.4", or of two ranks "# OSU MPI
 * Latency Test v7.4": ours of its sizes are so many times as large. */
static int osu_title(struct import_source *s, char *line, double *times,
                     struct error *e)
{
    char copy[128], *w[WORDS];

    snprintf(copy, sizeof copy, "%s", line);
    int n = split(copy, '\0', w);
    if (n < 6 || strcmp(w[n - 2], "Test") != 0)
        return import_fail(s, e, "which test of OSU's this is is not clear: "
                           "\"%s\"", line);
    if (strcmp(w[n - 3], "Latency") != 0)
        return import_fail(s, e, "\"%s\": times are wanted: osu_latency, or a "
                           "collective", line);
    if (import_kind(s, n > 6 ? w[3] : "send_recv", e) != 0)
        return -1;
    const char *version = w[n - 1] + (*w[n - 1] == 'v');
    snprintf(s->versions, sizeof s->versions, "OSU %s", version);
    s->ranks = s->kind == OF_SEND_RECV ? 2 : s->asked->ranks;
    if (s->ranks < 2)
        return import_fail(s, e, "OSU does not say on how many ranks: "
                           "--ranks");
    *times = s->kind == OF_ALL_GATHER || s->kind == OF_ALL_TO_ALL
        ? (double)s->ranks : 1;
    return 0;
}

int import_osu(struct import_source *s, char *text, size_t size,
               struct error *e)
{
    double times = 0, bytes, us;
    char *line, *words[WORDS];

    (void)size;
    s->hosts = 1;
    snprintf(s->host, sizeof s->host, "%s",
             s->asked->host ? s->asked->host : "");
    while ((line = next_line(&text)) != NULL) {
        s->line++;
        if (strncmp(line, "# OSU ", 6) == 0
            && osu_title(s, line, &times, e) != 0)
            return -1;
        line += strspn(line, " \t");
        if (!isdigit((unsigned char)*line))
            continue;
        if (split(line, '\0', words) < 2 || !is_number(words[0], &bytes)
            || !is_number(words[1], &us))
            return import_fail(s, e, "not a size and a time: \"%s\"", line);
        if (import_point(s, times * bytes, us, e) != 0)
            return -1;
    }
    return 0;
}

/* ---- CSV ---------------------------------------------------------------- */

enum csv_column { CSV_GPU, CSV_LINK, CSV_NODES, CSV_RANKS, CSV_OP, CSV_BYTES,
                  CSV_TIME, CSV_LIBRARY, CSV_VERSION, CSV_COLUMNS };

static int csv_row(struct import_source *s, char **w, struct error *e)
{
    double bytes, us;

    s->ranks = atoll(w[CSV_RANKS]);
    s->hosts = atoll(w[CSV_NODES]);
    if (!is_number(w[CSV_BYTES], &bytes) || !is_number(w[CSV_TIME], &us))
        return import_fail(s, e, "bytes and time_us must be numbers");
    snprintf(s->versions, sizeof s->versions, "NCCL %s", w[CSV_VERSION]);
    return import_kind(s, w[CSV_OP], e) ? -1 : import_point(s, bytes, us, e);
}

/* Rows of nccl-tests only: a table is of one harness. */
int import_csv(struct import_source *s, char *text, size_t size,
               struct error *e)
{
    const char *gpu = s->asked->gpu;
    char *line = next_line(&text), *words[WORDS];

    (void)size;
    for (s->line = 2; (line = next_line(&text)) != NULL; s->line++) {
        int n = split(line, ',', words);
        if (n < CSV_COLUMNS)
            return import_fail(s, e, "%d columns, %d are needed", n,
                               CSV_COLUMNS);
        if (strcmp(words[CSV_LIBRARY], "nccl-tests") != 0
            || (gpu && strcmp(words[CSV_GPU], gpu) != 0))
            continue;
        if (*s->processor && strcmp(s->processor, words[CSV_GPU]) != 0)
            return import_fail(s, e, "of %s, before it of %s: not mixed; "
                               "--gpu chooses", words[CSV_GPU], s->processor);
        snprintf(s->processor, sizeof s->processor, "%s", words[CSV_GPU]);
        snprintf(s->host, sizeof s->host, "%s",
                 s->asked->host ? s->asked->host : words[CSV_GPU]);
        if (csv_row(s, words, e) != 0)
            return -1;
    }
    return 0;
}
