/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of closed forms. */
#ifndef SPAR_FORMS_INTERNAL_H
#define SPAR_FORMS_INTERNAL_H

#include "models/forms.h"

#include "schedule/schedule.h"
#include "topo/collective.h"

enum { FORWARD, BACKWARD, BOTH };
enum { MEMO = 8 };              /* numbers of heads remembered */

/* An attend of the busiest rank, and how many of its steps are like it. */
struct sight {
    int64_t steps, n;
    struct segment *list;
    int64_t pairs;              /* of one step and head */
    int n_memo;
    struct memo {
        int64_t heads, kv_heads;
        double seconds[BOTH];
    } memo[MEMO];
};

/* A layout on so many members: what the busiest of them sees at each step of a
 * ring, its own block first. */
struct profile {
    enum layout layout;
    int64_t block, members;
    int64_t rows;               /* of the busiest */
    int64_t reach;              /* steps until nothing more is visible */
    int64_t n, cap;
    struct sight *works;
    int sorted;                 /* `whole` is of all keys in order */
    struct sight whole;
};

struct forms {
    const struct job *job;
    int64_t ranks;
    const struct machine *m;
    const char *kernel;
    double share;               /* ranks that a device is shared by */
    struct ways *ways;          /* NULL: any two ranks are as far apart */
    struct ways *own_ways;      /* to be destroyed */
    int64_t n, cap;
    struct profile *profiles;
};
struct profile *forms_profile(struct forms *f, enum layout layout,
                              int64_t block, int64_t members);

/* What a strategy sees, like a view: a group, its heads, its rows. */
struct scene {
    struct forms *f;
    const struct strategy_options *o;
    struct profile *p;
    int64_t members, stride;    /* ranks from one member to the next */
    double rows;                /* tokens of a member */
    int64_t heads, kv_heads;
    struct estimate e;          /* adds up */
    double ops;                 /* that the host of a device hands over */
    double saved, scratch[BOTH];        /* bytes of buffers */
    double effort;              /* beside the ops: buffers planned, sharing */
};

/* ---- Moving (forms_network.c) -------------------------------------------- */

/* Who sends to whom, all at once: everyone to the next of its ring, of its
 * inner ring, of the ring between inner rings, to all others, or to one of
 * them, each time another. */
enum pattern { TO_NEXT, TO_INNER, TO_OUTER, TO_ALL, TO_ANOTHER };

/* Messages to `peers` others, of `tiles` tiles and `bytes` bytes each; `block`:
 * bytes that lie together. */
struct move {
    double peers, tiles, bytes, block;
    enum pattern to;
    enum collective_kind kind;  /* TO_ALL */
    int64_t window;             /* TO_INNER, TO_OUTER: of an inner ring */
    int interleaved;            /* inner rings, two by two */
};
/* What goes on at the same time at a rank, in seconds. */
struct load {
    double compute;             /* of its engine */
    double host, wire;          /* of its core for messages; of the way */
    double busy[EDGE_TYPES];    /* the busiest link of the type */
    double effort;              /* to simulate it: ops, about */
};
void load_move(struct scene *c, struct load *l, struct move m);
/* The same `times` one after the other; and beside the other. */
void load_repeat(struct load *l, double times);
void load_beside(const struct scene *c, struct load *l,
                 const struct load *other);
double load_seconds(const struct scene *c, struct load l);

/* `count` of them, one after the other, `ops` ops in each. */
void scene_add(struct scene *c, double count, struct load l, double ops);

/* Seconds: of one step's attend, op_overhead included; of all the group's keys
 * at once; of bytes read and written. */
double attend_step(const struct scene *c, struct sight *w, int pass);
double attend_whole(const struct scene *c, int pass);
double memory_seconds_of(const struct scene *c, double bytes);

/* Bytes of a token's K and V, or Q, O, in the view's heads. */
double kv_bytes(const struct scene *c, enum dtype type);
double q_bytes(const struct scene *c, enum dtype type);
double o_bytes(const struct scene *c, enum dtype type);

/* A strategy's forms: both passes add to the scene. */
struct form {
    const struct strategy *strategy;
    void (*pass)(struct scene *c, int pass);
};
extern const struct form softmax_forms[];       /* strategy NULL last */
void ring_pass(struct scene *c, int pass);
void double_ring_pass(struct scene *c, int pass);

#endif
