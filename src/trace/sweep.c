/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "trace/sweep.h"

#include "trace/h5.h"

#include <time.h>

static int put_axis(hid_t at, const struct sweep_axis *x)
{
    struct h5_dataset d = { .name = x->name, .units = x->unit,
                            .memory = H5T_NATIVE_DOUBLE,
                            .file = H5T_IEEE_F64LE, .rank = 1,
                            .shape = { (hsize_t)x->n } };

    return x->values ? h5_put_dataset(at, &d, x->values)
                     : h5_put_string_column(at, x->name, x->texts, x->n);
}

/* The axes, and the names of strategies as one more; opened as scales. */
static int put_axes(hid_t at, const struct sweep *s, hid_t *scales)
{
    for (int i = 0; i < s->n_axes; i++)
        if (put_axis(at, &s->axes[i])
            || (scales[i] = h5_make_scale(at, s->axes[i].name,
                                          s->axes[i].name)) < 0)
            return -1;
    if (h5_put_string_column(at, "strategies", s->strategies,
                             s->n_strategies))
        return -1;
    scales[s->n_axes] = h5_make_scale(at, "strategies", "strategies");
    return scales[s->n_axes] < 0 ? -1 : 0;
}

/* d over the axes, and d.rank more. */
static struct h5_dataset over_axes(const struct sweep *s, const hid_t *scales,
                                   struct h5_dataset d)
{
    for (int i = 0; i < s->n_axes; i++)
        d.shape[i] = (hsize_t)s->axes[i].n;
    d.shape[s->n_axes] = (hsize_t)s->n_strategies;
    d.rank += s->n_axes;
    d.scales = scales;
    return d;
}

static int put_grids(hid_t at, const struct sweep *s, const hid_t *scales)
{
    const hid_t real = H5T_NATIVE_DOUBLE, f64 = H5T_IEEE_F64LE;
    const struct {
        struct h5_dataset d;
        const void *data;
    } grids[] = {
        { { .name = "seconds", .units = "s", .memory = real, .file = f64,
            .meaning = "time of the best candidate, NaN: nothing fits" },
          s->seconds },
        { { .name = "memory", .units = "B", .memory = real, .file = f64,
            .meaning = "bytes of a rank's buffers, of the best" }, s->memory },
        { { .name = "sent", .units = "B", .memory = real, .file = f64,
            .meaning = "bytes that leave a rank, of the best" }, s->sent },
        { { .name = "strategy", .units = "1", .memory = H5T_NATIVE_INT32,
            .file = H5T_STD_I32LE,
            .meaning = "index into strategies, -1: nothing fits" },
          s->strategy },
        { { .name = "by_strategy", .units = "s", .memory = real, .file = f64,
            .rank = 1, .meaning = "time of the best of each strategy" },
          s->by_strategy },
    };

    struct h5_dataset options = { .name = "options",
                                  .meaning = "of the best, as in a scenario" };

    for (size_t i = 0; i < sizeof grids / sizeof *grids; i++) {
        struct h5_dataset d = over_axes(s, scales, grids[i].d);
        if (h5_put_dataset(at, &d, grids[i].data))
            return -1;
    }
    return h5_put_string_grid(at, over_axes(s, scales, options), s->options);
}

static int put_sweep(hid_t file, const struct sweep *s)
{
    hid_t scales[SWEEP_AXES + 1], at = h5_make_group(file, "sweep");

    for (int i = 0; i <= SWEEP_AXES; i++)
        scales[i] = -1;
    int rc = at < 0 || put_axes(at, s, scales) || put_grids(at, s, scales)
        || h5_put_string(at, "signal", "seconds") ? -1 : 0;
    for (int i = 0; i <= s->n_axes; i++)
        h5_close_object(scales[i]);
    h5_close_object(at);
    return rc;
}

static int put_origin(hid_t file, const struct sweep *s)
{
    char created[32];
    time_t now = time(NULL);

    strftime(created, sizeof created, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
    return h5_put_string(file, "Conventions", "spar-sweep")
        || h5_put_string(file, "title", "what-if")
        || h5_put_string(file, "history", s->command)
        || h5_put_string(file, "created", created)
        || h5_put_string(file, "versions", s->versions)
        || h5_put_string(file, "scenario", s->scenario_json)
        || h5_put_string(file, "time_base", s->how) ? -1 : 0;
}

int sweep_write(const char *path, const struct sweep *s, struct error *e)
{
    uint8_t complete = 1;
    hid_t file = h5_create();
    int bad = file < 0 || put_origin(file, s) || put_sweep(file, s)
        || h5_put_number(file, "complete", H5T_NATIVE_UINT8, &complete);

    return h5_save(file, bad, path, e);
}
