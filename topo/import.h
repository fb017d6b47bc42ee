/* SPDX-License-Identifier: Apache-2.0
 *
 * Collectives that other programs measured, into tables of a machine: text and
 * JSON (-J) of nccl-tests, text of the OSU micro-benchmarks, and CSV with the
 * columns of scenarios/validation/collectives.csv.  Bytes become the payload
 * of topo/collective.h, times those of the out-of-place column. */
#ifndef SPAR_IMPORT_H
#define SPAR_IMPORT_H

#include "topo/collective.h"

/* One op on so many ranks. */
struct import_run {
    enum collective_kind kind;
    int64_t ranks, hosts;
    int64_t n, cap;
    struct link_point *points;  /* by bytes, once each: the fastest */
};
struct import {
    /* Of the files; "" not said. All files are of the same. */
    char host[48];              /* the first */
    char versions[48];
    char processor[96];
    int64_t n, cap;
    struct import_run *runs;
};

/* What a file does not say. */
struct import_asked {
    int64_t ranks;              /* of OSU's text; 0: not given */
    const char *op;             /* of text of an old nccl-tests; NULL */
    const char *host;           /* of OSU's text and of CSV; NULL */
    const char *gpu;            /* rows of CSV to take; NULL: the only one */
};

/* Adds the runs of a file. 0, or -1 and *e: FILE:LINE: what is wrong. */
int import_file(struct import *in, const char *path, char *text, size_t size,
                const struct import_asked *asked, struct error *e);
/* Into m's tables, in place of those of the same op, ranks and hosts; from one
 * of send_recv also m's link, if it has none.  -1 and *e: m has tables of
 * another host or other versions. */
int import_into(const struct import *in, struct machine *m, struct error *e);
void import_clear(struct import *in);

#endif
