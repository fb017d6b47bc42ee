/* SPDX-License-Identifier: Apache-2.0
 *
 * What `spar validate` prints. */
#include <config.h>

#include "cli/validate.h"

#include "base/json.h"
#include "topo/estimate.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Text --------------------------------------------------------------- */

/* Messages over links; the L40S is the one box on PCIe. */
static void text_links(const struct collective_scores *s)
{
    double spread[2];

    printf("messages of 512 KiB and more over links, in rings (measured / "
           "told: P10, P50, P90)\n%-10s %-10s %5s  %-16s  %s\n", "gpu",
           "machine",
           "rows", "by the datasheet", "as the machine says");
    for (int64_t i = 0; i < s->n; i++) {
        const struct collective_score *x = &s->items[i];
        printf("%-10s %-10s %5" PRId64, x->gpu, x->machine, x->links[0].n);
        for (int c = 0; c < TWO_POINTS; c++)
            for (int k = 0; k < 3; k++)
                printf("%s%.2f", k ? " " : c ? "    " : "  ",
                       quantile_of(x->links[c].items, x->links[c].n,
                                   0.1 + 0.4 * k));
        putchar('\n');
    }
    links_spread(s, -1, spread);
    printf("P10, P90 on NVLink, as the machines say: %.2f, %.2f; inside those "
           "of the others: %.0f %%\n", spread[0], spread[1], links_cover(s));
}

static void text_collectives(const struct collective_scores *s)
{
    printf("collectives, one host, NCCL; median error of %d columns: without "
           "calibration\n(datasheet, general constants), by tables of the "
           "other sizes, constants and two points\n", COLUMNS);
    printf("%-10s %-10s %5s %13s %11s %11s  %s\n", "gpu", "machine", "rows",
           "uncalibrated", "calibrated", "two points",
           "ranks in order (pairs more than 10 % apart)");
    for (int64_t i = 0; i < s->n; i++) {
        const struct collective_score *x = &s->items[i];
        printf("%-10s %-10s %5" PRId64, x->gpu, x->machine, x->rows);
        for (int c = 0; c < COLUMNS; c++)
            printf(" %*.1f %%", c ? 9 : 11,
                   100 * quantile_of(x->error[c], x->rows, 0.5));
        for (int c = 0; c < COLUMNS; c++)
            printf("%s%.0f %%", c ? ", " : "  ", 100.0
                   * (double)x->right[c] / (double)max64(1, x->pairs));
        printf(" of %" PRId64 "\n", x->pairs);
    }
    printf("%-27s", "all");
    for (int c = 0; c < COLUMNS; c++)
        printf(" %*.1f %%", c ? 9 : 11, 100 * collectives_error(s, c));
    putchar('\n');
    int64_t rows = 0, inside[COLUMNS] = { 0 };
    for (int64_t i = 0; i < s->n; i++) {
        rows += s->items[i].rows;
        for (int c = 0; c < COLUMNS; c++)
            inside[c] += s->items[i].inside[c];
    }
    printf("inside P10 to P90: %.0f %% uncalibrated, %.0f %% calibrated\n",
           100.0 * (double)inside[UNCALIBRATED] / (double)rows,
           100.0 * (double)inside[CALIBRATED] / (double)rows);
    text_links(s);
    for (int64_t i = 0; i < s->n; i++) {
        const struct collective_score *x = &s->items[i];
        printf("%s all-to-all: 2 < 4 < 8 ranks at %" PRId64 " sizes; predicted "
               "so at %" PRId64 ", %" PRId64 ", %" PRId64 "\n", x->gpu,
               x->sizes, x->ordered[0], x->ordered[1], x->ordered[2]);
    }
}

static void choice_text(char *text, size_t size, const struct choice *x)
{
    if (x->head)
        snprintf(text, size, "head %" PRId64, x->head);
    else
        snprintf(text, size, "%s", x->layout);
}

static void text_case(const struct attention_case *c)
{
    char name[160], best[24], chosen[24];

    snprintf(name, sizeof name, "%s %" PRId64 "k %" PRId64 "/%" PRId64 "x%"
             PRId64 " %s%s%s", c->source, c->sequence / 1024, c->heads,
             c->kv_heads, c->head_dim, c->api, *c->layout ? " " : "",
             c->layout);
    choice_text(best, sizeof best, &c->choices[c->best]);
    printf("%-13s %-43s %-3s %-10s %5.0f %%", c->box, name,
           strcmp(c->pass, "forward") ? "f+b" : "fwd", best,
           100 * fmin(9.99, case_margin(c)));
    for (int k = 0; k < COLUMNS; k++) {
        choice_text(chosen, sizeof chosen, &c->choices[c->chosen[k]]);
        printf("  %-10s %3.0f %4.0f", chosen, 100 * case_regret(c, k),
               100 * case_error(c, k));
    }
    putchar('\n');
}

