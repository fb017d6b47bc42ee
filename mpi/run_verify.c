/* SPDX-License-Identifier: Apache-2.0
 *
 * Results of an entry on rank 0, against the oracle: all layers, all replicas,
 * all steps of a decode session. */
#include <config.h>

#include "mpi/run_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Results ------------------------------------------------------------ */

static int has_result(const struct job *job, int64_t layer, int r)
{
    if (r == RESULT_LSE)
        return job_attention(job, layer) == ATTENTION_SOFTMAX;
    return r == RESULT_O || job_has_backward(job);
}

static int64_t row_elements(const struct job *job, int r)
{
    return tensor_heads(job, result_tensors[r])
        * tensor_width(job, result_tensors[r]);
}

static int has_replicas(const struct schedule *s)
{
    for (int64_t i = 0; i < s->n_buffers; i++)
        if (s->buffers[i].replicated)
            return 1;
    return 0;
}

void results_open(struct entry *x, const struct schedule *s)
{
    const struct job *job = s->job;

    x->layers = job_layers(job);
    x->results = xcalloc((size_t)x->layers, sizeof *x->results);
    for (int64_t l = 0; s->rank == 0 && l < x->layers; l++)
        for (int r = 0; r < RESULTS; r++) {
            size_t bytes = (size_t)(job->tokens * row_elements(job, r))
                * sizeof(float);
            if (!has_result(job, l, r))
                continue;
            x->results[l][r].low = xmalloc(bytes);
            if (has_replicas(s))
                x->results[l][r].high = xmalloc(bytes);
        }
}

void results_close(struct entry *x)
{
    for (int64_t l = 0; x->results && l < x->layers; l++)
        for (int r = 0; r < RESULTS; r++) {
            free(x->results[l][r].low);
            free(x->results[l][r].high);
        }
    free(x->results);
    x->results = NULL;
}

void results_collect(const struct entry *x, const struct memory *m,
                     MPI_Comm comm)
{
    for (int64_t l = 0; l < x->layers; l++)
        for (int r = 0; r < RESULTS; r++)
            if (has_result(m->schedule->job, l, r))
                collect_tensor(m, result_tensors[r], l, &x->results[l][r],
                               comm);
}

/* Of a decode step only the queries are written. */
static int64_t results_bytes(const struct schedule *s)
{
    const struct job *job = s->job;
    int64_t rows = job->tokens - job_first_query(job), elements = 0;

    for (int64_t l = 0; l < job_layers(job); l++)
        for (int r = 0; r < RESULTS; r++)
            if (has_result(job, l, r))
                elements += rows * row_elements(job, r);
    return elements * (int64_t)sizeof(float) * (has_replicas(s) ? 2 : 1);
}

/* ---- References --------------------------------------------------------- */

/* Of what the jobs of one scenario differ in. */
static int same_job(const struct job *a, const struct job *b)
{
    return a->tokens == b->tokens && a->queries == b->queries
        && a->mask.kind == b->mask.kind && a->mask.left == b->mask.left
        && a->mask.right == b->mask.right
        && memcmp(&a->star, &b->star, sizeof a->star) == 0;
}

static struct reference *find_reference(const struct session *s,
                                        const struct job *job,
                                        enum attention attention)
{
    struct reference *r = s->references;

    while (r && !(r->attention == attention && same_job(&r->job, job)))
        r = r->next;
    return r;
}

/* All layers of one kind of attention read the same inputs. */
static const struct verify *reference_of(struct session *s,
                                         const struct job *job, int64_t layer)
{
    enum attention attention = job_attention(job, layer);
    struct reference *r = find_reference(s, job, attention);

    if (r)
        return r->verify;
    if (job->decode_steps)      /* one a step would fill the memory */
        references_clear(s);
    r = xcalloc(1, sizeof *r);
    *r = (struct reference){ .job = *job, .attention = attention,
                             .next = s->references };
    if (job->pass == PASS_DECODE) {     /* its length is that of one step */
        r->job.lengths = memcpy(xmalloc(sizeof(int64_t)), job->lengths,
                                sizeof(int64_t));
        r->job.offsets = memcpy(xmalloc(2 * sizeof(int64_t)), job->offsets,
                                2 * sizeof(int64_t));
    }
    r->verify = verify_create(&r->job, layer, s->scenario->verify, input_row,
                              s, (uint64_t)s->scenario->seed);
    s->references = r;
    return r->verify;
}

void references_clear(struct session *s)
{
    while (s->references) {
        struct reference *r = s->references;
        s->references = r->next;
        verify_destroy(r->verify);
        if (r->job.pass == PASS_DECODE) {
            free(r->job.lengths);
            free(r->job.offsets);
        }
        free(r);
    }
}

int64_t verify_needs(const struct session *s, const struct schedule *schedule)
{
    const struct job *job = schedule->job;
    int64_t bytes = results_bytes(schedule), most = 0;

    if (s->scenario->verify == VERIFY_NONE)
        return s->request->tensors ? bytes : 0;
    for (int64_t l = 0; l < job_layers(job); l++)
        if (!find_reference(s, job, job_attention(job, l)))
            most = max64(most, (int64_t)verify_bytes(job, l,
                                                     s->scenario->verify));
    return bytes + most;
}

/* ---- Verdicts ----------------------------------------------------------- */

struct verdict verdict_open(void)
{
    struct verdict v = { .passed = 1 };

    for (int r = 0; r < RESULTS; r++)
        v.error[r] = v.gate[r] = NAN;
    return v;
}

/* Of each tensor, the error that comes nearest to its gate, or passes it. */
static void add_verdict(struct verdict *all, const struct verdict *v)
{
    for (int r = 0; r < RESULTS; r++) {
        if (isnan(v->gate[r]))
            continue;
        if (isnan(all->gate[r]) || isnan(v->error[r])
            || v->error[r] / v->gate[r] > all->error[r] / all->gate[r]) {
            all->error[r] = v->error[r];
            all->gate[r] = v->gate[r];
        }
    }
    all->compared += v->compared;
    all->passed = all->passed && v->passed;
}

static void verify_side(const struct verify *v,
                        const struct collected results[RESULTS], int high,
                        struct verdict *all)
{
    const float *x[RESULTS];
    struct verdict mine;

    for (int r = 0; r < RESULTS; r++)
        x[r] = high ? results[r].high : results[r].low;
    verify_results(v, x, &mine);
    add_verdict(all, &mine);
}

void results_verify(struct session *s, struct entry *x,
                    const struct memory *m)
{
    struct job job = *m->schedule->job;
    int64_t offsets[2] = { 0, m->live };

    if (m->live) {
        job.tokens = m->live;
        job.lengths = &offsets[1];
        job.offsets = offsets;
    }
    for (int64_t l = 0; l < x->layers; l++) {
        const struct verify *v = reference_of(s, &job, l);
        verify_side(v, x->results[l], 0, &x->verdict);
        if (x->results[l][RESULT_O].high)
            verify_side(v, x->results[l], 1, &x->verdict);
    }
}
