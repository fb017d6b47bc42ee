/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files that read what others measured. */
#ifndef SPAR_IMPORT_INTERNAL_H
#define SPAR_IMPORT_INTERNAL_H

#include "topo/import.h"

/* A file that is being read. */
struct import_source {
    struct import *in;
    const struct import_asked *asked;
    const char *path;
    int line;                   /* 0: none in particular */
    /* Of this file. */
    char host[48], versions[48], processor[96];
    char last_host[48];
    int64_t ranks, hosts, points;
    int kind;                   /* enum collective_kind; -1: not yet known */
};

/* "FILE:LINE: ..."; returns -1. */
int import_fail(const struct import_source *s, struct error *e,
                const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* A rank on that host. */
void import_rank(struct import_source *s, const char *host);
/* `name` as nccl-tests and OSU call it, in any case, up to "_perf"; -1 and *e if
 * it is none of ours. */
int import_kind(struct import_source *s, const char *name, struct error *e);
/* A point of the run of this kind, ranks and hosts. */
int import_point(struct import_source *s, double bytes, double us,
                 struct error *e);
void import_nccl_version(long code, char *text, size_t size);

int import_nccl_text(struct import_source *s, char *text, size_t size,
                     struct error *e);
int import_nccl_json(struct import_source *s, char *text, size_t size,
                     struct error *e);
int import_osu(struct import_source *s, char *text, size_t size,
               struct error *e);
int import_csv(struct import_source *s, char *text, size_t size,
               struct error *e);

#endif