static void text_summary(const struct attention_cases *s, const char *box)
{
    for (int k = 0; k < COLUMNS; k++) {
        struct summary x = attention_summary(s, box, k);
        printf("%-13s %-12s %3" PRId64 " cases  regret median %.1f %%, worst "
               "%.0f %%; best chosen in %" PRId64 " of %" PRId64 " clear ones; "
               "%.0f %% of %" PRId64 " pairs in order; error %.0f %%\n",
               k ? "" : box ? box : "all", column_names[k], x.cases,
               100 * x.regret, 100 * x.worst, x.right, x.clear,
               100 * (double)x.ordered / (double)max64(1, x.pairs), x.pairs,
               100 * x.error);
    }
}

static void text_coverage(const struct attention_cases *s)
{
    struct coverages all = { .n = 0 };

    attention_coverage(s, &all);
    printf("rows inside P10 to P90, calibrated; medians of measured / "
           "predicted and of P10, P90 / predicted\n");
    for (int64_t i = 0; i < all.n; i++) {
        const struct coverage *c = &all.items[i];
        printf("  %-36s %4" PRId64 " of %4" PRId64 ", %3" PRId64 " below, %3"
               PRId64 " above  %5.2f %5.2f %5.2f\n", c->name, c->inside,
               c->rows, c->below, c->above, c->ratio, c->low, c->high);
    }
    free(all.items);
}

static void text_misses(const struct attention_cases *s)
{
    char best[24], chosen[24], why[512];

    printf("misses, calibrated (the top two differ by more than 10 %%):\n");
    for (int64_t i = 0; i < s->n; i++) {
        const struct attention_case *c = &s->items[i];
        if (!case_missed(c, CALIBRATED))
            continue;
        choice_text(best, sizeof best, &c->choices[c->best]);
        choice_text(chosen, sizeof chosen,
                    &c->choices[c->chosen[CALIBRATED]]);
        case_explain(s, c, why, sizeof why);
        printf("  %s %s %" PRId64 "k %s %s: %s, measured %s by %.0f %%:%s\n",
               c->box, c->source, c->sequence / 1024, c->api, c->layout,
               chosen, best, 100 * case_margin(c), why);
    }
}

static void text_attention(const struct attention_cases *s)
{
    printf("\nattention, published throughput; of each column the choice, its "
           "regret and the median error of the case, %%\n");
    printf("%-13s %-43s %-3s %-10s %7s", "box", "case (sequence, heads, api, "
           "layout)", "", "measured", "margin");
    for (int k = 0; k < COLUMNS; k++)
        printf("  %-19s", column_names[k]);
    putchar('\n');
    for (int64_t i = 0; i < s->n; i++)
        text_case(&s->items[i]);
    putchar('\n');
    for (int64_t i = 0; i < s->n; i++) {
        int64_t k = 0;
        while (strcmp(s->items[k].box, s->items[i].box) != 0)
            k++;
        if (k == i)
            text_summary(s, s->items[i].box);
    }
    text_summary(s, NULL);
    text_coverage(s);
    text_misses(s);
    printf("excluded: %" PRId64 " rows under 5 ms (the host decides), %" PRId64
           " cases of a single row\nprofiles of code bases, the same for all "
           "rows:\n", s->excluded, s->single);
    print_profiles(stdout);
}

void validate_text(const struct collective_scores *c,
                   const struct attention_cases *a)
{
    if (c->n)
        text_collectives(c);
    if (a->n)
        text_attention(a);
}

/* ---- JSON --------------------------------------------------------------- */

static void json_columns(struct json *j, const char *key, const double *value)
{
    json_object(j, key);
    for (int c = 0; c < COLUMNS; c++)
        json_real(j, column_names[c], value[c]);
    json_end(j);
}

