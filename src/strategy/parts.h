/* SPDX-License-Identifier: Apache-2.0
 *
 * Results of my query rows, made block of keys by block: (o, lse) in forward,
 * dq in backward.
 *
 * Where partial results are fp32 (job: wire_partial, wire_grad) each attend adds
 * to a sum in fp32. Where they are of 16 bit each attend stores what it makes of
 * the rows that see its block, and up to 8 of these parts are added up at once,
 * read once each: a sum in fp32 would be read and written again at every step.
 * The part of the own block, which all rows see, is then the result itself
 * where one addition is enough; else what is added adds up in fp32. */
#ifndef SPAR_PARTS_H
#define SPAR_PARTS_H

#include "strategy/route.h"

enum { PARTS = 8 };             /* that are added at once */

/* What an attend writes: `count` rows of my queries from `first` on. */
struct target {
    struct part rows;
    struct tile tiles[2];       /* o, lse; or dq */
    enum access access;
};

struct parts {
    int64_t each;               /* tiles of a result: 2 (o, lse); 1 (dq) */
    struct tile result[2];
    struct tile sum[2];         /* where parts add up: in fp32, or the
                                   result */
    int started;                /* the sum is written */
    int64_t most;               /* parts held at a time; 0: attends add */
    int64_t made, n;            /* buffers made; parts held now */
    struct target held[PARTS];
    struct tile buffers[PARTS][2];
};

/* blocks: how many will be attended, at most. v->lse is there. */
struct parts parts_of_output(struct schedule *s, const struct view *v,
                             int64_t blocks);
struct parts parts_of_dq(struct schedule *s, const struct view *v,
                         int64_t blocks);
/* Where the attend of a block with these segments is to write, which it must.
 * The segments become those of the rows of the target. own: the block that all
 * rows see; also where nothing is visible. */
struct target parts_take(struct schedule *s, const struct view *v,
                         struct parts *p, int own, struct segment *list,
                         int64_t n);
/* A tensor of my queries in the rows of a target. */
struct tile target_rows(const struct schedule *s, struct target t,
                        struct tile of_queries);
/* Forward: attend v->q to a block, if anything is visible or it is my own. */
void parts_attend(struct schedule *s, const struct view *v, struct parts *p,
                  const char *label, int own, struct tile k,
                  struct tile value, struct segment *list, int64_t n);
/* All of it into the result. */
void parts_finish(struct schedule *s, const struct view *v, struct parts *p);

#endif
