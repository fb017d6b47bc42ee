/* SPDX-License-Identifier: Apache-2.0
 *
 * What comes before a run: the scenario, its input, what applies, where output
 * goes, who shares a node.  Every rank passes every stage. */
#include <config.h>

#include "base/file.h"
#include "cli/output.h"
#include "mpi/run_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int read_scenario(struct session *s, struct error *e)
{
    const struct run_request *r = s->request;
    size_t size;
    int which;
    char *text = file_read(&r->scenario, 1, &which, &size, e);

    if (!text)
        return -1;
    s->scenario = scenario_parse(r->scenario, text, size, r->sets, r->n_sets,
                                 e);
    free(text);
    if (!s->scenario)
        return -1;
    s->seed = (uint64_t)s->scenario->seed;
    return 0;
}

static int check_ranks(struct session *s, struct error *e)
{
    int64_t ranks = s->scenario->ranks;
    char what[32] = "", how[96];

    if (!ranks || ranks == s->ranks)
        return 0;
    if (s->ranks == 1)
        snprintf(what, sizeof what, ", started alone");
    snprintf(how, sizeof how, "start it with mpiexec -n %lld or srun -n %lld",
             (long long)ranks, (long long)ranks);
    return scenario_fail(s->scenario, "run.ranks", e, "is %lld, but there %s "
                         "%d rank%s%s: %s", (long long)ranks,
                         s->ranks == 1 ? "is" : "are", s->ranks,
                         s->ranks == 1 ? "" : "s", what, how);
}

/* ---- Input tensors ------------------------------------------------------ */

/* Shapes and lengths of rank 0's file to all; no data yet. */
static void share_shapes(struct session *s)
{
    enum { TOKENS, QUERIES, HEADS, KV_HEADS, HEAD_DIM, VALUE_DIM, LENGTHS,
           GRADIENT, N };
    struct tensor_file *f = s->file;
    int64_t shape[N];

    if (s->rank == 0) {
        const int64_t mine[N] = { f->tokens, f->queries, f->heads,
                                  f->kv_heads, f->head_dim, f->value_dim,
                                  f->n_lengths, f->d_o != NULL };
        memcpy(shape, mine, sizeof shape);
    }
    MPI_Bcast(shape, N, MPI_INT64_T, 0, s->comm);
    if (s->rank) {
        s->file = f = xcalloc(1, sizeof *f);
        *f = (struct tensor_file){
            .tokens = shape[TOKENS], .queries = shape[QUERIES],
            .heads = shape[HEADS], .kv_heads = shape[KV_HEADS],
            .head_dim = shape[HEAD_DIM], .value_dim = shape[VALUE_DIM],
            .n_lengths = shape[LENGTHS],
            .lengths = xcalloc((size_t)shape[LENGTHS], sizeof(int64_t)),
            .d_o = shape[GRADIENT] ? xmalloc(sizeof(float)) : NULL };
    }
    MPI_Bcast(f->lengths, (int)f->n_lengths, MPI_INT64_T, 0, s->comm);
}

static void share_data(struct session *s)
{
    struct tensor_file *f = s->file;
    float **data[] = { &f->q, &f->k, &f->v, &f->d_o };
    int64_t heads[] = { f->heads, f->kv_heads, f->kv_heads, f->heads };
    int64_t width[] = { f->head_dim, f->head_dim, f->value_dim, f->value_dim };

    for (int i = 0; i < (f->d_o ? 4 : 3); i++) {
        int64_t n = (i ? f->tokens : f->queries) * heads[i] * width[i];
        if (s->rank)
            *data[i] = xrealloc(*data[i], (size_t)n * sizeof(float));
        MPI_Bcast_c(*data[i], n, MPI_FLOAT, 0, s->comm);
    }
}

static int read_input(struct session *s, struct error *e)
{
    struct scenario *c = s->scenario;
    int failed = 0;

    if (!c->input)
        return 0;
    if (s->rank == 0) {
        s->file = tensor_file_read(c->input, scenario_input_need(c), e);
        failed = !s->file;
    }
    MPI_Bcast(&failed, 1, MPI_INT, 0, s->comm);
    if (failed)
        return s->rank ? 0 : -1;
    share_shapes(s);
    if (scenario_apply_input(c, s->file, e))
        return -1;
    share_data(s);
    return 0;
}

void input_row(void *arg, enum tensor_name tensor, int64_t token,
               int64_t head, int64_t width, float *out)
{
    struct session *s = arg;
    const struct tensor_file *f = s->file;

    if (!f) {
        input_seeded(&s->seed, tensor, token, head, width, out);
        return;
    }
    const float *data = tensor == TENSOR_Q ? f->q : tensor == TENSOR_K ? f->k
                        : tensor == TENSOR_V ? f->v : f->d_o;
    int64_t heads = tensor_heads(&s->scenario->job, tensor);
    if (tensor == TENSOR_Q)             /* of the last tokens, in decode */
        token -= f->tokens - f->queries;
    memcpy(out, data + (token * heads + head) * width,
           (size_t)width * sizeof *out);
}

