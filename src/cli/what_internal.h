/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of what-ifs. */
#ifndef SPAR_WHAT_INTERNAL_H
#define SPAR_WHAT_INTERNAL_H

#include "cli/what_if.h"

/* ---- Axes (what_axes.c) -------------------------------------------------- */

/* KEY=VALUE of value i; the caller frees it. */
char *what_assignment(const struct what_axis *x, int64_t i);
/* Scenarios are made from the tree as it is, assignments included. */
struct scenario *what_with(const struct scenario *s, const char *const *sets,
                           int n, struct error *e);

/* ---- Walks (what_walk.c) ------------------------------------------------- */

/* What neighbouring points have in common. */
struct walk {
    const struct what_if *w;
    struct scenario *s;
    const struct what_question *q;
    struct what_result *r;
    char *machine_sets;         /* that made the machine */
    struct machine *machine;
    int64_t n_ways, ways_cap;
    struct known_ways {
        int64_t ranks;
        struct ways *ways;
    } *ways;                    /* of the machine */
};
void walk_clear(struct walk *k);

/* Is it of the machine? */
int what_is_machine(const struct what_axis *x);
/* The machine of a point's scenario, made anew where it differs from the last
 * one's. */
int walk_machine(struct walk *k, struct scenario *s, char *const *sets,
                 struct error *e);
/* Its ways for so many ranks; NULL: it has no graph. */
struct ways *walk_ways(struct walk *k, int64_t ranks);
/* Bytes that the buffers of a rank may take; 0: unknown. */
double walk_limit(const struct walk *k, int64_t ranks);
/* The assignments of a point. */
void walk_sets(const struct what_if *w, int64_t point, char *sets[SWEEP_AXES]);
void walk_sets_free(const struct what_if *w, char *sets[SWEEP_AXES]);

#endif
