/* SPDX-License-Identifier: Apache-2.0
 *
 * Verification against the fp64 oracle: the errors and gates of interface.md,
 * section 4. */
#ifndef SPAR_VERIFY_H
#define SPAR_VERIFY_H

#include "job/job.h"
#include "kernel/kernel.h"
#include "run/memory.h"

enum verify_mode { VERIFY_FULL, VERIFY_SAMPLED, VERIFY_NONE };
enum result { RESULT_O, RESULT_LSE, RESULT_DQ, RESULT_DK, RESULT_DV, RESULTS };
extern const char *const result_names[];    /* o lse dq dk dv; NULL last */
extern const enum tensor_name result_tensors[RESULTS];

/* Reference of one layer of a job as its plan understands it (plan_job()): the
 * oracle's tensors and the gates, computed once and used for every strategy of
 * the same job.  `job` is borrowed and outlives it.  The oracle reads inputs
 * rounded to the job's dtype. */
struct verify;
/* `row` gives the inputs; in decode it is asked for q of the queries only.
 * Sampled: rows and keys drawn with `seed`, one from each of as many equal
 * stretches of the tokens as the work allows, of star's queries apart; softmax's
 * dk and dv only where their cost, quadratic in the length, is bearable. */
struct verify *verify_create(const struct job *job, int64_t layer,
                             enum verify_mode mode, row_fn row, void *arg,
                             uint64_t seed);
void verify_destroy(struct verify *v);
/* Memory that verify_create() takes at most, about. */
size_t verify_bytes(const struct job *job, int64_t layer,
                    enum verify_mode mode);

struct verdict {
    double error[RESULTS], gate[RESULTS];   /* NaN: not computed */
    int passed;         /* every error <= gate, nothing NaN, something compared
                           that is not zero everywhere */
    int64_t compared;   /* elements */
};
/* `results`: global fp32 arrays [tokens, heads, width] by enum result; NULL
 * where the pass has none (linear attention: no lse).  Of a decode step only the
 * rows of the queries are looked at. */
void verify_results(const struct verify *v, const float *const results[],
                    struct verdict *verdict);

#endif
