/* SPDX-License-Identifier: Apache-2.0
 *
 * What is asked: the attention problem, free of ranks, strategy and machine.
 * Plain numbers, filled by the scenario reader or by a test; immutable once
 * job_finish() has accepted it. */
#ifndef SPAR_JOB_H
#define SPAR_JOB_H

#include "base/base.h"

enum pass { PASS_FORWARD, PASS_FORWARD_BACKWARD, PASSES };
enum mask_kind { MASK_FULL, MASK_CAUSAL, MASK_WINDOW, MASKS };

extern const char *const pass_names[];      /* NULL-terminated, by enum pass */
extern const char *const mask_names[];      /* by enum mask_kind */

/* Query i sees key j of its own sequence iff i - left <= j <= i + right; -1 is
 * no bound.  Full is (-1, -1), causal (-1, 0): job_finish() sets these. */
struct mask {
    enum mask_kind kind;
    int64_t left, right;
};

/* Shape of a transformer layer; counts, not bytes.  Only the first four enter
 * attention; the others are 0 where unknown. */
struct transformer {
    char name[64];
    int64_t heads, kv_heads, head_dim, value_dim;
    int64_t layers, hidden, ffn, vocab;
};

struct job {
    struct transformer transformer;
    int64_t sequences;          /* packed sequences, >= 1 */
    int64_t *lengths;           /* [sequences] tokens, owned */
    int64_t *offsets;           /* [sequences + 1] packed axis, owned */
    int64_t tokens;             /* offsets[sequences] */
    struct mask mask;
    enum pass pass;
    enum dtype dtype;           /* of Q, K, V, O, dO and final gradients */
    enum dtype wire_grad;       /* of travelling gradients */
    enum dtype wire_partial;    /* of travelling partial O */
    double scale;               /* softmax scale; 0 = 1/sqrt(head_dim) */
};

/* Take the lengths (copied), set what follows from other fields (offsets,
 * tokens, mask bounds, scale, value_dim, kv_heads) and refuse what makes no
 * sense: heads not a multiple of kv_heads, sizes < 1 or absurd (> 2^40 tokens,
 * > 2^20 heads or head size), bad window.  0 or -1. */
int job_finish(struct job *job, const int64_t *lengths, int64_t sequences,
               struct error *e);
void job_clear(struct job *job);            /* frees what job_finish made */

/* Query heads per KV head. */
static inline int64_t job_group(const struct job *job)
{
    return job->transformer.heads / job->transformer.kv_heads;
}

/* Visible (query, key) pairs of one head, all sequences. */
int64_t job_pairs(const struct job *job);

#endif
