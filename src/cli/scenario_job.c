/* SPDX-License-Identifier: Apache-2.0
 *
 * The `job` mapping of a scenario. */
#include <config.h>

#include "base/file.h"
#include "base/yaml.h"
#include "cli/scenario_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t max_tokens = (int64_t)1 << 40;

/* ---- Transformer ------------------------------------------------------------- */

static const char *const transformer_keys[] = {
    "heads", "kv_heads", "head_dim", "value_dim", "layers", "hidden", "ffn",
    "vocab", NULL
};

/* `key`: "job.transformer", or "" in a file of its own. */
static int read_shape(struct yaml *y, int map, const char *key,
                      struct transformer *t, struct error *e)
{
    int64_t *const fields[] = { &t->heads, &t->kv_heads, &t->head_dim,
                                &t->value_dim, &t->layers, &t->hidden, &t->ffn,
                                &t->vocab };
    char full[128];

    if (yaml_check_keys(y, map, key, transformer_keys, e))
        return -1;
    for (int i = 0; transformer_keys[i]; i++) {
        int node = yaml_get(y, map, transformer_keys[i]);
        snprintf(full, sizeof full, "%s%s%s", key, *key ? "." : "",
                 transformer_keys[i]);
        if (!node && (i == 0 || i == 2))
            return yaml_fail(y, map, full, e, "missing");
        if (yaml_int(y, node, full, 1, i < 4 ? 1 << 20 : (int64_t)1 << 40,
                     fields[i], e))
            return -1;
    }
    if (t->kv_heads && t->heads % t->kv_heads) {
        /* Nodes are numbered as they were given: blame the last. */
        int heads = yaml_get(y, map, "heads");
        int kv_heads = yaml_get(y, map, "kv_heads");
        snprintf(full, sizeof full, "%s%s%s", key, *key ? "." : "",
                 kv_heads > heads ? "kv_heads" : "heads");
        return yaml_fail(y, kv_heads > heads ? kv_heads : heads, full, e,
                         "heads %lld is not a multiple of kv_heads %lld",
                         (long long)t->heads, (long long)t->kv_heads);
    }
    return 0;
}

static int read_preset(struct scenario *s, int node, struct transformer *t,
                       struct error *e)
{
    const char *name = yaml_text(s->yaml, node);
    struct error why = { 0 };
    char *found = NULL;
    size_t size;
    char *text = scenario_data("transformers", name, s->path, &found, &size,
                               &why);

    if (!text)
        return yaml_fail(s->yaml, node, "job.transformer", e, "there is no "
                         "preset or file \"%s\" (%s)", name, why.text);
    struct yaml *y = yaml_parse(found, text, size, e);
    int rc = y ? read_shape(y, yaml_root(y), "", t, e) : -1;
    snprintf(t->name, sizeof t->name, "%s", name);
    yaml_destroy(y);
    free(text);
    free(found);
    return rc;
}

static int read_transformer(struct scenario *s, int node, struct error *e)
{
    struct transformer *t = &s->job.transformer;

    if (yaml_is_null(s->yaml, node))
        return 0;
    if (yaml_type(s->yaml, node) == YAML_SCALAR)
        return read_preset(s, node, t, e);
    snprintf(t->name, sizeof t->name, "inline");
    return read_shape(s->yaml, node, "job.transformer", t, e);
}

/* ---- Sequence and mask ------------------------------------------------------- */

static int read_sequence(struct scenario *s, int node, struct error *e)
{
    struct yaml *y = s->yaml;
    int64_t total = 0;

    if (yaml_is_null(y, node))
        return 0;
    s->one_length = yaml_type(y, node) != YAML_LIST;
    s->n_lengths = s->one_length ? 1 : yaml_count(y, node);
    if (s->n_lengths == 0)
        return yaml_fail(y, node, "job.sequence", e, "an empty list; lengths "
                         "such as [3816, 120]");
    s->lengths = xcalloc((size_t)s->n_lengths, sizeof *s->lengths);
    for (int64_t i = 0; i < s->n_lengths; i++) {
        int item = s->one_length ? node : yaml_item(y, node, i);
        if (yaml_int(y, item, "job.sequence", s->one_length, max_tokens,
                     &s->lengths[i], e))
            return -1;
        total += s->lengths[i];
    }
    if (total < 1 || total > max_tokens)
        return yaml_fail(y, node, "job.sequence", e, "%lld tokens in all is "
                         "not between 1 and %lld", (long long)total,
                         (long long)max_tokens);
    return 0;
}

static int read_window(struct yaml *y, int node, struct mask *m,
                       struct error *e)
{
    static const char *const keys[] = { "window", NULL };
    int window = yaml_get(y, node, "window");

