/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "topo/hostlist.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_NAMES = 65536, MOST_RANGES = 8 };   /* of a list, in a name */

void names_clear(struct names *l)
{
    for (int64_t i = 0; i < l->n; i++)
        free(l->items[i]);
    free(l->items);
    *l = (struct names){ 0 };
}

int64_t names_find(const struct names *l, const char *name)
{
    for (int64_t i = 0; i < l->n; i++)
        if (strcmp(l->items[i], name) == 0)
            return i;
    return -1;
}

static int bad_list(const char *text, struct error *e)
{
    return fail_usage(e, "\"%.200s\" is not a list of hosts, as in "
                      "\"tux[0-3,12],login\"", text);
}

/* One entry, `head` expanded, `rest` not yet: up to its end at `end`. */
static int expand(const char *whole, const char *head, const char *rest,
                  const char *end, struct names *out, struct error *e);

/* "3" or "007-012" at *at: each number behind `head`. */
static int expand_range(const char *whole, const char *head, const char **at,
                        const char *rest, const char *end, struct names *out,
                        struct error *e)
{
    char *stop;
    int width = (int)strspn(*at, "0123456789");
    long long low = strtoll(*at, &stop, 10), high = low;

    if (width == 0 || width > 9)
        return bad_list(whole, e);
    if (*stop == '-') {
        const char *last = stop + 1;
        int digits = (int)strspn(last, "0123456789");
        high = strtoll(last, &stop, 10);
        if (digits == 0 || digits > 9 || high < low)
            return bad_list(whole, e);
    }
    for (long long i = low; i <= high; i++) {
        char *name = xasprintf("%s%0*lld", head, width, i);
        int rc = expand(whole, name, rest, end, out, e);
        free(name);
        if (rc != 0)
            return -1;
    }
    *at = stop;
    return 0;
}

static int expand(const char *whole, const char *head, const char *rest,
                  const char *end, struct names *out, struct error *e)
{
    size_t plain = strcspn(rest, "[,");

    if (rest + plain >= end) {
        if (out->n >= MOST_NAMES)
            return fail_usage(e, "more than %d hosts", MOST_NAMES);
        ARRAY_PUSH(out->items, out->n, out->cap,
                   xasprintf("%s%.*s", head, (int)(end - rest), rest));
        return 0;
    }
    const char *at = rest + plain + 1, *close = strchr(at, ']');
    if (close == NULL || close >= end)
        return bad_list(whole, e);
    char *longer = xasprintf("%s%.*s", head, (int)plain, rest);
    int rc;
    while ((rc = expand_range(whole, longer, &at, close + 1, end, out, e)) == 0
           && *at == ',')
        at++;
    free(longer);
    if (rc == 0 && at != close)
        rc = bad_list(whole, e);
    return rc;
}

/* The end of the entry that starts here: a comma that is in no brackets. */
static const char *entry_end(const char *at)
{
    int open = 0;

    for (; *at && (open || *at != ','); at++)
        open += (*at == '[') - (*at == ']');
    return at;
}

int hostlist_expand(const char *text, struct names *out, struct error *e)
{
    const char *at = text;

    for (;;) {
        const char *end = entry_end(at);
        int ranges = 0;
        for (const char *c = at; c < end; c++) {
            ranges += *c == '[';
            if (isspace((unsigned char)*c) || ranges > MOST_RANGES)
                return bad_list(text, e);
        }
        if (end == at)
            return bad_list(text, e);
        if (expand(text, "", at, end, out, e) != 0)
            return -1;
        if (*end == '\0')
            return 0;
        at = end + 1;
    }
}

int tasks_expand(const char *text, int64_t **counts, int64_t *n,
                 struct error *e)
{
    const char *at = text;
    int64_t cap = *n;

    for (;;) {
        int tasks = 0, times = 1, used = 0, more = 0;
        if (sscanf(at, "%9d%n", &tasks, &used) != 1 || tasks < 1)
            break;
        if (sscanf(at + used, "(x%9d)%n", &times, &more) == 1 && more == 0)
            break;
        if (times < 1 || *n + times > MOST_NAMES)
            break;
        for (int i = 0; i < times; i++)
            ARRAY_PUSH(*counts, *n, cap, (int64_t)tasks);
        at += used + more;
        if (*at == '\0')
            return 0;
        if (*at++ != ',')
            break;
    }
    return fail_usage(e, "\"%.200s\" is not a list of tasks per node, as in "
                      "\"2(x3),1\"", text);
}