/* ---- What runs ---------------------------------------------------------- */

static int find_kernel(struct session *s, struct error *e)
{
    struct error why = { 0 };

    s->kernel = kernel_find(s->scenario->kernel, &why);
    if (!s->kernel)
        return scenario_fail(s->scenario, "run.kernel", e, "%s", why.text);
    if (s->scenario->deterministic)
        s->kernel = kernel_repeatable(s->kernel);
    return 0;
}

static int find_transport(struct session *s, struct error *e)
{
    struct error why = { 0 };
    struct transport *t = transport_create(s->scenario->transport,
                                           session_device(s), s->comm, &why);

    if (!t)
        return scenario_fail(s->scenario, "run.transport", e, "%s", why.text);
    transport_destroy(t);
    return 0;
}

/* Position maps of every entry; which of them apply. */
static int make_plans(struct session *s, struct error *e)
{
    const struct scenario *c = s->scenario;

    if (entries_apply(c, s->ranks, e))
        return -1;
    s->entries = xcalloc((size_t)c->n_strategies, sizeof *s->entries);
    for (int64_t i = 0; i < c->n_strategies; i++) {
        const struct scenario_strategy *st = &c->strategies[i];
        struct error why = { 0 };
        s->entries[i].plan = plan_create(&c->job, st->strategy, &st->options,
                                         s->ranks, &why);
        if (!s->entries[i].plan)
            s->entries[i].reason = xstrdup(why.text);
    }
    return 0;
}

/* Without a calibration nothing is predicted; another machine must be there. */
static int find_machine(struct session *s, struct error *e)
{
    const char *name = s->scenario->machine;

    if (!name)
        return 0;
    s->machine = scenario_machine(s->scenario, &s->machine_text, e);
    if (s->machine)
        return 0;
    if (strcmp(name, "local"))
        return -1;
    s->no_machine = xstrdup(e->text);
    return 0;
}

/* As many devices as the ranks have; is it them that were measured? */
static int match_machine(struct session *s, struct error *e)
{
    struct machine *m = s->machine;

    (void)e;
    if (!m || !m->devices || session_device(s) == &device_host)
        return 0;
    m->devices = (int)ceil_div(s->ranks, s->sharing);
    if (s->rank == 0 && *m->processor && strcmp(m->processor, s->facts.name))
        fprintf(stderr, "spar: predicted for %s, measured on %s\n",
                m->processor, s->facts.name);
    return 0;
}

/* ---- Output ------------------------------------------------------------- */

static int check_outputs(struct session *s, struct error *e)
{
    const struct run_request *r = s->request;

    s->output = r->output ? xstrdup(r->output)
                          : scenario_output(r->scenario, ".run.h5");
    s->folder = xasprintf("%s.part", s->output);
    if (s->rank)
        return 0;
    const char *const taken[] = { r->scenario, s->scenario->input, s->output };
    if (output_check(s->output, taken, 2, e))
        return -1;
    return r->tensors ? output_check(r->tensors, taken, 3, e) : 0;
}

static int make_folder(struct session *s, struct error *e)
{
    if (s->rank || spool_make_folder(s->folder, e))
        return s->rank ? 0 : -1;
    s->folder_made = 1;
    return 0;
}

static int open_spool(struct session *s, struct error *e)
{
    char host[64] = "";

    gethostname(host, sizeof host - 1);
    s->spool = spool_open(s->folder, s->rank, s->ranks, host, e);
    return s->spool ? 0 : -1;
}

/* ---- Room ---------------------------------------------------------------- */

/* Before anything runs: a later entry that does not fit would leave a run
 * without a report. */
static int check_memory(struct session *s, struct error *e)
{
    int rc = 0;

    for (int64_t i = 0; i < s->scenario->n_strategies; i++) {
        if (!s->entries[i].plan)
            continue;
        struct schedule *schedule = plan_build(s->entries[i].plan, s->rank);
        struct error mine = { 0 };
        if (memory_fits(s, schedule, &mine) && !rc) {
            rc = -1;
            *e = mine;
        }
        schedule_destroy(schedule);
    }
    return rc;
}

const stage_fn run_stages[] = {
    read_scenario, check_ranks, renumber, read_input, find_kernel,
    find_transport, make_plans, find_machine, check_outputs, join_node,
    see_devices, open_device, share_device, match_machine, check_memory,
    make_folder, gather_places, open_spool, NULL
};
