/* SPDX-License-Identifier: Apache-2.0
 *
 * /clock of a trace file: how the clocks of the ranks were aligned. */
#include <config.h>

#include "trace/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIELDS = 3 };
static const struct {
    const char *name, *units, *meaning;
    size_t offset;              /* in struct trace_clock */
} fields[FIELDS] = {
    { "offset", "ns", "clock of the rank minus that of rank 0, at the start",
      offsetof(struct trace_clock, offset_ns) },
    { "drift", "1e-6", "drift of that difference",
      offsetof(struct trace_clock, drift_ppm) },
    { "residual", "ns", "largest residual of the fit",
      offsetof(struct trace_clock, residual_ns) },
};

int clock_put(hid_t file, const struct trace *t)
{
    double *x = xmalloc((size_t)t->ranks * sizeof *x);
    hid_t g = h5_make_group(file, "clock");
    int rc = g < 0 || h5_put_string(g, "method",
                                    t->simulated ? "simulated" : "ping-pong");

    for (int f = 0; f < FIELDS && !rc; f++) {
        struct h5_dataset d = {
            .name = fields[f].name, .units = fields[f].units,
            .meaning = fields[f].meaning, .memory = H5T_NATIVE_DOUBLE,
            .file = H5T_IEEE_F64LE, .rank = 1, .shape = { (hsize_t)t->ranks },
        };
        for (int32_t r = 0; r < t->ranks; r++)
            memcpy(&x[r], (const char *)&t->clocks[r] + fields[f].offset,
                   sizeof x[r]);
        rc = h5_put_dataset(g, &d, x);
    }
    h5_close_object(g);
    free(x);
    return rc ? -1 : 0;
}

int clock_get(const struct h5_in *in, struct trace *t)
{
    struct trace_clock *clocks = xcalloc((size_t)t->ranks, sizeof *clocks);

    t->clocks = clocks;
    for (int f = 0; f < FIELDS; f++) {
        char path[32];
        int64_t n;
        snprintf(path, sizeof path, "clock/%s", fields[f].name);
        double *x = h5_get_column(in, path, H5T_NATIVE_DOUBLE, sizeof *x, &n);
        if (!x)
            return -1;
        for (int64_t r = 0; r < n && r < t->ranks; r++)
            memcpy((char *)&clocks[r] + fields[f].offset, &x[r], sizeof x[r]);
        free(x);
    }
    return 0;
}
