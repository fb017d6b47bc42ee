/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/progress.h"
#include "mpi/run_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Reports ------------------------------------------------------------ */

static int compare_ns(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

static void fill_times(struct result_row *row, const struct entry *x)
{
    int64_t repeats = x->repeats;
    int64_t *ns = xcalloc((size_t)repeats, sizeof *ns);

    memcpy(ns, x->repeat_ns, (size_t)repeats * sizeof *ns);
    qsort(ns, (size_t)repeats, sizeof *ns, compare_ns);
    row->min = (double)ns[0] * 1e-9;
    row->median = 0.5e-9 * (double)(ns[(repeats - 1) / 2] + ns[repeats / 2]);
    row->p95 = (double)ns[ceil_div(95 * repeats, 100) - 1] * 1e-9;
    free(ns);
}

static struct result_row describe(const struct session *s, int64_t i)
{
    const struct scenario_strategy *st = &s->scenario->strategies[i];
    const struct entry *x = &s->entries[i];
    struct result_row row = result_unknown();

    row.strategy = st->strategy->name;
    row.asked = st;
    row.reason = x->reason;
    if (x->reason)
        return row;
    row.layout = layout_names[plan_layout(x->plan)];
    row.transport = x->transport;
    row.ranks = s->ranks;
    row.pass = s->scenario->job.pass;
    row.steps = s->scenario->job.decode_steps;
    row.dtype = s->scenario->job.dtype;
    row.has_lse = job_has_lse(&s->scenario->job);
    row.schedule_hash = x->hash;
    fill_times(&row, x);
    row.predicted = x->predicted;
    row.flops = x->flops;
    row.bytes_sent = x->bytes_sent;
    row.bytes_expected = x->bytes_expected;
    row.pairs = x->pairs;
    row.peak_bytes = x->peak_bytes;
    row.work_bytes = x->work_bytes;
    row.attends = x->rehearsal.attends;
    row.left = x->rehearsal.left;
    row.why_left = x->rehearsal.why;
    memcpy(row.error, x->verdict.error, sizeof row.error);
    memcpy(row.gate, x->verdict.gate, sizeof row.gate);
    row.overlap = x->overlap;
    row.passed = x->passed;
    return row;
}

/* The cost of tracing: the traced repeat against the median of the others. */
static void print_notes(const struct session *s, const struct result_row *rows)
{
    int64_t n = s->scenario->n_strategies;

    for (int64_t i = 0; i < n; i++)
        if (!rows[i].reason)
            fprintf(stderr, "%s: the traced repeat took %+.1f %% of the median"
                    "\n", rows[i].strategy, 100
                    * ((double)s->entries[i].spans_ns * 1e-9 / rows[i].median
                       - 1));
    if (s->no_machine)
        fprintf(stderr, "no prediction: %s\n", s->no_machine);
    fprintf(stderr, "trace: %s\n", s->output);
}

/* Results of a layer; of decode those of the queries. */
static struct tensor_results results_of(const struct entry *x, int64_t layer,
                                        const struct job *job)
{
    const struct transformer *t = &job->transformer;
    int64_t first = job_first_query(job) + job->decode_steps;
    const float *of[RESULTS];

    for (int r = 0; r < RESULTS; r++) {
        int64_t row = tensor_heads(job, result_tensors[r])
            * tensor_width(job, result_tensors[r]);
        const float *low = x->results[layer][r].low;
        of[r] = low ? low + first * row : NULL;
    }
    return (struct tensor_results){
        .tokens = job->tokens - job_first_query(job), .heads = t->heads,
        .kv_heads = t->kv_heads, .head_dim = t->head_dim,
        .value_dim = t->value_dim, .o = of[RESULT_O], .lse = of[RESULT_LSE],
        .dq = of[RESULT_DQ], .dk = of[RESULT_DK], .dv = of[RESULT_DV] };
}

/* A group per entry; of a pattern, one per layer in it. */
static int write_tensors(const struct session *s, struct error *e)
{
    const struct job *job = &s->scenario->job;
    int64_t entries = s->scenario->n_strategies, layers = job_layers(job);
    int64_t n = 0;
    struct tensor_results *r = xcalloc((size_t)(entries * layers), sizeof *r);
    char (*groups)[48] = xcalloc((size_t)(entries * layers), sizeof *groups);

    for (int64_t i = 0; i < entries; i++)
        for (int64_t l = 0; l < layers && !s->entries[i].reason; l++) {
            snprintf(groups[n], sizeof *groups, job->pattern ? "/%d/%d" : "/%d",
                     (int)i, (int)l);
            r[n] = results_of(&s->entries[i], l, job);
            r[n].group = groups[n];
            n++;
        }
    int rc = tensor_results_write(s->request->tensors, r, n, e);
    free(r);
    free(groups);
    return rc;
}

/* Rank 0: everything that is written.  The report comes last and comes
 * always. */
static int report(struct session *s)
{
    int64_t n = s->scenario->n_strategies;
    struct result_row *rows = xcalloc((size_t)n, sizeof *rows);
    struct error e[2] = { { 0 } };
    int status = SPAR_OK;

    progress("writing %s", s->output);
    int rc[2] = { trace_assemble(s, &e[0]), 0 };        /* finds overlaps */
    for (int64_t i = 0; i < n; i++) {
        rows[i] = describe(s, i);
        if (!rows[i].reason && !rows[i].passed)
            status = SPAR_FAILED;
    }
    if (s->request->tensors)    /* wrong results replace nothing */
        rc[1] = status ? fail(&e[1], "%s: not written, since the run failed",
                              s->request->tensors)
                       : write_tensors(s, &e[1]);
    progress_end();
    (s->request->json ? results_json : results_text)(stdout, rows, n);
    if (fflush(stdout) || ferror(stdout))
        status = SPAR_FAILED;   /* said when the command ends */
    for (int i = 0; i < 2; i++)
        if (rc[i]) {
            fprintf(stderr, "spar: %s\n", e[i].text);
            status = SPAR_FAILED;
        }
    if (!rc[0])
        print_notes(s, rows);
    free(rows);
    return status;
}

/* ---- The run ------------------------------------------------------------ */

static int set_up(struct session *s)
{
    int status = 0;

    for (int i = 0; run_stages[i] && !status; i++) {
        struct error e = { 0 };
        status = agree(run_stages[i](s, &e), &e, s->comm);
    }
    return status;
}

static int run_entries(struct session *s)
{
    int status = 0;

    clocks_start(s);
    for (int64_t i = 0; i < s->scenario->n_strategies && !status; i++)
        if (s->entries[i].plan)
            status = entry_run(s, i);
    if (!status)
        clocks_end(s);
    return status;
}

/* Every rank's spool is whole, or why not. */
static int close_spool(struct session *s)
{
    struct error e = { 0 };
    int rc = s->spool ? spool_close(s->spool, &e) : 0;

    s->spool = NULL;
    return agree(rc, &e, s->comm);
}

static void session_clear(struct session *s)
{
    references_clear(s);
    for (int64_t i = 0; s->entries && i < s->scenario->n_strategies; i++)
        entry_clear(&s->entries[i]);
    free(s->entries);
    if (s->file)
        tensor_file_destroy(s->file);
    if (s->machine)
        machine_destroy(s->machine);
    if (s->scenario)
        scenario_destroy(s->scenario);
    if (s->sharers != MPI_COMM_NULL)
        MPI_Comm_free(&s->sharers);
    if (s->node != MPI_COMM_NULL)
        MPI_Comm_free(&s->node);
    if (s->comm != MPI_COMM_WORLD)
        MPI_Comm_free(&s->comm);
    records_clear(&s->records);
    free(s->machine_text);
    free(s->no_machine);
    free(s->output);
    free(s->folder);
    free(s->clocks);
    free(s->hosts);
    free(s->slots);
    free(s->places);
}

int run_command(const struct run_request *request)
{
    struct session s = { .request = request, .comm = MPI_COMM_WORLD,
                         .node = MPI_COMM_NULL, .sharers = MPI_COMM_NULL };

    MPI_Comm_rank(s.comm, &s.rank);
    MPI_Comm_size(s.comm, &s.ranks);
    int status = set_up(&s);
    if (!status)
        status = run_entries(&s);
    int spooled = close_spool(&s);
    if (!status) {
        if (s.rank == 0)
            status = report(&s) || spooled ? SPAR_FAILED : SPAR_OK;
        nap_bcast(&status, sizeof status, s.comm);
    }
    if (s.folder_made)
        spool_remove_folder(s.folder);
    session_clear(&s);
    return status;
}
