/* SPDX-License-Identifier: Apache-2.0
 *
 * One entry of `strategies`: schedule, memory, repeats, verification. */
#include <config.h>

#include "cli/progress.h"
#include "mpi/run_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An entry at work on this rank. */
struct work_place {
    struct session *s;
    struct entry *x;
    int64_t index;
    const char *name;
    struct schedule *schedule;
    struct memory memory;
    struct transport *transport;
    double flops;               /* of all ranks */
    double largest;             /* flops of the largest op of any rank */
    int64_t sent;               /* bytes of one repetition */
    int64_t steps;              /* of a decode session; else 0 */
};

static void show(const struct work_place *w, const char *what, int64_t i,
                 int64_t n)
{
    if (w->s->rank == 0)
        progress("%s: %s %d of %d", w->name, what, (int)i + 1, (int)n);
}

/* ---- What the schedules say --------------------------------------------- */

static int64_t *gather(const struct session *s, int64_t mine)
{
    int64_t *all = s->rank ? NULL : xcalloc((size_t)s->ranks, sizeof *all);

    MPI_Gather(&mine, 1, MPI_INT64_T, all, 1, MPI_INT64_T, 0, s->comm);
    return all;
}

static double largest_op(const struct schedule *s)
{
    double flops = 0;

    for (int64_t i = 0; i < s->n_ops; i++) {
        double f = op_work(s, &s->ops[i]).flops;
        flops = f > flops ? f : flops;
    }
    return flops;
}

static void build(struct work_place *w)
{
    struct session *s = w->s;
    struct entry *x = w->x;
    uint64_t *hashes = xcalloc((size_t)s->ranks, sizeof *hashes);

    w->schedule = plan_build(x->plan, s->rank);
    MPI_Allgather(&w->schedule->hash, 1, MPI_UINT64_T, hashes, 1, MPI_UINT64_T,
                  s->comm);
    x->hash = schedule_hash_all(hashes, s->ranks);
    free(hashes);
    w->flops = schedule_flops(w->schedule);
    MPI_Allreduce(MPI_IN_PLACE, &w->flops, 1, MPI_DOUBLE, MPI_SUM, s->comm);
    w->largest = largest_op(w->schedule);
    MPI_Allreduce(MPI_IN_PLACE, &w->largest, 1, MPI_DOUBLE, MPI_MAX, s->comm);
    x->flops = w->flops;
    x->pairs = gather(s, schedule_pairs(w->schedule));
    x->peak_bytes = gather(s, (int64_t)w->schedule->peak_bytes);
    if (s->rank)
        return;
    x->bytes_expected = xcalloc((size_t)s->ranks, sizeof *x->bytes_expected);
    for (int32_t r = 0; r < s->ranks; r++)
        x->bytes_expected[r] = plan_bytes_expected(x->plan, r);
}

/* ---- Memory ------------------------------------------------------------- */

/* A device that ranks of the node share. */
static int device_fits(const struct session *s,
                       const struct schedule *schedule, struct error *e)
{
    const struct device *d = session_device(s);
    size_t available, total;
    int sharers = (s->node_ranks + d->count() - 1) / d->count();

    if (d == &device_host || d->memory(&available, &total))
        return 0;
    if (schedule->peak_bytes <= available / (size_t)sharers)
        return 0;
    return fail(e, "out of memory: rank %d needs %.3f GiB on its device; %.3f "
                "GiB available to each of %d ranks", s->rank,
                (double)schedule->peak_bytes / 0x1p30,
                (double)available / 0x1p30 / sharers, sharers);
}

int memory_fits(const struct session *s, const struct schedule *schedule,
                struct error *e)
{
    int on_host = session_device(s) == &device_host;
    int64_t peak = on_host ? (int64_t)schedule->peak_bytes : 0;
    int64_t extra = s->rank ? 0 : verify_needs(s, schedule), all = peak + extra;
    int64_t available = topo_memory_available();

