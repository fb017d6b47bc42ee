/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/list.h"

#include "base/json.h"

#include <stdlib.h>
#include <string.h>

/* What is asked of a strategy, beginning with a job of its family. */
struct trial {
    struct job job;
    struct strategy_options options;
};

/* ---- Features ----------------------------------------------------------- */

static void full(struct trial *t)
{
    t->job.mask = (struct mask){ MASK_FULL, -1, -1 };
}

static void causal(struct trial *t)
{
    t->job.mask = (struct mask){ MASK_CAUSAL, -1, 0 };
}

static void window(struct trial *t)
{
    t->job.mask = (struct mask){ MASK_WINDOW, 8, 0 };
}

static void forward(struct trial *t)
{
    t->job.pass = PASS_FORWARD;
}

static void backward(struct trial *t)
{
    t->job.pass = PASS_FORWARD_BACKWARD;
}

static void decode(struct trial *t)
{
    t->job.pass = PASS_DECODE;
}

static void session(struct trial *t)
{
    t->job.pass = PASS_DECODE;
    t->job.decode_steps = 4;
    t->job.decode_page = 4;
}

static void contiguous(struct trial *t)
{
    t->options.layout = LAYOUT_CONTIGUOUS;
}

static void zigzag(struct trial *t)
{
    t->options.layout = LAYOUT_ZIGZAG;
}

static void striped(struct trial *t)
{
    t->options.layout = LAYOUT_STRIPED;
}

/* Two sequences of the same tokens in all. */
static void packed(struct trial *t)
{
    int64_t n = t->job.tokens, first = n / 3;

    t->job.lengths = xrealloc(t->job.lengths, 2 * sizeof n);
    t->job.offsets = xrealloc(t->job.offsets, 3 * sizeof n);
    t->job.sequences = 2;
    t->job.lengths[0] = t->job.offsets[1] = first;
    t->job.lengths[1] = n - first;
    t->job.offsets[2] = n;
}

static void gqa(struct trial *t)
{
    t->job.transformer.kv_heads = t->job.transformer.heads / 4;
}

static void mqa(struct trial *t)
{
    t->job.transformer.kv_heads = 1;
}

/* More ranks than heads. */
static void few_heads(struct trial *t)
{
    t->job.transformer.heads = t->job.transformer.kv_heads = 3;
}

static void softmax(struct trial *t)
{
    t->job.attention = ATTENTION_SOFTMAX;
    free(t->job.pattern);
    t->job.pattern = NULL;
}

static void linear(struct trial *t)
{
    softmax(t);
    t->job.attention = ATTENTION_LINEAR;
}

static void decay(struct trial *t)
{
    if (!t->job.pattern)
        linear(t);
    t->job.linear.slopes = xcalloc((size_t)t->job.transformer.heads,
                                   sizeof(double));
    alibi_slopes(t->job.transformer.heads, t->job.linear.slopes);
}

static void hybrid(struct trial *t)
{
    softmax(t);
    t->job.pattern = xstrdup("LS");
}

static const struct feature_trial {
    const char *kind, *name, *column;
    void (*set)(struct trial *t);
} features[] = {
    { "mask", "full", "full", full },
    { "mask", "causal", "caus", causal },
    { "mask", "window", "wind", window },
    { "pass", "forward", "fwd", forward },
    { "pass", "forward_backward", "bwd", backward },
    { "pass", "decode", "dec", decode },
    { "pass", "decode session", "sess", session },
    { "layout", "contiguous", "cont", contiguous },
    { "layout", "zigzag", "zig", zigzag },
    { "layout", "striped", "strp", striped },
    { "sequence", "packed", "pack", packed },
    { "heads", "GQA", "gqa", gqa },
    { "heads", "MQA", "mqa", mqa },
    { "heads", "fewer than ranks", "few", few_heads },
    { "attention", "softmax", "soft", softmax },
    { "attention", "linear", "lin", linear },
    { "attention", "linear with decay", "dcay", decay },
    { "attention", "pattern of layers", "LS", hybrid },
};
enum { FEATURE_TRIALS = sizeof features / sizeof *features };

/* ---- Asking ------------------------------------------------------------- */

/* Numbers of ranks on which all is asked: one, a prime, a composite. */
static const int32_t rank_counts[] = { 1, 5, 12 };
enum { RANK_COUNTS = sizeof rank_counts / sizeof *rank_counts };

static int takes(const struct strategy *st, const char *option)
{
    for (int i = 0; st->options[i]; i++)
        if (!strcmp(st->options[i], option))
            return 1;
    return 0;
}

/* 1, or 0 and why not in *e. */
static int supports(const struct strategy *st, const struct feature_trial *f,
                    struct error *e)
{
    struct trial t = { .job = list_job(st->family, 240) };
    int n = 0;

    f->set(&t);
    if (t.options.layout != LAYOUT_CONTIGUOUS && !takes(st, "layout")) {
        fail_usage(e, "it has no option layout");
    } else {
        for (; n < RANK_COUNTS; n++) {
            struct plan *p = plan_create(&t.job, st, &t.options,
                                         rank_counts[n], e);
            if (!p)
                break;
            plan_destroy(p);
        }
    }
    job_clear(&t.job);
    return n == RANK_COUNTS;
}

/* ---- Printing ----------------------------------------------------------- */

static void support_text(FILE *out)
{
    fprintf(out, "%-11s", "");
    for (int f = 0; f < FEATURE_TRIALS; f++)
        fprintf(out, " %4s", features[f].column);
    fputc('\n', out);
    for (int i = 0; strategies[i]; i++) {
        fprintf(out, "%-11s", strategies[i]->name);
        for (int f = 0; f < FEATURE_TRIALS; f++) {
            struct error e = { 0 };
            fprintf(out, " %4s", supports(strategies[i], &features[f], &e)
                    ? "yes" : "-");
        }
        fputc('\n', out);
    }
    fputs("each alone, on a job that the strategy is for; why not: --format "
          "json\n", out);
}

static void json_support(struct json *j, const struct strategy *st)
{
    json_object(j, NULL);
    json_text(j, "name", st->name);
    json_text(j, "family", st->family);
    json_array(j, "support");
    for (int f = 0; f < FEATURE_TRIALS; f++) {
        struct error e = { 0 };
        int yes = supports(st, &features[f], &e);
        json_object(j, NULL);
        json_text(j, "kind", features[f].kind);
        json_text(j, "feature", features[f].name);
        json_bool(j, "supported", yes);
        if (!yes)
            json_text(j, "reason", e.text);
        json_end(j);
    }
    json_end(j);
    json_end(j);
}

void list_support(FILE *out, int json)
{
    struct json j;

    if (!json) {
        support_text(out);
        return;
    }
    json_begin(&j, out);
    json_array(&j, NULL);
    for (int i = 0; strategies[i]; i++)
        json_support(&j, strategies[i]);
    json_end(&j);
}
