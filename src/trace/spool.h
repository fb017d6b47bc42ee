/* SPDX-License-Identifier: Apache-2.0
 *
 * The two files of a rank's spool, in this machine's byte order. */
#ifndef SPAR_TRACE_SPOOL_H
#define SPAR_TRACE_SPOOL_H

#include "trace/trace.h"

#define SPOOL_SPANS_MAGIC "SPARSPN"
#define SPOOL_STATE_MAGIC "SPARSTA"

enum { SPOOL_VERSION = 1, SPOOL_RING = 64 };

/* First in both files. In rank-N.spans, struct span after struct span follow;
 * a cut last one is ignored. */
struct spool_header {
    char magic[8];
    uint32_t version, record_bytes;
    int32_t rank, ranks;
};

struct spool_slot {
    int32_t entry, repeat, op;  /* op -1: between ops */
    char name[96];
};

/* rank-N.state.  Record i was or is in ring[i % SPOOL_RING]; the records from
 * the last whole one of rank-N.spans up to `total` are there only. */
struct spool_file {
    struct spool_header header;
    char host[64];
    int32_t finished;
    uint32_t current;           /* slot in force */
    struct spool_slot slot[2];
    uint64_t total;             /* records appended */
    struct span ring[SPOOL_RING];
};

#endif