    MPI_Allreduce(MPI_IN_PLACE, &all, 1, MPI_INT64_T, MPI_SUM, s->node);
    MPI_Bcast(&available, 1, MPI_INT64_T, 0, s->node);
    if (!available || all <= available)
        return device_fits(s, schedule, e);
    char verify[96] = "", others[64] = "";
    if (extra)
        snprintf(verify, sizeof verify, ", %.3f GiB of it to verify "
                 "(run.verify: sampled, none)", (double)extra / 0x1p30);
    if (s->node_ranks > 1)
        snprintf(others, sizeof others, " for the %d ranks of its node, that "
                 "need %.3f GiB", s->node_ranks, (double)all / 0x1p30);
    return fail(e, "out of memory: rank %d needs %.3f GiB%s; %.3f GiB "
                "available%s", s->rank, (double)(peak + extra) / 0x1p30,
                verify, (double)available / 0x1p30, others);
}

static int allocate(struct work_place *w, struct error *e)
{
    if (memory_fits(w->s, w->schedule, e)
        || memory_create(&w->memory, w->schedule, session_device(w->s), 0, e))
        return -1;
    memory_poison(&w->memory);
    if (w->steps)
        memory_load_live(&w->memory, w->schedule->job->tokens - w->steps,
                         input_row, w->s);
    else
        memory_load(&w->memory, input_row, w->s);
    return 0;
}

/* ---- Verification ------------------------------------------------------- */

static int keeps_results(const struct session *s)
{
    return s->scenario->verify != VERIFY_NONE || s->request->tensors;
}

/* Results to rank 0, which verifies them. */
static void verify_now(struct work_place *w)
{
    struct session *s = w->s;
    char done = 0;

    if (!keeps_results(s))
        return;
    results_collect(w->x, &w->memory, s->comm);
    if (s->rank == 0 && s->scenario->verify != VERIFY_NONE)
        results_verify(s, w->x, &w->memory);
    nap_bcast(&done, 1, s->comm);
}

static void print_verdict(const struct work_place *w)
{
    const struct verdict *v = &w->x->verdict;
    int wrong = 0;

    for (int r = 0; r < RESULTS; r++) {
        if (isnan(v->gate[r]) || v->error[r] <= v->gate[r])
            continue;
        wrong = 1;
        if (isnan(v->error[r]))
            fprintf(stderr, "spar: %s: %s is wrong: it has NaN, or rows that "
                    "nothing wrote\n", w->name, result_names[r]);
        else
            fprintf(stderr, "spar: %s: %s is wrong: error %.3g, at most %.3g\n",
                    w->name, result_names[r], v->error[r], v->gate[r]);
    }
    if (!v->compared)
        fprintf(stderr, "spar: %s: nothing was compared\n", w->name);
    else if (!wrong)
        fprintf(stderr, "spar: %s: all that was compared is zero, or there is "
                "NaN in what was not\n", w->name);
}

static int is_right(const struct work_place *w)
{
    const struct verdict *v = &w->x->verdict;

    if (w->s->scenario->verify == VERIFY_NONE)
        return 1;
    if (!v->passed || !v->compared)
        print_verdict(w);
    return v->passed && v->compared;
}

/* ---- Repeats ------------------------------------------------------------ */

/* Repeat -1: a warm-up. Returns its time on this rank, ns. */
static int64_t repeat_once(struct work_place *w, int32_t repeat, int recorded)
{
    struct session *s = w->s;
    struct execute_options o = {
        .kernel = s->kernel, .spool = s->spool, .record = recorded,
        .entry = (int32_t)w->index, .repeat = repeat,
        /* Longer than a minute and some ops at a crawl: someone is stuck. */
        .stall_seconds = 60 + 8 * w->largest / 1e9,
    };

    MPI_Barrier(s->comm);
    o.t_zero = recorded ? clocks_zero(s) : clock_now();
    int64_t start = clock_now();
    int64_t sent = execute(w->schedule, &w->memory, w->transport, &o);
    int64_t taken = clock_now() - start;
    if (w->sent >= 0 && sent != w->sent)
        die("%s: rank %d sent %lld bytes in one repeat, %lld in another",
            w->name, s->rank, (long long)sent, (long long)w->sent);
    w->sent = sent;
    return taken;
}

/* Repeat i; of a session: a token comes, its step, which is verified. */
static int64_t repeat_timed(struct work_place *w, int64_t i)
{
    if (!w->steps) {
        show(w, "repeat", i, w->x->repeats);
        return repeat_once(w, (int32_t)i, 0);
    }
    show(w, "step", i, w->steps);
    memory_append(&w->memory, input_row, w->s);
    memory_poison(&w->memory);
    int64_t ns = repeat_once(w, (int32_t)i, 0);
    verify_now(w);
    return ns;
}

