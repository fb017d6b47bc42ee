/* SPDX-License-Identifier: Apache-2.0
 *
 * Double-Ring Attention: W windows of w ranks, rank k = o w + i.
 *
 *   window jo:  the K, V held at its start go to window o + 1 (inter) while
 *     step ji:  attend(q, kv of owner (o - jo) w + (i - ji))  and the block at
 *               hand goes to position i + 1 of the window (intra)
 *
 * Backward walks the other way, to lower ranks; dK, dV follow one step behind:
 * w intra hops in a window bring them back to the position where its K, V
 * started, an inter hop takes them to the next window, the last one home.  What
 * is at home stays there, in fp32: the part of the own block is not sent around
 * the own window, nor the sum of the own window, which comes home at its end,
 * around the other windows, where a new sum sets out.  That saves two of
 * W w + W hops; and few hops, or none, round what is largest under a causal
 * mask: the parts of the block's own and next queries, which are added last.
 *
 * Source: Gu et al., "LoongTrain" (arXiv:2406.18485), section 4.3. */
#include <config.h>

#include "strategy/blocks.h"
#include "strategy/strategy.h"

#include <stdlib.h>

struct rings {
    int64_t w, W, i, o;
    int64_t d;                          /* K, V go to higher ranks (1) or lower
                                           ones (-1) */
    struct circuit intra, inter;        /* of K, V */
};

/* Backward, dK, dV: of the own block, the sum at home; of the block at hand,
 * the sum that travels and the part of this step. */
struct travel {
    struct gradients g;
    struct circuit intra, inter;
    struct cargo home, at, part;
};

static int64_t wrap(int64_t a, int64_t n)
{
    return (a % n + n) % n;
}

/* The ranks of an inner ring: as asked, else the largest divisor that is not
 * above the square root. */
static int64_t inner_ranks(const struct strategy_options *o, int64_t ranks)
{
    int64_t w = o->window;

    for (int64_t d = 1; !o->window && d * d <= ranks; d++)
        if (ranks % d == 0)
            w = d;
    return w;
}

static int double_ring_applies(const struct job *job,
                               const struct strategy_options *o, int64_t ranks,
                               struct error *e)
{
    (void)job;
    if (ranks % inner_ranks(o, ranks))
        return fail_usage(e, "%lld ranks are not a multiple of window %lld",
                          (long long)ranks, (long long)o->window);
    return 0;
}

static int64_t double_ring_period(const struct job *job,
                                  const struct strategy_options *o,
                                  int64_t ranks)
{
    return job->mask.kind == MASK_FULL ? inner_ranks(o, ranks) : 0;
}

static struct rings make_rings(const struct view *v, int64_t d)
{
    int64_t w = inner_ranks(v->options, v->members);

    return (struct rings){ .w = w, .W = v->members / w, .i = v->me % w,
                           .o = v->me / w, .d = d };
}

static int64_t owner(const struct rings *r, int64_t jo, int64_t ji)
{
    return wrap(r->o - r->d * jo, r->W) * r->w + wrap(r->i - r->d * ji, r->w);
}

static struct part block(const struct view *v, const struct rings *r,
                         int64_t jo, int64_t ji)
{
    return (struct part){ 0, view_rows(v, owner(r, jo, ji)) };
}

/* Pass `held` on in the window, or to the next; what comes: `coming`. */
static struct cargo hop_intra(struct schedule *s, const struct view *v,
                              const struct rings *r, struct circuit *c,
                              struct part coming, struct cargo held)
{
    return circuit_hop(s, v, c, v->ranks[owner(r, 0, 1)], coming,
                       v->ranks[owner(r, 0, -1)], held);
}

static struct cargo hop_inter(struct schedule *s, const struct view *v,
                              const struct rings *r, struct circuit *c,
                              struct part coming, struct cargo held)
{
    return circuit_hop(s, v, c, v->ranks[owner(r, 1, 0)], coming,
                       v->ranks[owner(r, -1, 0)], held);
}

/* What is done with the block of step (jo, ji). */
typedef void (*visit_fn)(struct schedule *s, const struct view *v,
                         const struct rings *r, void *arg, int64_t jo,
                         int64_t ji, struct cargo kv);

/* Both rings of K, V, in either pass. */
static void walk(struct schedule *s, const struct view *v, struct rings *r,
                 visit_fn visit, void *arg)
{
    struct cargo start = { 2, { v->k, v->v } };

    for (int64_t jo = 0; jo < r->W; jo++) {
        struct cargo held = start;
        schedule_step(s, (int32_t)(jo * r->w));
        if (jo < r->W - 1)
            start = hop_inter(s, v, r, &r->inter, block(v, r, jo + 1, 0),
                              start);
        for (int64_t ji = 0; ji < r->w; ji++) {
            struct cargo next = held;
            schedule_step(s, (int32_t)(jo * r->w + ji));
            if (ji < r->w - 1)
                next = hop_intra(s, v, r, &r->intra, block(v, r, jo, ji + 1),
                                 held);
            visit(s, v, r, arg, jo, ji, held);
            held = next;
        }
    }
}

static void visit_forward(struct schedule *s, const struct view *v,
                          const struct rings *r, void *arg, int64_t jo,
                          int64_t ji, struct cargo kv)
{
    struct segment *list;
    int64_t n = view_segments(v, v->maps[owner(r, jo, ji)], &list);

    parts_attend(s, v, arg, "", jo + ji == 0, kv.tiles[0], kv.tiles[1], list,
                 n);
    free(list);
}

