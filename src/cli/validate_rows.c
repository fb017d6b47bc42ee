/* SPDX-License-Identifier: Apache-2.0
 *
 * Cases of attention that others measured: reading their rows. */
#include <config.h>

#include "cli/validate.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Under this a code base's host decides, not its GPUs. */
static const double shortest = 5e-3;

/* A row; head 0: none. */
static int parse_row(char *line, struct attention_case *c, struct choice *x)
{
    double rate = 0;
    char head[8] = "";

    /* An empty field: sscanf stops at it. */
    char *empty = strstr(line, ",,");
    if (empty) {
        if (sscanf(empty, ",,%lf", &rate) != 1)
            return -1;
        *empty = '\0';
    }
    int n = sscanf(line, "%15[^,],%23[^,],%" SCNd64 ",%" SCNd64 ",%" SCNd64
                   ",%" SCNd64 ",%" SCNd64 ",%19[^,],%15[^,],%15[^,],%15[^,],"
                   "%7[^,],%lf", c->source, c->box, &c->ranks, &c->sequence,
                   &c->heads, &c->kv_heads, &c->head_dim, c->pass, c->api,
                   x->strategy, x->layout, head, &rate);
    if (n != (empty ? 11 : 13) || !(rate > 0))
        return -1;
    x->head = atoll(head);
    x->measured = 1 / rate;
    if (x->head)                        /* the degree is chosen, not this */
        snprintf(c->layout, sizeof c->layout, "%s", x->layout);
    return 0;
}

static int same_case(const struct attention_case *a,
                     const struct attention_case *b)
{
    return !strcmp(a->source, b->source) && !strcmp(a->box, b->box)
        && !strcmp(a->api, b->api) && !strcmp(a->pass, b->pass)
        && !strcmp(a->layout, b->layout) && a->ranks == b->ranks
        && a->sequence == b->sequence && a->heads == b->heads
        && a->kv_heads == b->kv_heads && a->head_dim == b->head_dim;
}

static void add_row(struct attention_cases *s, const struct attention_case *c,
                    const struct choice *x)
{
    int64_t i = 0;

    if (x->measured < shortest) {
        s->excluded++;
        return;
    }
    while (i < s->n && !same_case(&s->items[i], c))
        i++;
    if (i == s->n)
        ARRAY_PUSH(s->items, s->n, s->cap, *c);
    struct attention_case *at = &s->items[i];
    ARRAY_PUSH(at->choices, at->n, at->cap, *x);
}

/* Cases of one row have nothing to choose. */
static void drop_single(struct attention_cases *s)
{
    int64_t kept = 0;

    for (int64_t i = 0; i < s->n; i++)
        if (s->items[i].n > 1)
            s->items[kept++] = s->items[i];
        else {
            free(s->items[i].choices);
            s->single++;
        }
    s->n = kept;
}

int attention_rows(struct attention_cases *s, const char *path, char *text,
                   struct error *e)
{
    int line = 1;

    for (char *at = strchr(text, '\n'); at && at[1]; line++) {
        struct attention_case c = { .n = 0 };
        struct choice x = { .head = 0 };
        char *next = strchr(at + 1, '\n');
        if (next)
            *next = '\0';
        if (parse_row(at + 1, &c, &x) != 0)
            return fail_usage(e, "%s:%d: not a row", path, line + 1);
        add_row(s, &c, &x);
        at = next;
    }
    drop_single(s);
    return 0;
}

void attention_cases_clear(struct attention_cases *s)
{
    for (int64_t i = 0; i < s->n; i++)
        free(s->items[i].choices);
    free(s->items);
}
