/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "base/segment.h"
#include "job/job.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const pass_names[] = { "forward", "forward_backward", "decode",
                                   NULL };
const char *const mask_names[] = { "full", "causal", "window", "star", NULL };
const char *const attention_names[] = { "softmax", "linear", NULL };
const char *const feature_names[] = { "identity", "elu1", "relu", NULL };

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

static int queries_finish(struct job *job, struct error *e)
{
    if (!job->queries)
        job->queries = 1;
    if (job->queries < 1 || job->queries > job->tokens)
        return fail_usage(e, "queries: %lld is not between 1 and the %lld "
                          "tokens", (long long)job->queries,
                          (long long)job->tokens);
    if (job->pass != PASS_DECODE)
        return 0;
    if (job->queries > MAX_QUERIES)
        return fail_usage(e, "queries: %lld is more than %d in decode",
                          (long long)job->queries, MAX_QUERIES);
    if (job->sequences > 1)
        return fail_usage(e, "sequence: decode takes one, not %lld packed",
                          (long long)job->sequences);
    return 0;
}

int job_finish(struct job *job, const int64_t *lengths, int64_t sequences,
               struct error *e)
{
    if (transformer_finish(&job->transformer, e) || mask_finish(&job->mask, e)
        || lengths_finish(job, lengths, sequences, e)
        || queries_finish(job, e)) {
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
    free(job->linear.slopes);
    free(job->pattern);
    job->lengths = job->offsets = NULL;
    job->linear.slopes = NULL;
    job->pattern = NULL;
}

int64_t job_layers(const struct job *job)
{
    return job->pattern ? (int64_t)strlen(job->pattern) : 1;
}

enum attention job_attention(const struct job *job, int64_t layer)
{
    if (!job->pattern)
        return job->attention;
    return job->pattern[layer] == 'L' ? ATTENTION_LINEAR : ATTENTION_SOFTMAX;
}

int64_t job_first_query(const struct job *job)
{
    return job->pass == PASS_DECODE ? job->tokens - job->queries : 0;
}

void alibi_slopes(int64_t heads, double *slopes)
{
    int64_t power = 1;

    while (2 * power <= heads)
        power *= 2;
    for (int64_t h = 0; h < heads; h++)
        slopes[h] = h < power
            ? exp2(-8.0 * (double)(h + 1) / (double)power)
            : exp2(-4.0 * (double)(2 * (h - power) + 1) / (double)power);
}

static int64_t triangle(int64_t n)
{
    return n * (n + 1) / 2;
}

/* Star: a triangle per block of the context, the last one maybe short; of the
 * anchor what is before the block, which is all of it but for the first few
 * blocks; and whole rows for the queries. */
static int64_t star_pairs(const struct job *job)
{
    const struct star *m = &job->star;
    int64_t full = m->context / m->block, rest = m->context % m->block;
    int64_t few = min64(full, ceil_div(m->anchor, m->block));
    int64_t anchors = m->block * triangle(few - 1) + (full - few) * m->anchor;

    return full * triangle(m->block) + triangle(rest) + m->block * anchors
           + rest * min64(m->anchor, full * m->block)
           + triangle(job->tokens) - triangle(m->context);
}

int64_t job_pairs(const struct job *job)
{
    int64_t left = job->mask.left, right = job->mask.right, pairs = 0;

    if (job->mask.kind == MASK_STAR)
        return star_pairs(job);
    if (job->pass == PASS_DECODE) {
        int64_t first = job_first_query(job);
        struct segment s = { 0, job->queries, 0, job->tokens,
                             right < 0 ? BAND_LOW : -right - first,
                             left < 0 ? BAND_HIGH : left - first };
        return segment_pairs(&s);
    }
    for (int64_t i = 0; i < job->sequences; i++) {
        struct segment s = { 0, job->lengths[i], 0, job->lengths[i],
                             right < 0 ? BAND_LOW : -right,
                             left < 0 ? BAND_HIGH : left };
        pairs += segment_pairs(&s);
    }
    return pairs;
}