static void double_ring_forward(struct schedule *s, struct view *v)
{
    struct rings *r = v->state = schedule_alloc(s, sizeof *r);
    enum dtype type = v->job->dtype;

    *r = make_rings(v, 1);
    r->intra = pair_circuit(s, v, "intra", CHANNEL_INTRA, "k", "v", type);
    r->inter = pair_circuit(s, v, "inter", CHANNEL_INTER, "k_inter", "v_inter",
                            type);
    view_lse(s, v);
    struct parts parts = parts_of_output(s, v, v->members);
    walk(s, v, r, visit_forward, &parts);
    parts_finish(s, v, &parts);
}

/* The part of a step: what the sum at home (step 0) or a sum that travels (1)
 * begins with; else added to what came with the block. */
static void add_part(struct schedule *s, const struct view *v,
                     struct travel *t, int64_t step, int64_t whose,
                     struct part rows, struct cargo kv)
{
    struct cargo part = step == 0 ? t->home
                        : step == 1 ? t->at : cargo_rows(s, t->part, rows);
    int some = gradients_part(s, v, &t->g, whose, kv, part);

    if (step <= 1 && !some)
        cargo_sum(s, dkv_labels, part, ACCESS_WRITE, NULL, 0);
    if (step > 1 && some)
        cargo_sum(s, dkv_labels, t->at, ACCESS_UPDATE, &part, 1);
}

static void collect(struct schedule *s, const struct travel *t,
                    struct cargo come)
{
    if (come.n)
        cargo_sum(s, dkv_labels, t->home, ACCESS_UPDATE, &come, 1);
}

/* Add the part of this step and pass the sum on: in the window, after the
 * window's last step to the step that it began with, and from there to the next
 * window.  Sums set out at steps (0, 1) and (1, 0); at the latter that of the
 * own window has come, and is added after the attend, which need not wait. */
static void visit_backward(struct schedule *s, const struct view *v,
                           const struct rings *r, void *arg, int64_t jo,
                           int64_t ji, struct cargo kv)
{
    struct travel *t = arg;
    struct part rows = block(v, r, jo, ji);
    struct cargo come = t->at;

    if (jo + ji == 1)
        t->at = circuit_take(s, v, jo ? &t->inter : &t->intra, rows);
    add_part(s, v, t, jo + ji, owner(r, jo, ji), rows, kv);
    if (jo == 1 && ji == 0)
        collect(s, t, come);
    if (r->w > 1 && jo + ji > 0)
        t->at = hop_intra(s, v, r, &t->intra, block(v, r, jo, ji + 1), t->at);
    if (jo > 0 && ji == r->w - 1)
        t->at = hop_inter(s, v, r, &t->inter, block(v, r, jo + 1, 0), t->at);
}

static void double_ring_backward(struct schedule *s, struct view *v)
{
    struct rings *r = v->state;
    enum dtype wire = v->job->wire_grad;

    schedule_step(s, -1);
    r->d = -1;
    struct travel t = {
        .g = gradients_start(s, v),
        .intra = pair_circuit(s, v, "dkv.intra", CHANNEL_DKV, "dk", "dv",
                              wire),
        .inter = pair_circuit(s, v, "dkv.inter", CHANNEL_OUT, "dk_inter",
                              "dv_inter", wire),
        .home = { 2, { v->dk, v->dv } } };
    struct tile *home = t.home.tiles;

    if (v->members > 1) {
        home[0] = view_accumulator(s, "dk_acc", v->dk);
        home[1] = view_accumulator(s, "dv_acc", v->dv);
    }
    if (v->members > 2)
        t.part = cargo_of(view_pair(s, v, "dk_part", "dv_part", ROLE_SCRATCH,
                                    v->job->wire_grad, view_rows_most(v)));
    walk(s, v, r, visit_backward, &t);
    collect(s, &t, t.at);
    parts_finish(s, v, &t.g.dq);
    view_finish(s, "dk", home[0], v->dk);
    view_finish(s, "dv", home[1], v->dv);
}

/* Tokens of the blocks sent on, or of their sums: intra in each window all, but
 * those of as many last steps; inter one of each window, but of as many last
 * windows.  K, V: 1, 1; dK, dV: 0, 0, without the own at (0, 0). */
static int64_t rows_sent(const struct view *v, int64_t d, int64_t last_step,
                         int64_t last_window)
{
    struct rings r = make_rings(v, d);
    int64_t rows = 0;

    for (int64_t jo = 0; jo < r.W; jo++) {
        for (int64_t ji = 0; r.w > 1 && ji < r.w - last_step; ji++)
            rows += block(v, &r, jo, ji).count;
        if (r.W > 1 && jo < r.W - last_window)
            rows += block(v, &r, jo, 0).count;
    }
    return rows;
}

static int64_t double_ring_bytes_forward(const struct view *v)
{
    return rows_sent(v, 1, 1, 1) * view_kv_bytes(v, v->job->dtype);
}

static int64_t double_ring_bytes_backward(const struct view *v)
{
    struct rings r = make_rings(v, -1);
    int64_t home = ((r.w > 1) + (r.W > 1)) * view_rows(v, v->me);

    return rows_sent(v, -1, 1, 1) * view_kv_bytes(v, v->job->dtype)
        + (rows_sent(v, -1, 0, 0) - home) * view_kv_bytes(v, v->job->wire_grad);
}

static const char *const double_ring_options[] = { "layout", "block",
                                                   "window", NULL };

const struct strategy strategy_double_ring = {
    .name = "double-ring",
    .family = "softmax",
    .summary = "an inner ring in each window, windows exchange K, V meanwhile",
    .options = double_ring_options,
    .applies = double_ring_applies,
    .turns = 1,
    .forward = double_ring_forward,
    .backward = double_ring_backward,
    .bytes_forward = double_ring_bytes_forward,
    .bytes_backward = double_ring_bytes_backward,
    .period = double_ring_period
};
