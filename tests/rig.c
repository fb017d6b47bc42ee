/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "rig.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

uint64_t rig_seed = 7;

void trial_text(const struct trial *t, char *text, size_t size)
{
    snprintf(text, size, "%s %s/%d mask %s(%d, %d) %s %s%s ranks %d length %d "
             "(%d) heads %d/%d size %d/%d %s wire %s", t->strategy,
             layout_names[t->options.layout], (int)t->options.block,
             mask_names[t->mask.kind], (int)t->mask.left, (int)t->mask.right,
             pass_names[t->pass], attention_names[t->attention],
             t->slopes ? " with decay" : "", t->ranks, (int)t->lengths[0],
             (int)t->sequences, (int)t->heads, (int)t->kv_heads,
             (int)t->head_dim, (int)t->value_dim, dtype_name(t->dtype),
             dtype_name(t->wire_grad));
}

struct job trial_job(const struct trial *t)
{
    struct job job = {
        .transformer = { .heads = t->heads, .kv_heads = t->kv_heads,
                         .head_dim = t->head_dim, .value_dim = t->value_dim },
        .mask = t->mask, .pass = t->pass, .dtype = t->dtype,
        .wire_grad = t->wire_grad, .wire_partial = t->wire_partial,
        .attention = t->attention, .linear = { .feature = t->feature },
        .queries = t->queries,
    };
    struct error e = { 0 };

    if (t->slopes) {
        size_t bytes = (size_t)t->heads * sizeof *t->slopes;
        job.linear.slopes = xmalloc(bytes);
        memcpy(job.linear.slopes, t->slopes, bytes);
    }
    if (t->pattern) {
        job.pattern = xmalloc(strlen(t->pattern) + 1);
        memcpy(job.pattern, t->pattern, strlen(t->pattern) + 1);
    }
    if (job_finish(&job, t->lengths, t->sequences ? t->sequences : 1, &e))
        fail_msg("%s", e.text);
    return job;
}

int rig_create(struct rig *g, const struct trial *t)
{
    struct error e = { 0 };

    *g = (struct rig){ .trial = *t };
    g->job = trial_job(t);
    g->kernel = kernel_find(t->kernel ? t->kernel : "auto", &e);
    assert_non_null(g->kernel);
    g->plan = plan_create(&g->job, t->custom ? t->custom
                          : strategy_find(t->strategy), &t->options, t->ranks,
                          &g->why);
    if (!g->plan) {
        job_clear(&g->job);
        return 0;
    }
    g->schedules = xcalloc((size_t)t->ranks, sizeof *g->schedules);
    for (int32_t r = 0; r < t->ranks; r++)
        g->schedules[r] = plan_build(g->plan, r);
    for (int32_t r = 0; t->lower && r < t->ranks; r++) {
        struct schedule *logical = g->schedules[r];
        g->schedules[r] = schedule_lower(logical, t->lower, t->near);
        schedule_destroy(logical);
    }
    return 1;
}

void rig_load(struct rig *g)
{
    struct error e = { 0 };

    if (loopback_create_on(&g->loop,
                           (const struct schedule *const *)g->schedules,
                           g->trial.ranks,
                           g->kernel->device ? g->kernel->device : &device_host,
                           &e))
        fail_msg("%s", e.text);
    for (int32_t r = 0; r < g->trial.ranks; r++)
        memory_load(&g->loop.memories[r],
                    g->trial.row ? g->trial.row : input_seeded, &rig_seed);
}

void rig_destroy(struct rig *g)
{
    loopback_destroy(&g->loop);
    for (int32_t r = 0; r < g->trial.ranks; r++)
        schedule_destroy(g->schedules[r]);
    free(g->schedules);
    plan_destroy(g->plan);
    job_clear(&g->job);
}

/* Results that a layer has. */
static int has_result(const struct job *job, int64_t layer, int result)
{
    if (result == RESULT_LSE)
        return job_attention(job, layer) == ATTENTION_SOFTMAX;
    return result == RESULT_O || job_has_backward(job);
}

