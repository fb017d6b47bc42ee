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

/* What die() says first. */
static void where(void *arg, char *text, size_t size)
{
    const struct work_place *w = arg;

    snprintf(text, size, "rank %d, preparing %s: ", w->s->rank, w->name);
}

static void rehearse(struct work_place *w)
{
    die_set_where(where, w);
    w->x->rehearsal = compute_rehearse(w->schedule, &w->memory, w->s->kernel);
    die_set_where(NULL, NULL);
}

static int allocate(struct work_place *w, struct error *e)
{
    const struct jitter *jitter = &w->s->scenario->jitter;

    if (session_device(w->s) != &device_host
        && jitter_slow(jitter, w->s->rank) > 1)
        return fail_usage(e, "jitter.ranks: rank %d is on a device, which "
                          "cannot be slowed down", w->s->rank);
    if (memory_fits(w->s, w->schedule, e)
        || memory_create(&w->memory, w->schedule, session_device(w->s), 0, e))
        return -1;
    if (session_device(w->s) != &device_host)
        rehearse(w);
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

/* Longer than a while and some ops at a crawl: someone is stuck, s. */
static double patience(const struct work_place *w)
{
    const struct jitter *j = &w->s->scenario->jitter;
    double slow = 1;

    for (int32_t r = 0; r < w->s->ranks; r++)
        slow = fmax(slow, jitter_slow(j, r) + jitter_delay(j, r));
    if (session_device(w->s) == &device_host)
        return (60 + 8 * w->largest / 1e9) * slow;
    return 15 + w->largest * w->s->sharing / 1e12;
}

/* Repeat -1: a warm-up. Returns its time on this rank, ns. */
static int64_t repeat_once(struct work_place *w, int32_t repeat, int recorded)
{
    struct session *s = w->s;
    struct execute_options o = {
        .kernel = s->kernel, .spool = s->spool, .record = recorded,
        .entry = (int32_t)w->index, .repeat = repeat,
        .stall_seconds = patience(w),
        .delay = jitter_delay(&s->scenario->jitter, s->rank),
        .slow = jitter_slow(&s->scenario->jitter, s->rank),
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

/* ---- All together ------------------------------------------------------- */

static void judge(struct work_place *w)
{
    struct session *s = w->s;
    char done = 0;

    show(w, "verifying", 0, 1);
    verify_now(w);
    int possible = limits_hold(s, w->x, w->name, w->schedule, w->sent,
                               transport_name(w->transport));
    if (s->rank == 0) {
        progress_end();
        w->x->passed = is_right(w) && possible;
        entry_describe(s, w->index);
    }
    nap_bcast(&done, 1, s->comm);
    if (!s->request->tensors)
        results_close(w->x);
}

/* Which, and why, where that is news. */
static void tell_transport(const struct work_place *w)
{
    const struct session *s = w->s;
    const char *name = transport_name(w->transport);
    int known = 0;

    snprintf(w->x->transport, sizeof w->x->transport, "%s", name);
    for (int64_t i = 0; i < w->index; i++)
        known |= strcmp(s->entries[i].transport, name) == 0;
    if (s->rank == 0 && !known && session_device(s) != &device_host)
        fprintf(stderr, "spar: transport %s: %s\n", name,
                transport_reason(w->transport));
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
        if (session_device(s) != &device_host)
            w.x->work_bytes = gather(s, (int64_t)w.x->rehearsal.work_bytes);
        w.transport = transport_create(s->scenario->transport,
                                       session_device(s), s->comm, &e);
        status = agree(transport_prepare(w.transport, w.x->plan, w.schedule,
                                         &w.memory, &e), &e, s->comm);
    }
    if (!status) {
        tell_transport(&w);
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
    free(x->work_bytes);
    free(x->repeat_ns);
    free(x->reason);
    results_close(x);
    records_entry_clear(&x->trace);
    plan_destroy(x->plan);
}