static void json_collective(struct json *j, struct collective_score *x)
{
    double error[COLUMNS], right[COLUMNS], ordered[COLUMNS];

    for (int c = 0; c < COLUMNS; c++) {
        error[c] = quantile_of(x->error[c], x->rows, 0.5);
        right[c] = (double)x->right[c] / (double)max64(1, x->pairs);
        ordered[c] = (double)x->ordered[c];
    }
    json_object(j, NULL);
    json_text(j, "gpu", x->gpu);
    json_text(j, "machine", x->machine);
    json_int(j, "rows", x->rows);
    json_columns(j, "error", error);
    json_int(j, "inside_p10_p90", x->inside[CALIBRATED]);
    json_int(j, "pairs", x->pairs);
    json_columns(j, "ranking", right);
    json_int(j, "all_to_all_sizes", x->sizes);
    json_columns(j, "all_to_all_in_order", ordered);
    json_end(j);
}

static void json_choice(struct json *j, const struct choice *x)
{
    json_object(j, NULL);
    json_text(j, "strategy", x->strategy);
    json_text(j, "layout", x->layout);
    if (x->head)
        json_int(j, "head", x->head);
    json_real(j, "measured_s", x->measured);
    json_columns(j, "predicted_s", x->predicted);
    json_array(j, "interval_s");
    json_real(j, NULL, x->interval[0]);
    json_real(j, NULL, x->interval[1]);
    json_end(j);
    json_end(j);
}

static void json_case(struct json *j, const struct attention_cases *s,
                      const struct attention_case *c)
{
    double regret[COLUMNS], error[COLUMNS];
    char why[512];

    case_explain(s, c, why, sizeof why);
    for (int k = 0; k < COLUMNS; k++) {
        regret[k] = case_regret(c, k);
        error[k] = case_error(c, k);
    }
    json_object(j, NULL);
    json_text(j, "box", c->box);
    json_text(j, "source", c->source);
    json_text(j, "pass", c->pass);
    json_text(j, "api", c->api);
    json_int(j, "sequence", c->sequence);
    json_int(j, "heads", c->heads);
    json_int(j, "kv_heads", c->kv_heads);
    json_int(j, "head_dim", c->head_dim);
    json_real(j, "margin", case_margin(c));
    json_columns(j, "regret", regret);
    json_columns(j, "error", error);
    json_bool(j, "miss", case_missed(c, CALIBRATED));
    json_text(j, "explanation", case_missed(c, CALIBRATED) ? why : NULL);
    json_array(j, "choices");
    for (int64_t i = 0; i < c->n; i++)
        json_choice(j, &c->choices[i]);
    json_end(j);
    json_end(j);
}

static void json_coverage(struct json *j, const struct attention_cases *s)
{
    struct coverages all = { .n = 0 };

    attention_coverage(s, &all);
    json_array(j, "coverage");
    for (int64_t i = 0; i < all.n; i++) {
        const struct coverage *c = &all.items[i];
        json_object(j, NULL);
        json_text(j, "rows_of", c->name);
        json_int(j, "rows", c->rows);
        json_int(j, "inside_p10_p90", c->inside);
        json_int(j, "below", c->below);
        json_int(j, "above", c->above);
        json_real(j, "ratio", c->ratio);
        json_real(j, "p10", c->low);
        json_real(j, "p90", c->high);
        json_end(j);
    }
    json_end(j);
    free(all.items);
}

static void json_summaries(struct json *j, const struct attention_cases *s)
{
    json_object(j, "attention_all");
    for (int k = 0; k < COLUMNS; k++) {
        struct summary x = attention_summary(s, NULL, k);
        json_object(j, column_names[k]);
        json_int(j, "cases", x.cases);
        json_real(j, "regret", x.regret);
        json_real(j, "worst_regret", x.worst);
        json_int(j, "clear", x.clear);
        json_int(j, "right", x.right);
        json_real(j, "ranking", (double)x.ordered
                  / (double)max64(1, x.pairs));
        json_real(j, "error", x.error);
        json_end(j);
    }
    json_coverage(j, s);
    json_int(j, "excluded", s->excluded);
    json_end(j);
}

void validate_json(const struct collective_scores *c,
                   const struct attention_cases *a)
{
    double all[COLUMNS];
    struct json j;

    json_begin(&j, stdout);
    json_object(&j, NULL);
    json_array(&j, "collectives");
    for (int64_t i = 0; i < c->n; i++)
        json_collective(&j, &c->items[i]);
    json_end(&j);
    for (int k = 0; k < COLUMNS; k++)
        all[k] = c->n ? collectives_error(c, k) : NAN;
    json_columns(&j, "collectives_error", all);
    json_array(&j, "attention");
    for (int64_t i = 0; i < a->n; i++)
        json_case(&j, a, &a->items[i]);
    json_end(&j);
    if (a->n)
        json_summaries(&j, a);
    json_end(&j);
}
