/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "base/segment.h"
#include "job/job.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const pass_names[] = { "forward", "forward_backward", NULL };
const char *const mask_names[] = { "full", "causal", "window", NULL };

enum { MAX_HEADS = 1 << 20 };
static const int64_t max_tokens = (int64_t)1 << 40;

static int transformer_finish(struct transformer *t, struct error *e)
{
    if (!t->kv_heads)
        t->kv_heads = t->heads;
    if (!t->value_dim)
        t->value_dim = t->head_dim;
    const struct {
        const char *key;
        int64_t value;
    } sizes[] = { { "heads", t->heads }, { "kv_heads", t->kv_heads },
                  { "head_dim", t->head_dim }, { "value_dim", t->value_dim } };
    for (int i = 0; i < 4; i++)
        if (sizes[i].value < 1 || sizes[i].value > MAX_HEADS)
            return fail_usage(e, "%s: %lld is not between 1 and %d",
                              sizes[i].key, (long long)sizes[i].value,
                              MAX_HEADS);
    if (t->heads % t->kv_heads)
        return fail_usage(e, "heads: %lld is not a multiple of kv_heads %lld",
                          (long long)t->heads, (long long)t->kv_heads);
    return 0;
}

static int mask_finish(struct mask *m, struct error *e)
{
    if (m->kind == MASK_FULL || m->kind == MASK_CAUSAL) {
        m->left = -1;
        m->right = m->kind == MASK_CAUSAL ? 0 : -1;
    }
    if (m->left < -1 || m->right < -1)
        return fail_usage(e, "mask: window [%lld, %lld]: bounds are >= 0, or "
                          "-1 for none", (long long)m->left,
                          (long long)m->right);
    return 0;
}

static int lengths_finish(struct job *job, const int64_t *lengths, int64_t n,
                          struct error *e)
{
    if (n < 1)
        return fail_usage(e, "sequence: there is no sequence");
    job->sequences = n;
    job->lengths = xcalloc((size_t)n, sizeof *lengths);
    job->offsets = xcalloc((size_t)n + 1, sizeof *lengths);
    for (int64_t i = 0; i < n; i++) {
        if (lengths[i] < 0 || lengths[i] > max_tokens)
            return fail_usage(e, "sequence: %lld tokens is not between 0 and "
                              "%lld", (long long)lengths[i],
                              (long long)max_tokens);
        job->lengths[i] = lengths[i];
        job->offsets[i + 1] = job->offsets[i] + lengths[i];
    }
    job->tokens = job->offsets[n];
    if (job->tokens < 1 || job->tokens > max_tokens)
        return fail_usage(e, "sequence: %lld tokens in all is not between 1 "
                          "and %lld", (long long)job->tokens,
                          (long long)max_tokens);
    return 0;
}

int job_finish(struct job *job, const int64_t *lengths, int64_t sequences,
               struct error *e)
{
    if (transformer_finish(&job->transformer, e) || mask_finish(&job->mask, e)
        || lengths_finish(job, lengths, sequences, e)) {
        job_clear(job);
        return -1;
    }
    if (job->scale == 0)
        job->scale = 1 / sqrt((double)job->transformer.head_dim);
    return 0;
}

void job_clear(struct job *job)
{
    free(job->lengths);
    free(job->offsets);
    job->lengths = job->offsets = NULL;
}

int64_t job_pairs(const struct job *job)
{
    int64_t left = job->mask.left, right = job->mask.right, pairs = 0;

    for (int64_t i = 0; i < job->sequences; i++) {
        struct segment s = { 0, job->lengths[i], 0, job->lengths[i],
                             right < 0 ? BAND_LOW : -right,
                             left < 0 ? BAND_HIGH : left };
        pairs += segment_pairs(&s);
    }
    return pairs;
}
