/* SPDX-License-Identifier: Apache-2.0
 *
 * The trace file: what only a simulation knows. */
#include <config.h>

#include "trace/file.h"
#include "trace/h5.h"

#include <stddef.h>
#include <stdlib.h>

struct real_column {
    const char *name, *units, *meaning;
    size_t offset;
};

static int put_real(hid_t at, const struct real_column *c,
                    const struct trace_link *links, int64_t n)
{
    struct h5_dataset d = {
        .name = c->name, .units = c->units, .meaning = c->meaning,
        .memory = H5T_NATIVE_DOUBLE, .file = H5T_IEEE_F64LE, .rank = 1,
        .shape = { (hsize_t)n },
    };
    double *column = xcalloc((size_t)n + 1, sizeof *column);

    for (int64_t i = 0; i < n; i++)
        column[i] = *(const double *)((const char *)&links[i] + c->offset);
    int rc = h5_put_dataset(at, &d, column);
    free(column);
    return rc;
}

static int put_names(hid_t at, const char *name, const struct trace_link *links,
                     int64_t n, size_t offset)
{
    const char **column = xcalloc((size_t)n + 1, sizeof *column);

    for (int64_t i = 0; i < n; i++)
        column[i] = (const char *)&links[i] + offset;
    int rc = h5_put_string_column(at, name, column, n);
    free(column);
    return rc;
}

int trace_put_links(hid_t entry, const struct trace_entry *x)
{
    static const struct real_column columns[] = {
        { "capacity", "B/s", "bandwidth", offsetof(struct trace_link,
                                                   capacity) },
        { "bytes", "B", "all that went over it", offsetof(struct trace_link,
                                                          bytes) },
        { "busy", "s", "time when anything did", offsetof(struct trace_link,
                                                          busy) },
        { "peak", "1", "largest part of the bandwidth in use",
          offsetof(struct trace_link, peak) },
    };

    if (x->n_links == 0)
        return 0;
    hid_t g = h5_make_group(entry, "links");
    int rc = g < 0 ? -1
        : put_names(g, "kind", x->links, x->n_links,
                    offsetof(struct trace_link, kind))
        || put_names(g, "from", x->links, x->n_links,
                     offsetof(struct trace_link, from))
        || put_names(g, "to", x->links, x->n_links,
                     offsetof(struct trace_link, to));
    for (size_t i = 0; i < sizeof columns / sizeof *columns && !rc; i++)
        rc = put_real(g, &columns[i], x->links, x->n_links);
    h5_close_object(g);
    return rc ? -1 : 0;
}

int trace_put_memory(hid_t entry, const struct trace_entry *x)
{
    int64_t n = x->n_memory;

    if (n == 0)
        return 0;
    hid_t g = h5_make_group(entry, "memory");
    int64_t *column = xcalloc((size_t)n, sizeof *column);
    struct h5_dataset d = { .memory = H5T_NATIVE_INT64, .file = H5T_STD_I64LE,
                            .rank = 1, .shape = { (hsize_t)n },
                            .chunk = 64 * 1024 };
    int rc = g < 0 ? -1 : 0;

    for (int k = 0; k < 3 && !rc; k++) {
        for (int64_t i = 0; i < n; i++)
            column[i] = k == 0 ? x->memory[i].rank : k == 1
                ? x->memory[i].time : x->memory[i].bytes;
        d.name = k == 0 ? "rank" : k == 1 ? "time" : "bytes";
        d.units = k == 0 ? "1" : k == 1 ? "ns" : "B";
        d.meaning = k == 0 ? "rank" : k == 1 ? "since the repeat began"
            : "of buffers from then on";
        rc = h5_put_dataset(g, &d, column);
    }
    free(column);
    h5_close_object(g);
    return rc;
}
