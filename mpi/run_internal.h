/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of the engine of `spar run`. */
#ifndef SPAR_RUN_INTERNAL_H
#define SPAR_RUN_INTERNAL_H

#include "cli/planned.h"
#include "cli/records.h"
#include "cli/report.h"
#include "cli/scenario.h"
#include "mpi/execute.h"
#include "mpi/run.h"
#include "run/compute.h"
#include "topo/machine.h"
#include "topo/slots.h"

/* A result on rank 0: fp32 [tokens, heads, width]; of a decode step, the rows
 * of its queries.  Where ranks hold replicas, `low` and `high` are the least
 * and the largest of what they hold, NaN if one of them is: that verifies all
 * of them.  Else `high` is NULL. */
struct collected {
    float *low, *high;
};

/* One entry of `strategies`. Arrays: [ranks], on rank 0. */
struct entry {
    struct plan *plan;          /* NULL: does not apply */
    char *reason;               /* why not */
    uint64_t hash;              /* of all ranks' schedules */
    char transport[16];
    int64_t *bytes_sent, *bytes_expected, *pairs, *peak_bytes;
    int64_t *work_bytes;        /* NULL: on the host */
    struct rehearsal rehearsal; /* of this rank, on a device */
    double flops;               /* of all ranks */
    int64_t repeats;            /* timed; in a decode session its steps */
    int64_t *repeat_ns;         /* [repeats] max over ranks */
    int64_t spans_ns;           /* of the traced repeat */
    struct trace_entry trace;   /* rank 0; without the times */
    double predicted, overlap;  /* s; NaN: unknown */
    struct verdict verdict;     /* the worst of layers, replicas, steps */
    int64_t layers;
    struct collected (*results)[RESULTS];       /* [layers]; kept for
                                                   --output-tensors */
    int passed;
};

/* What a job's results are verified against; made once. */
struct reference {
    struct job job;             /* as one or more plans understand it */
    enum attention attention;   /* of its layer */
    struct verify *verify;
    struct reference *next;
};

struct session {
    const struct run_request *request;
    MPI_Comm comm, node;        /* node: ranks that share memory */
    int rank, ranks, node_rank, node_ranks;
    int near_zero;              /* shares a node with rank 0 */
    struct slot_view view;      /* the devices that this rank sees */
    struct slot_device near;    /* what is near the one that it works on */
    struct device_facts facts;  /* of that one */
    MPI_Comm sharers;           /* ranks of the node that work on it */
    int sharing;                /* how many */
    int bound;                  /* to cores, by this program */
    char slot[80];              /* where it works, for the trace */
    struct scenario *scenario;
    struct tensor_file *file;   /* input tensors; NULL: seeded */
    uint64_t seed;
    const struct kernel_backend *kernel;
    struct machine *machine;    /* NULL: no prediction */
    char *machine_text, *no_machine;    /* why there is none */
    char *output, *folder;      /* trace; spool */
    int folder_made;            /* by me, rank 0 */
    struct spool *spool;
    struct trace_clock *clocks; /* [ranks] */
    char (*hosts)[64];          /* [ranks], rank 0 */
    char (*slots)[80];          /* [ranks], rank 0: where each works */
    char (*places)[256];        /* [ranks], rank 0: and where its node hangs, as
                                   Slurm tells; "" unknown */
    int64_t clock_start;        /* ns */
    struct reference *references;       /* rank 0 */
    struct records records;     /* rank 0 */
    struct entry *entries;      /* [scenario->n_strategies] */
};

/* ---- Set-up (run_setup.c): each stage ends in agreement ----------------- */
typedef int (*stage_fn)(struct session *s, struct error *e);
extern const stage_fn run_stages[];     /* NULL last */

/* Where ranks work (run_place.c). */
int renumber(struct session *s, struct error *e);
int join_node(struct session *s, struct error *e);
int see_devices(struct session *s, struct error *e);
int open_device(struct session *s, struct error *e);
int share_device(struct session *s, struct error *e);
int gather_places(struct session *s, struct error *e);

/* ---- Input -------------------------------------------------------------- */
/* The job's input tensors by row; arg: the session. */
void input_row(void *arg, enum tensor_name tensor, int64_t token,
               int64_t head, int64_t width, float *out);

/* Where the kernels work. */
static inline const struct device *session_device(const struct session *s)
{
    return s->kernel->device ? s->kernel->device : &device_host;
}

/* ---- One entry (run_entry.c) -------------------------------------------- */
/* Runs and verifies it. Collective; 0, or the status after a message. */
int entry_run(struct session *s, int64_t index);
void entry_clear(struct entry *x);

/* ---- Limits (run_limits.c) ---------------------------------------------- */
/* Room for this rank's schedule, for verification on rank 0, and for the other
 * ranks of the node and of the device?  Collective on the node. */
int memory_fits(const struct session *s, const struct schedule *schedule,
                struct error *e);
/* Rank 0, once the repeats are over: 1 if no rank sent other bytes than it had
 * to, or was faster than its device can be; else a message. Collective. */
int limits_hold(const struct session *s, const struct entry *x,
                const char *name, const struct schedule *schedule,
                int64_t sent, const char *transport);

/* ---- Collecting (collect.c) --------------------------------------------- */
/* Output `tensor` of a layer from all ranks to rank 0; what nobody wrote is
 * NaN. Collective. */
void collect_tensor(const struct memory *m, enum tensor_name tensor,
                    int64_t layer, const struct collected *c, MPI_Comm comm);

/* ---- Verification (run_verify.c) ---------------------------------------- */
/* Room for the results of an entry, on rank 0. */
void results_open(struct entry *x, const struct schedule *s);
void results_close(struct entry *x);
/* Results of all ranks to rank 0. Collective. */
void results_collect(const struct entry *x, const struct memory *m,
                     MPI_Comm comm);
/* Rank 0: what was collected into the entry's verdict. */
void results_verify(struct session *s, struct entry *x,
                    const struct memory *m);
struct verdict verdict_open(void);      /* of nothing yet: passed */
/* Bytes that rank 0 takes to collect and verify. */
int64_t verify_needs(const struct session *s, const struct schedule *schedule);
void references_clear(struct session *s);

/* ---- Clocks (clocks.c) -------------------------------------------------- */
/* Offsets of all ranks' clocks to rank 0's; at the end, their drift. */
void clocks_start(struct session *s);
void clocks_end(struct session *s);
/* This moment of rank 0's clock, on mine. Collective. */
int64_t clocks_zero(const struct session *s);

/* ---- The trace (run_trace.c), rank 0 ------------------------------------ */
/* What the trace says about the ops of an entry; also the prediction. */
void entry_describe(struct session *s, int64_t index);
/* Spans of the spool into a file, overlaps into the entries. */
int trace_assemble(struct session *s, struct error *e);

#endif
