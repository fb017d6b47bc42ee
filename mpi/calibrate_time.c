/* SPDX-License-Identifier: Apache-2.0
 *
 * How long a call takes, and what all ranks say of it. */
#include <config.h>

#include "mpi/calibrate_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

double quartile(double *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, ascending);
    return values[n / 4];
}

double core_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double time_batch(void (*fn)(void *), void *arg, int64_t calls)
{
    double start = core_seconds();

    for (int64_t i = 0; i < calls; i++)
        fn(arg);
    return core_seconds() - start;
}

double time_call(const struct calibration *c, void (*fn)(void *), void *arg)
{
    double values[16], seconds;
    int64_t calls = 1;
    int n = c->batches;

    if (!on_host(c))
        return device_time_call(c, fn, arg);
    while ((seconds = time_batch(fn, arg, calls)) < c->least_seconds)
        calls *= 2;
    if (seconds > 10 * c->least_seconds)
        n = 2;                  /* long enough to be steady */
    values[0] = seconds / (double)calls;
    for (int i = 1; i < n; i++)
        values[i] = time_batch(fn, arg, calls) / (double)calls;
    return quartile(values, n);
}

double digits(double value)
{
    char text[32];

    snprintf(text, sizeof text, "%.5g", value);
    return strtod(text, NULL);
}

double mean_over_ranks(const struct calibration *c, double value)
{
    double sum;

    MPI_Allreduce(&value, &sum, 1, MPI_DOUBLE, MPI_SUM, c->comm);
    return digits(sum / c->ranks);
}

void quiet_barrier(const struct calibration *c)
{
    MPI_Request r;
    int done = 0;

    MPI_Ibarrier(c->comm, &r);
    while (!done) {
        MPI_Test(&r, &done, MPI_STATUS_IGNORE);
        if (!done)
            usleep(500);
    }
}

void say(const struct calibration *c, const char *fmt, ...)
{
    va_list ap;

    if (c->rank != 0)
        return;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    putc('\n', stderr);
}
