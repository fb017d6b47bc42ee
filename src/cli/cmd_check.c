/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/command.h"

#include "base/json.h"
#include "base/units.h"
#include "cli/planned.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "schedule/check.h"

#include <inttypes.h>
#include <stdlib.h>

struct check_options {
    int format, lowered;
    struct string_list sets;
};

static const struct option_row check_rows[] = {
    ROW_LOWERED(check_options),
    ROW_SET(check_options),
    ROW_FORMAT(check_options),
    ROW_END
};

/* An entry, proved or refuted. */
struct checked {
    struct planned entry;
    struct check_report report;
    int64_t *bytes_expected;    /* [ranks] */
    int passed;
};

static void check_bytes(struct checked *c)
{
    for (int64_t r = 0; r < c->entry.ranks && c->passed; r++) {
        int64_t sent = c->report.bytes_sent[r], due = c->bytes_expected[r];
        if (sent != due) {
            fail(&c->report.finding, "rank %" PRId64 " sends %" PRId64
                 " bytes, by the closed form %" PRId64, r, sent, due);
            c->passed = 0;
        }
    }
}

static void check_entry(struct checked *c)
{
    struct planned *n = &c->entry;

    planned_build(n);
    struct schedule **lowered = planned_lower_all(n);
    progress("%s: checking", n->asked->strategy->name);
    check_schedules((const struct schedule *const *)(lowered ? lowered
                                                     : n->schedules),
                    n->ranks, &c->report);
    progress_end();
    for (int64_t r = 0; lowered && r < n->ranks; r++)
        schedule_destroy(lowered[r]);
    free(lowered);
    c->bytes_expected = planned_bytes_expected(&c->entry);
    c->passed = c->report.passed;
    check_bytes(c);
}

/* ---- JSON ---------------------------------------------------------------- */

static void json_checked(struct json *j, const struct checked *c)
{
    const struct check_report *r = &c->report;

    json_int(j, "ranks", c->entry.ranks);
    json_ints(j, "bytes_sent", r->bytes_sent, r->ranks);
    json_ints(j, "bytes_expected", c->bytes_expected, r->ranks);
    json_ints(j, "pairs", r->pairs, r->ranks);
    json_int(j, "expected_pairs", r->expected_pairs);
    json_ints(j, "peak_bytes", r->peak_bytes, r->ranks);
    json_int(j, "ops", r->ops);
    json_bool(j, "deadlock", r->deadlock);
    json_bool(j, "coverage", r->coverage);
    json_int(j, "reuse_stalls", r->reuse_stalls);
    json_bool(j, "passed", c->passed);
}

static void json_entry(struct json *j, const struct checked *c)
{
    const struct planned *n = &c->entry;

    json_object(j, NULL);
    json_text(j, "strategy", n->asked->strategy->name);
    if (n->plan) {
        json_checked(j, c);
    } else {
        json_bool(j, "applies", 0);
        json_text(j, "reason", n->reason.text);
    }
    json_end(j);
    if (n->plan && !c->passed)
        fprintf(stderr, "spar: %s: %s\n", n->asked->strategy->name,
                c->report.finding.text);
}

/* ---- Text ---------------------------------------------------------------- */

static void text_head(FILE *out)
{
    fprintf(out, "%-11s %-10s %5s %9s %10s %10s %-8s %-8s %6s %s\n",
            "strategy", "layout", "ranks", "ops", "sent/rank", "peak/rank",
            "deadlock", "coverage", "stalls", "result");
}

static void text_entry(FILE *out, const struct checked *c)
{
    const struct planned *n = &c->entry;
    const struct check_report *r = &c->report;
    const char *name = n->asked->strategy->name;
    char sent[24], peak[24];

    if (!n->plan) {
        fprintf(out, "%-11s does not apply: %s\n", name, n->reason.text);
        return;
    }
    fprintf(out, "%-11s %-10s %5" PRId64 " %9" PRId64 " %10s %10s %-8s %-8s %6"
            PRId64 " %s", name, planned_layout(n), r->ranks, r->ops,
            quantity_print(largest(r->bytes_sent, r->ranks), "B", sent,
                           sizeof sent),
            quantity_print(largest(r->peak_bytes, r->ranks), "B", peak,
                           sizeof peak),
            r->deadlock ? "YES" : "no", r->coverage ? "complete" : "NOT",
            r->reuse_stalls, c->passed ? "passed" : "FAILED");
    print_variant(out, n->asked);
    fputc('\n', out);
    if (!c->passed)
        fprintf(out, "  %s\n", r->finding.text);
}

/* ---- The command --------------------------------------------------------- */

static int check_all(const struct scenario *s, const struct lowered *lowered,
                     int json)
{
    int status = SPAR_OK;
    struct json j;

    json_begin(&j, stdout);
    if (json)
        json_array(&j, NULL);
    else
        text_head(stdout);
    for (int64_t i = 0; i < s->n_strategies; i++) {
        struct checked c = { 0 };
        planned_open(&c.entry, s, i, s->ranks);
        c.entry.lowered = lowered;
        if (c.entry.plan)
            check_entry(&c);
        if (json)
            json_entry(&j, &c);
        else
            text_entry(stdout, &c);
        if (c.entry.plan && !c.passed)
            status = SPAR_FAILED;
        check_report_clear(&c.report);
        free(c.bytes_expected);
        planned_close(&c.entry);
    }
    if (json)
        json_end(&j);
    return status;
}

static int check_exec(const struct call *call, struct error *e)
{
    const struct check_options *o = call->options;
    struct scenario *s = scenario_load(call->operands[0], &o->sets, e);
    struct lowered lowered = { .near = NULL };
    int rc = -1;

    if (s && !scenario_need_ranks(s, e) && !entries_apply(s, s->ranks, e)
        && !lowered_for(&lowered, o->lowered, s, e))
        rc = check_all(s, &lowered, o->format == FORMAT_JSON);
    lowered_close(&lowered);
    scenario_destroy(s);
    return rc;
}

const struct command command_check = {
    "check", "SCENARIO", "Prove the schedules of a scenario right, without "
    "running them.", check_rows, sizeof(struct check_options), NULL, 1, 1, 0,
    check_exec
};