    m->kind = MASK_WINDOW;
    if (yaml_check_keys(y, node, "job.mask", keys, e))
        return -1;
    if (yaml_type(y, window) != YAML_LIST || yaml_count(y, window) != 2)
        return yaml_fail(y, window ? window : node, "job.mask.window", e,
                         "not a list of two, [left, right]");
    if (yaml_int(y, yaml_item(y, window, 0), "job.mask.window", -1, max_tokens,
                 &m->left, e))
        return -1;
    return yaml_int(y, yaml_item(y, window, 1), "job.mask.window", -1,
                    max_tokens, &m->right, e);
}

static int read_mask(struct yaml *y, int node, struct mask *m, struct error *e)
{
    static const char *const words[] = { "full", "causal", NULL };
    int kind = MASK_FULL;

    if (yaml_type(y, node) == YAML_MAP)
        return read_window(y, node, m, e);
    if (yaml_type(y, node) != YAML_SCALAR
        || name_index(words, yaml_text(y, node)) < 0)
        return yaml_fail(y, node, "job.mask", e, "\"%s\" is not full, causal "
                         "or {window: [left, right]}", yaml_text(y, node));
    kind = name_index(words, yaml_text(y, node));
    m->kind = (enum mask_kind)kind;
    return 0;
}

/* ---- The rest ---------------------------------------------------------------- */

static int read_types(struct yaml *y, int job, struct job *j, struct error *e)
{
    static const char *const types[] = { "fp32", "bf16", "fp16", NULL };
    static const char *const wires[] = { "fp32", "dtype", NULL };
    int dtype = DTYPE_FP32, grad = 0, partial = 1;

    if (yaml_word(y, yaml_get(y, job, "dtype"), "job.dtype", types, &dtype, e)
        || yaml_word(y, yaml_get(y, job, "wire_grad"), "job.wire_grad", wires,
                     &grad, e)
        || yaml_word(y, yaml_get(y, job, "wire_partial"), "job.wire_partial",
                     wires, &partial, e))
        return -1;
    j->dtype = (enum dtype)dtype;
    j->wire_grad = grad ? j->dtype : DTYPE_FP32;
    j->wire_partial = partial ? j->dtype : DTYPE_FP32;
    return 0;
}

static int read_scale(struct yaml *y, int node, double *scale,
                      struct error *e)
{
    if (yaml_is_null(y, node))
        return 0;
    if (yaml_number(y, node, "job.scale", 0, 1e30, scale, e))
        return -1;
    return *scale > 0 ? 0 : yaml_fail(y, node, "job.scale", e, "not greater "
                                      "than 0");
}

static int read_input(struct scenario *s, int node, struct error *e)
{
    char *name = NULL;

    if (yaml_is_null(s->yaml, node))
        return 0;
    if (yaml_string(s->yaml, node, "job.input", &name, e))
        return -1;
    s->input = file_beside(s->path, name);
    free(name);
    return 0;
}

/* job_finish() says "KEY: what": the place is that of job.KEY. */
static int finish_job(struct scenario *s, const int64_t *lengths, int64_t n,
                      struct error *e)
{
    struct error why = { 0 };

    if (job_finish(&s->job, lengths, n, &why)) {
        char key[64];
        const char *text = strstr(why.text, ": ");
        if (!text)
            return scenario_fail(s, "job", e, "%s", why.text);
        snprintf(key, sizeof key, "job.%.*s", (int)(text - why.text),
                 why.text);
        return scenario_fail(s, key, e, "%s", text + 2);
    }
    s->ready = 1;
    return finish_slopes(s, e);
}

static int read_job_fields(struct scenario *s, int job, struct error *e)
{
    struct yaml *y = s->yaml;
    int pass = PASS_FORWARD;

    if (read_transformer(s, yaml_get(y, job, "transformer"), e)
        || read_sequence(s, yaml_get(y, job, "sequence"), e)
        || yaml_word(y, yaml_get(y, job, "pass"), "job.pass", pass_names,
                     &pass, e))
        return -1;
    s->job.pass = (enum pass)pass;
    if (read_attention_keys(s, job, e)
        || read_types(y, job, &s->job, e)
        || read_scale(y, yaml_get(y, job, "scale"), &s->job.scale, e)
        || read_input(s, yaml_get(y, job, "input"), e))
        return -1;
    int mask = yaml_get(y, job, "mask");
    return mask ? read_mask(y, mask, &s->job.mask, e) : 0;
}

