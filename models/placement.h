/* SPDX-License-Identifier: Apache-2.0
 *
 * Which rank works on which slot of a machine: rules that make a map of what
 * ranks send each other, a search that improves on them, and the simulator,
 * which decides. */
#ifndef SPAR_PLACEMENT_H
#define SPAR_PLACEMENT_H

#include "models/simulate.h"
#include "models/traffic.h"

struct placement_problem {
    const struct machine *machine;      /* with a graph; borrowed, as all */
    const struct links *links;          /* of it */
    const struct traffic *traffic;
    /* [traffic->ranks] the slots to use, none twice, in the launcher's order:
     * rank r is on slots[r] if nothing is done. */
    const int32_t *slots;
    const int32_t *ordered;     /* the same as the machine counts them; set by
                                   placement_choose() */
};

/* A map is the slot of each rank, [ranks]: the problem's slots, reordered. */
struct placement_rule {
    const char *name, *summary;
    /* 0, or -1 with the reason in *e (one sentence, no prefix). */
    int (*place)(const struct placement_problem *p, int32_t *map,
                 struct error *e);
};
extern const struct placement_rule *const placement_rules[];    /* NULL last;
                                                    the first is linear */

/* Seconds that the messages take if those of a step begin together and nothing
 * else goes on: the sum over steps of the slowest message or the fullest link,
 * bytes / bandwidth.  It ranks maps; simulations decide. */
double placement_seconds(const struct placement_problem *p,
                         const int32_t *map);
/* The same, but of a step the 4-norm of the seconds of all links: it falls where
 * one of several full links is relieved, too. */
double placement_strain(const struct placement_problem *p, const int32_t *map);
/* Bytes over each link of problem.links, [links->n], the caller's to free. */
double *placement_loads(const struct placement_problem *p, const int32_t *map);
/* Bytes of the busiest link, one direction, between a network interface and the
 * network; 0: the machine has none, or nothing goes there. */
double placement_busiest_nic(const struct placement_problem *p,
                             const int32_t *map);

/* ---- Choosing ------------------------------------------------------------ */

struct placed {
    const char *name;
    struct error reason;        /* map NULL: why the rule does not apply */
    int32_t *map;
    const char *as;             /* it is the same map as that one; NULL: none */
    double predicted;           /* s, simulated; NaN: stuck */
    double alone;               /* placement_seconds() */
    double busiest_nic;         /* bytes */
};
struct placements {
    int64_t n;
    struct placed *rows;        /* a row a rule, then "search" */
    int64_t best;               /* the fastest, the first of equals */
    int64_t simulations;
};

/* Every rule is simulated with `o` (its slots are ignored), the best of them
 * improved by exchanging pairs of ranks: first while that lowers
 * placement_strain(), then what the simulator calls faster, up to about
 * `most_ops` simulated.  -1 and *e: the machine cannot time the schedules. */
int placement_choose(struct placements *c, const struct placement_problem *p,
                     const struct schedule *const *schedules,
                     const struct simulate_options *o, double most_ops,
                     struct error *e);
void placement_clear(struct placements *c);

/* ---- Rules that need a file of their own --------------------------------- */

/* Scotch (placement_scotch.c); without the library it does not apply. */
int placement_scotch(const struct placement_problem *p, int32_t *map,
                     struct error *e);

#endif