static void run_repeats(struct work_place *w)
{
    struct session *s = w->s;
    const struct scenario *c = s->scenario;
    int64_t n = w->x->repeats, *ns = xcalloc((size_t)n + 1, sizeof *ns);

    w->sent = -1;
    for (int64_t i = 0; i < c->warmups; i++) {
        show(w, "warm-up", i, c->warmups);
        repeat_once(w, -1, 0);
    }
    for (int64_t i = 0; i < n; i++)
        ns[i] = repeat_timed(w, i);
    show(w, "traced repeat", 0, 1);
    memory_poison(&w->memory);
    ns[n] = repeat_once(w, (int32_t)n, 1);
    MPI_Allreduce(MPI_IN_PLACE, ns, (int)n + 1, MPI_INT64_T, MPI_MAX, s->comm);
    w->x->repeat_ns = ns;
    w->x->spans_ns = ns[n];
    w->x->bytes_sent = gather(s, w->sent);
}

/* ---- Physics ------------------------------------------------------------ */

/* No rank of today attends faster, flop/s: one core, one GPU. */
static double plausible(const struct session *s)
{
    return session_device(s) == &device_host ? 1e12 : 2.5e15;
}

static int bytes_match(const struct work_place *w)
{
    const struct entry *x = w->x;

    for (int r = 0; r < w->s->ranks; r++) {
        if (x->bytes_sent[r] == x->bytes_expected[r])
            continue;
        fprintf(stderr, "spar: %s: rank %d sent %lld bytes, expected %lld\n",
                w->name, r, (long long)x->bytes_sent[r],
                (long long)x->bytes_expected[r]);
        return 0;
    }
    return 1;
}

/* The null kernel measures the frame and is as fast as it likes. */
static int rate_plausible(const struct work_place *w)
{
    int64_t least = w->x->spans_ns;

    for (int64_t i = 0; i < w->x->repeats; i++)
        least = min64(least, w->x->repeat_ns[i]);
    double rate = w->flops / ((double)least * 1e-9) / w->s->ranks;
    if (rate <= plausible(w->s) || strcmp(w->s->kernel->name, "none") == 0)
        return 1;
    fprintf(stderr, "spar: %s: %.3g flop/s and rank is more than a device can "
            "do\n", w->name, rate);
    return 0;
}

/* ---- All together ------------------------------------------------------- */

static void judge(struct work_place *w)
{
    struct session *s = w->s;
    char done = 0;

    show(w, "verifying", 0, 1);
    verify_now(w);
    if (s->rank == 0) {
        progress_end();
        int right = is_right(w), bytes = bytes_match(w);
        w->x->passed = rate_plausible(w) && right && bytes;
        entry_describe(s, w->index);
    }
    nap_bcast(&done, 1, s->comm);
    if (!s->request->tensors)
        results_close(w->x);
}

int entry_run(struct session *s, int64_t index)
{
    const struct scenario_strategy *st = &s->scenario->strategies[index];
    struct work_place w = { .s = s, .x = &s->entries[index], .index = index,
                            .name = st->strategy->name };
    struct error e = { 0 };

    w.x->predicted = w.x->overlap = NAN;
    w.x->verdict = verdict_open();
    w.steps = s->scenario->job.decode_steps;
    w.x->repeats = w.steps ? w.steps : s->scenario->repeats;
    build(&w);
    int status = agree(allocate(&w, &e), &e, s->comm);
    if (!status) {
        w.transport = transport_create(s->scenario->transport,
                                       session_device(s), s->comm, &e);
        status = agree(transport_prepare(w.transport, w.x->plan, w.schedule,
                                         &w.memory, &e), &e, s->comm);
    }
    if (!status) {
        results_open(w.x, w.schedule);
        run_repeats(&w);
        judge(&w);
    }
    transport_destroy(w.transport);
    memory_destroy(&w.memory);
    schedule_destroy(w.schedule);
    return status;
}

void entry_clear(struct entry *x)
{
    free(x->bytes_sent);
    free(x->bytes_expected);
    free(x->pairs);
    free(x->peak_bytes);
    free(x->repeat_ns);
    free(x->reason);
    results_close(x);
    records_entry_clear(&x->trace);
    plan_destroy(x->plan);
}