/* Of what several ranks hold, what rank `last` has. */
static struct results results_of(const struct rig *g, int64_t layer,
                                 int64_t last)
{
    struct results out = { 0 };

    for (int i = 0; i < RESULTS; i++) {
        enum tensor_name t = result_tensors[i];
        if (!has_result(&g->job, layer, i))
            continue;
        out.bytes[i] = sizeof(float) * (size_t)(g->job.tokens
                       * tensor_heads(&g->job, t) * tensor_width(&g->job, t));
        out.x[i] = xmalloc(out.bytes[i]);
        memset(out.x[i], 0xff, out.bytes[i]);
        for (int64_t r = 1; r <= g->loop.ranks; r++)
            memory_gather(&g->loop.memories[(last + r) % g->loop.ranks], t,
                          layer, out.x[i]);
    }
    return out;
}

struct results rig_results(const struct rig *g, int64_t layer)
{
    return results_of(g, layer, g->loop.ranks - 1);
}

static int has_replicas(const struct schedule *s)
{
    for (int64_t i = 0; i < s->n_buffers; i++)
        if (s->buffers[i].replicated)
            return 1;
    return 0;
}

void results_clear(struct results *r)
{
    for (int i = 0; i < RESULTS; i++)
        free(r->x[i]);
}

void rig_judge(const struct rig *g, struct verdict *verdict)
{
    const struct job *job = plan_job(g->plan);
    row_fn row = g->trial.row ? g->trial.row : input_seeded;

    int64_t replicas = has_replicas(g->schedules[0]) ? g->loop.ranks : 1;

    for (int64_t l = 0; l < job_layers(job); l++) {
        struct verify *v = verify_create(job, l, g->trial.verify, row,
                                         &rig_seed, 3);
        for (int64_t last = 0; last < replicas; last++) {
            struct results r = results_of(g, l, last);
            struct verdict mine;
            verify_results(v, (const float *const *)r.x, &mine);
            if ((l == 0 && last == 0) || !mine.passed)
                *verdict = mine;
            results_clear(&r);
        }
        verify_destroy(v);
    }
}

struct check_report rig_check(const struct rig *g)
{
    struct check_report report;

    check_schedules((const struct schedule *const *)g->schedules,
                    g->trial.ranks, &report);
    return report;
}

static void must_check(const struct rig *g, const char *text)
{
    struct check_report c = rig_check(g);

    if (!c.passed)
        fail_msg("%s: %s", text, c.finding.text);
    check_report_clear(&c);
}

static void must_count(const struct rig *g, const char *text)
{
    const struct job *job = plan_job(g->plan);
    int64_t pairs = 0;

    for (int32_t r = 0; r < g->trial.ranks; r++) {
        int64_t wanted = plan_bytes_expected(g->plan, r);
        if (g->loop.bytes_sent[r] != wanted)
            fail_msg("%s: rank %d sent %lld bytes, expected %lld", text, r,
                     (long long)g->loop.bytes_sent[r], (long long)wanted);
        pairs += schedule_pairs(g->schedules[r]);
    }
    assert_int_equal(pairs, job_pairs(job) * g->trial.heads
                     * job_layers(job));
}

int trial_run(const struct trial *t, struct verdict *verdict)
{
    struct rig g;
    struct error e = { 0 };
    struct verdict v;
    char text[320];

    trial_text(t, text, sizeof text);
    if (!rig_create(&g, t))
        return 0;
    must_check(&g, text);
    rig_load(&g);
    if (loopback_run(&g.loop, g.kernel, 0, &e))
        fail_msg("%s: %s", text, e.text);
    must_count(&g, text);
    rig_judge(&g, &v);
    if (!v.passed)
        fail_msg("%s: error (gate) o %.2g (%.2g) lse %.2g (%.2g) dq %.2g "
                 "(%.2g) dk %.2g (%.2g) dv %.2g (%.2g)", text, v.error[0],
                 v.gate[0], v.error[1], v.gate[1], v.error[2], v.gate[2],
                 v.error[3], v.gate[3], v.error[4], v.gate[4]);
    if (verdict)
        *verdict = v;
    rig_destroy(&g);
    return 1;
}
