/* SPDX-License-Identifier: Apache-2.0
 *
 * A what-if as an HDF5 file: a grid of points over named axes, which are the
 * dimension scales of every dataset, so that h5py and xarray open it as
 * labelled arrays. */
#ifndef SPAR_SWEEP_H
#define SPAR_SWEEP_H

#include "base/base.h"

enum { SWEEP_AXES = 8 };
struct sweep_axis {
    const char *name, *unit;    /* "machine.nic.bandwidth", "B/s" */
    int64_t n;
    const double *values;       /* [n]; NULL: it has texts */
    const char *const *texts;   /* [n] as in the scenario */
};

/* The best of each point, row-major over the axes.  Shape of all below:
 * [axis 0, axis 1, ...]; by_strategy one axis more. */
struct sweep {
    const char *scenario_json, *command, *versions;
    const char *how;            /* "closed forms", "simulated" */
    int n_axes;
    struct sweep_axis axes[SWEEP_AXES];
    int64_t n_strategies;
    const char *const *strategies;
    const double *seconds;      /* NaN: nothing fits or applies */
    const double *memory, *sent;        /* bytes of a rank */
    const int32_t *strategy;    /* of `strategies`; -1: none */
    const char *const *options; /* "layout: zigzag, head: 8" */
    const double *by_strategy;  /* s of the best of each; NaN: none */
};
/* The same file guarantees as trace_write(). */
int sweep_write(const char *path, const struct sweep *s, struct error *e);

#endif