int read_job(struct scenario *s, struct error *e)
{
    static const char *const keys[] = {
        "transformer", "sequence", "mask", "pass", "dtype", "wire_grad",
        "wire_partial", "scale", "input", "queries", "decode", "attention",
        "pattern", NULL
    };
    struct yaml *y = s->yaml;
    int job = yaml_get(y, yaml_root(y), "job");

    if (!job)
        return yaml_fail(y, yaml_root(y), "job", e, "missing: it needs "
                         "transformer and sequence, or input");
    if (yaml_check_keys(y, job, "job", keys, e) || read_job_fields(s, job, e))
        return -1;
    if (s->input && s->job.decode_steps)
        return scenario_fail(s, "job.input", e, "not with decode.steps: a "
                             "session makes up the tokens that it appends");
    if (s->input)
        return 0;
    if (!s->job.transformer.heads)
        return yaml_fail(y, job, "job.transformer", e, "missing: a preset, a "
                         "file, or {heads, head_dim, ...}");
    if (!s->n_lengths)
        return yaml_fail(y, job, "job.sequence", e, "missing: tokens, or a "
                         "list of packed lengths");
    return finish_job(s, s->lengths, s->n_lengths, e);
}

/* ---- Input ------------------------------------------------------------------- */

static int same_shape(struct scenario *s, const char *key, int64_t asked,
                      int64_t found, struct error *e)
{
    char full[64];

    if (!asked || asked == found)
        return 0;
    snprintf(full, sizeof full, "job.%s", key);
    scenario_fail(s, full, e, "%lld, but %s has %lld", (long long)asked,
                  s->input, (long long)found);
    if (e)
        e->status = SPAR_FAILED;        /* input data, not usage */
    return -1;
}

/* The lengths to use: a list in the scenario, else the file's, else one. */
static int choose_lengths(struct scenario *s, int64_t tokens,
                          const int64_t **lengths, int64_t *n, struct error *e)
{
    int64_t total = 0;

    for (int64_t i = 0; i < s->n_lengths; i++)
        total += s->lengths[i];
    if (same_shape(s, "sequence", total, tokens, e))
        return -1;
    if (s->n_lengths && !s->one_length) {
        *lengths = s->lengths;
        *n = s->n_lengths;
        return 0;
    }
    total = 0;
    for (int64_t i = 0; i < *n; i++)
        total += (*lengths)[i];
    if (*n && total != tokens)
        return fail(e, "%s: attribute lengths: %lld tokens in all, but q has "
                    "%lld", s->input, (long long)total, (long long)tokens);
    return 0;
}

enum tensor_need scenario_input_need(const struct scenario *s)
{
    return s->job.pass == PASS_DECODE ? TENSORS_DECODE
        : job_has_backward(&s->job) ? TENSORS_GRADIENT : TENSORS_FORWARD;
}

/* Queries of a decode step: as many as the file has. */
static int apply_queries(struct scenario *s, const struct tensor_file *f,
                         struct error *e)
{
    if (s->job.pass != PASS_DECODE)
        return 0;
    if (f->queries > MAX_QUERIES)
        return fail(e, "%s: q has %lld tokens; a decode step has at most %d "
                    "queries", s->input, (long long)f->queries, MAX_QUERIES);
    if (same_shape(s, "queries", s->job.queries, f->queries, e))
        return -1;
    s->job.queries = f->queries;
    return 0;
}

int scenario_apply_input(struct scenario *s, const struct tensor_file *f,
                         struct error *e)
{
    struct transformer *t = &s->job.transformer;
    int64_t asked_kv = t->heads && !t->kv_heads ? t->heads : t->kv_heads;
    int64_t asked_value = t->head_dim && !t->value_dim ? t->head_dim
        : t->value_dim;
    const int64_t *lengths = f->lengths;
    int64_t n = f->n_lengths;

    if (same_shape(s, "transformer.heads", t->heads, f->heads, e)
        || same_shape(s, "transformer.kv_heads", asked_kv, f->kv_heads, e)
        || same_shape(s, "transformer.head_dim", t->head_dim, f->head_dim, e)
        || same_shape(s, "transformer.value_dim", asked_value, f->value_dim, e)
        || choose_lengths(s, f->tokens, &lengths, &n, e)
        || apply_queries(s, f, e))
        return -1;
    if (f->heads % f->kv_heads)
        return fail(e, "%s: q has %lld heads, not a multiple of the %lld of k",
                    s->input, (long long)f->heads, (long long)f->kv_heads);
    t->heads = f->heads;
    t->kv_heads = f->kv_heads;
    t->head_dim = f->head_dim;
    t->value_dim = f->value_dim;
    if (!*t->name)
        snprintf(t->name, sizeof t->name, "input");
    return finish_job(s, n ? lengths : &f->tokens, n ? n : 1, e);
}
