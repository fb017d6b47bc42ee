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
    int apart;                  /* rows lie apart, at one end or both */
    enum pattern to;
    enum collective_kind kind;  /* TO_ALL */
    int64_t window;             /* TO_INNER, TO_OUTER: of an inner ring */
    int interleaved;            /* inner rings, two by two */
};
/* What each byte that everyone sends to each peer takes. */
struct flows_of {
    enum pattern to;
    int64_t members, stride, window;
    int interleaved;
    double latency;             /* s; TO_ALL: of all peers */
    double seconds;             /* s/B of the slowest, alone or sharing links */
    double busy[EDGE_TYPES];    /* s/B of the busiest link */
    double sent[ROUTE_CLASSES]; /* B/B of a rank, the mean */
    struct collective_group group;      /* TO_ALL: the first rank's */
    struct collective_path paths[COLLECTIVE_KINDS];     /* GPUs of one host */
};
/* Found once for a machine's graph and slots (forms_ways.c). */
const struct flows_of *flows_known(struct scene *c, const struct move *m);
/* Groups of so many members; 0: not known, or ranks share slots. */
int64_t groups_at_once(const struct forms *f, int64_t members, int64_t slots);

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

/* ---- Shared by strategies of softmax attention (forms_results.c) --------- */

enum dtype scene_dtype(const struct scene *c);
enum dtype scene_grad(const struct scene *c);           /* of gradients on
                                                           their way */
/* c is now of so many members, with the layout asked for. */
void scene_enter(struct scene *c, int64_t members);

/* To the next of the ring; slices of so many bytes, each of `tiles` tiles, to
 * all others. */
struct move next_message(double tiles, double bytes);
struct move all_slices(enum collective_kind kind, double peers, double tiles,
                       double bytes, double block, int apart);
/* A collective's messages, and what a member does with its own slice: `finish`,
 * bytes read and written. */
void load_collective(struct scene *c, struct load *l, struct move m,
                     double finish);

/* s more for elements added to a sum in fp32, or stored in fp32, where heads
 * are at work at once (machine.h, struct surface). */
double results_more(const struct scene *c, int pass, double added,
                    double stored);
/* Bytes of a partial result of all my queries: (o, lse), or dq. */
double partial_form_bytes(const struct scene *c, int pass);
/* Of a step: the results of my queries, added at once or apart and later. */
double step_results(const struct scene *c, int pass);
double parts_memory(const struct scene *c, int pass);
double delta_memory(const struct scene *c);
/* delta = rowsum(do * o), before all else of backward. */
void add_delta_form(struct scene *c);

/* ---- Strategies --------------------------------------------------------- */

/* A strategy's forms: both passes add to the scene. */
struct form {
    const struct strategy *strategy;
    void (*pass)(struct scene *c, int pass);
};
extern const struct form softmax_forms[];       /* strategy NULL last */
/* forms_ring.c; the passes are of the group as it is. */
void ring_pass(struct scene *c, int pass);
void double_ring_pass(struct scene *c, int pass);
void ring_form(struct scene *c, int pass);
void token_form(struct scene *c, int pass);
void double_ring_form(struct scene *c, int pass);
/* Computing of a mean step. */
double mean_step(const struct scene *c, int pass);
/* forms_exchange.c */
void ulysses_form(struct scene *c, int pass);
void usp_form(struct scene *c, int pass);
void twod_form(struct scene *c, int pass);

#endif
