/* SPDX-License-Identifier: Apache-2.0
 *
 * Seconds of a collective as one: by a measured table, of a library's call or
 * of what the executor does on CPU ranks; of GPUs where nothing was measured by
 * constants like those of NCCL's tuning.
 *
 * Bytes are the payload S as nccl-tests counts it: all-gather the gathered
 * output, reduce-scatter the whole input, all-to-all a rank's whole send
 * buffer (its own part included), all-reduce the buffer, scan a member's
 * records, send_recv the message. */
#ifndef SPAR_COLLECTIVE_H
#define SPAR_COLLECTIVE_H

#include "topo/machine.h"

enum collective_kind { OF_ALL_GATHER, OF_REDUCE_SCATTER, OF_ALL_TO_ALL,
                     OF_ALL_REDUCE, OF_MERGE, OF_SCAN, OF_SEND_RECV,
                     COLLECTIVE_KINDS };
extern const char *const collective_words[];    /* "all_gather", ...; NULL */

/* Where the members of a group are.  Cores share what is between them with
 * other groups: a table is of so many groups at once, each rank on a core of its
 * own. */
struct collective_group {
    int64_t ranks, hosts;       /* hosts 0: some are cores, some GPUs */
    int cores;                  /* they are cores; the rest is of these */
    int64_t groups;             /* like it at once, itself included; 0: not
                                   known, or ranks share cores */
    enum route_class class;     /* the farthest between two of them */
};

/* Up to three affine segments of one op on so many ranks of so many hosts. */
struct collective_table {
    enum collective_kind kind;
    struct collective_group group;      /* of GPUs: one call of a library */
    char host[48], versions[48];        /* that measured; "" unknown */
    int64_t n;
    struct link_segment *segments;
    /* Of measured / fitted to the other sizes, over sizes: P10 and P90. */
    double p10, p90;
};

/* Where the ranks are, for the constants. */
struct collective_path {
    enum route_class class;     /* the farthest between two of them */
    double bandwidth;           /* B/s that each rank has while all send */
    double start;               /* s of a small message */
    double copies;              /* B/s read plus written by a rank; 0: any */
    int reduces;                /* switches that add up: NVLink 4 and later */
};

enum collective_how { COLLECTIVE_TABLE, COLLECTIVE_CONSTANTS,
                      COLLECTIVE_MESSAGES, COLLECTIVE_HOWS };
extern const char *const collective_hows[];     /* by collective_how */

/* Three affine segments through points sorted by bytes (n >= 1), and how far
 * off each size is from what the others say.  t's segments are allocated. */
void collective_fit(struct collective_table *t, const struct link_point *p,
                    int64_t n);
double collective_table_seconds(const struct collective_table *t,
                                int64_t bytes);
/* The machine's own of such a group, of a merge else that of an all-reduce;
 * NULL: none. Library calls: of as many ranks and hosts, if the group is of
 * GPUs or the machine has no cluster. Cores: of a group that is like it in all;
 * without a cluster, where any two are as far apart, of all ranks that
 * measured. */
const struct collective_table *machine_collective(
    const struct machine *m, enum collective_kind kind,
    const struct collective_group *group);
/* Of ranks on these slots of the machine's graph, if it has one; `groups` as
 * above. */
void collective_place(const struct machine *m, const int32_t *slots,
                      int64_t ranks, int64_t groups,
                      struct collective_group *g);
/* The payload, from what the member sends that sends most. */
int64_t collective_payload(enum collective_kind kind, int64_t members,
                           int64_t sent);

void machine_drop_collectives(struct machine *m);

/* T = start b + (steps - 1) h + V / (f B) + what is copied, the least over
 * protocols and algorithms: V the bytes that a rank sends, steps P - 1 (twice
 * for an all-reduce), B 0.68 of the datasheet, and
 *
 *             f     b    h
 *   LL        0.35  1    1.1 us     an all-to-all sends to all at once: h
 *   LL128     0.8   3.1  0          0.8 us, no LL128; LL128 on NVLink only
 *   Simple    1     3.2  0.9 us
 *
 * for an all-reduce also a tree, log2 P steps up and down of 3.75 h at 0.85 f,
 * and with switches that add up 72 us + S / (0.58 of the datasheet).  The form
 * is of NCCL 2.30's tuning (src/graph/tuning.cc), the numbers are fitted to
 * 1,008 rows of nccl-tests on A100, H100, H200 and B200 at once, median error
 * 9 %; fitted without A100, H100 or B200, that machine's is 8, 10 and 9 %. */
double collective_constants(const struct collective_path *path,
                            enum collective_kind op, int64_t ranks,
                            int64_t bytes);

/* P10 and P90 of measured / that, over these rows and those of L40S. */
extern const double constants_spread[2];

/* Of ranks on these slots of the machine's graph; over a network only the class
 * means something. */
void collective_path(const struct machine *m, const int32_t *slots,
                     int64_t ranks, enum collective_kind op,
                     struct collective_path *path);

/* As in a machine file: the line of the key, and an item of its list. */
extern const char collectives_head[];
void machine_write_collective(FILE *out, const struct collective_table *t);

#endif
