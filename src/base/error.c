/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>

static int error_fill(struct error *e, int status, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));

static int error_fill(struct error *e, int status, const char *fmt, va_list ap)
{
    if (e) {
        e->status = status;
        vsnprintf(e->text, sizeof e->text, fmt, ap);
    }
    return -1;
}

int fail(struct error *e, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    error_fill(e, SPAR_FAILED, fmt, ap);
    va_end(ap);
    return -1;
}

int fail_usage(struct error *e, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    error_fill(e, SPAR_USAGE, fmt, ap);
    va_end(ap);
    return -1;
}

static die_fn die_routine;

void die_set_routine(die_fn routine)
{
    die_routine = routine;
}

static where_fn die_where;
static void *die_where_arg;

void die_set_where(where_fn where, void *arg)
{
    die_where = where;
    die_where_arg = arg;
}

/* In one piece: another rank's abort may cut off what comes later. */
void die(const char *fmt, ...)
{
    char where[160] = "", text[2048];
    va_list ap;

    if (die_where)
        die_where(die_where_arg, where, sizeof where);
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fflush(stdout);
    fprintf(stderr, "spar: %s%s\n", where, text);
    fflush(stderr);
    if (die_routine)
        die_routine(SPAR_FAILED);
    exit(SPAR_FAILED);
}
