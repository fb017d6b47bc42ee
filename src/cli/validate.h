/* SPDX-License-Identifier: Apache-2.0
 *
 * Predictions against what others measured: cases of scenarios/validation. */
#ifndef SPAR_VALIDATE_H
#define SPAR_VALIDATE_H

#include "topo/machine.h"

#include <stdio.h>

/* What a prediction may know: the datasheet and general constants; tables of
 * kernels and collectives, never of the row itself; two points of the case,
 * too. */
enum column { UNCALIBRATED, CALIBRATED, TWO_POINTS, COLUMNS };
extern const char *const column_names[];

/* The datasheet and general constants are left: no collectives, links at 0.68
 * of the datasheet (topo/collective.h), sockets as NCCL takes those of Sapphire
 * Rapids, 22 GB/s. */
void forget_calibration(struct machine *m);

/* ---- Collectives (validate_collectives.c) ------------------------------- */

/* Measured / predicted. */
struct ratios {
    int64_t n, cap;
    double *items;
};
/* Of one machine. */
struct collective_score {
    char gpu[24], machine[24];
    int64_t rows, cap;
    double *error[COLUMNS];             /* [rows] |predicted / measured - 1| */
    /* Rows inside P10 to P90 of the prediction; of TWO_POINTS: none is. */
    int64_t inside[COLUMNS];
    /* 2, 4 and 8 ranks of one op and size, two by two, where the times differ
     * by more than 10 %: how many, how many in the right order. */
    int64_t pairs, right[COLUMNS];
    /* Sizes of all-to-all at which 2, 4 and 8 ranks take ever more time, by
     * more than 10 %; predicted so. */
    int64_t sizes, ordered[COLUMNS];
    struct ratios links[TWO_POINTS];    /* ring collectives / as messages over
                                           links as the datasheet or the
                                           machine says */
    int nvlink;                         /* the way from rank 0 to 1 */
};
struct collective_scores {
    int64_t n, cap;
    struct collective_score *items;
};
int validate_collectives(struct collective_scores *s, struct error *e);
void collective_scores_clear(struct collective_scores *s);

/* Of all-gathers and reduce-scatters, of messages of 64 KiB and more
 * (validate_links.c). */
struct import;
void links_ratios(const struct import *in, const struct machine *m,
                  struct ratios *out);
/* P10 and P90 over all machines on NVLink but `but` (-1: all), as they say. */
void links_spread(const struct collective_scores *s, int64_t but,
                  double spread[2]);
/* Rows of each machine on NVLink inside the spread of the others, %. */
double links_cover(const struct collective_scores *s);

/* ---- Attention (validate_attention.c) ----------------------------------- */

/* One strategy or degree of a case. */
struct choice {
    char strategy[16], layout[16];
    int64_t head;               /* 0: not of this strategy */
    double measured;            /* s */
    double predicted[COLUMNS];  /* s */
    double interval[2];         /* s, P10 and P90 of CALIBRATED */
    double links;               /* part of CALIBRATED that faster links save */
};
/* Rows that differ in what is chosen alone. */
struct attention_case {
    char source[16], box[24], api[16], pass[20], layout[16];
    int64_t ranks, sequence, heads, kv_heads, head_dim;
    int64_t n, cap;
    struct choice *choices;
    int64_t best;               /* measured */
    int64_t chosen[COLUMNS];
    double links, all;          /* what two points say: links and all slower */
};
struct attention_cases {
    int64_t n, cap;
    struct attention_case *items;
    int64_t excluded;           /* rows under 5 ms */
    int64_t single;             /* cases of one row that is left */
};
int validate_attention(struct attention_cases *s, struct error *e);
void attention_cases_clear(struct attention_cases *s);

/* How P10 to P90 of CALIBRATED holds rows that are alike (validate_cover.c). */
struct coverage {
    char name[80];              /* box, source, tokens x head size, pass; or
                                   what decides */
    int64_t rows, inside, below, above;
    double ratio, low, high;    /* medians of measured / predicted and of the
                                   ends of the interval / predicted */
};
struct coverages {
    int64_t n, cap;
    struct coverage *items;
};
/* By what is alike; then all of which links take half of the time or more, all
 * others, all. The caller frees items. */
void attention_coverage(const struct attention_cases *s,
                        struct coverages *out);

/* Reads scenarios/validation/attention.csv, already in memory; cases of one row
 * are left out (validate_rows.c). */
int attention_rows(struct attention_cases *s, const char *path, char *text,
                   struct error *e);
/* Are its links those of another box? */
int box_stands_in(const char *box);

/* ---- Scores (validate_scores.c) ------------------------------------------ */

/* Time lost by the choice: its measured time / the best's - 1. */
double case_regret(const struct attention_case *c, int column);
/* Of a case's rows, median of |predicted / measured - 1|. */
double case_error(const struct attention_case *c, int column);
/* How much slower the second best is, measured. */
double case_margin(const struct attention_case *c);

/* Wrong where the top two differ by more than 10 %. */
int case_missed(const struct attention_case *c, int column);
/* Why it may be: what speaks against the measurement, the prediction or the
 * machine, as far as the rows themselves show it. */
void case_explain(const struct attention_cases *s,
                  const struct attention_case *c, char *text, size_t size);

/* Median over all machines' rows. */
double collectives_error(const struct collective_scores *s, int column);

/* Of all cases together. */
struct summary {
    int64_t cases, clear, right;        /* top two differ by more than 10 %;
                                           of these the best was chosen */
    int64_t pairs, ordered;     /* rows of a case more than 10 % apart */
    double regret, worst, error;        /* medians; worst regret */
};
/* Of one box, or of all (NULL). */
struct summary attention_summary(const struct attention_cases *cases,
                                 const char *box, int column);

/* ---- What is printed (validate_report.c) --------------------------------- */

void validate_text(const struct collective_scores *c,
                   const struct attention_cases *a);
void validate_json(const struct collective_scores *c,
                   const struct attention_cases *a);
/* The profiles of code bases, a line each. */
void print_profiles(FILE *out);

#endif
