/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "base/base.h"
#include "mpi/fault.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const kinds[FAULTS] = { "none", "kill", "stall", "device" };

struct plan {
    int rank, op;
    enum fault kind;
};

static struct plan read_plan(void)
{
    const char *text = getenv("SPAR_FAULT");
    struct plan p = { 0 };
    char word[16] = "";

    if (!text)
        return p;
    if (sscanf(text, "%d:%d:%15s", &p.rank, &p.op, word) == 3)
        for (int k = 1; k < FAULTS; k++)
            if (strcmp(word, kinds[k]) == 0)
                p.kind = (enum fault)k;
    if (p.kind == FAULT_NONE)
        die("SPAR_FAULT=%s: RANK:OP:KIND, kind kill, stall or device", text);
    return p;
}

enum fault fault_at(int32_t rank, int32_t repeat, int32_t op)
{
    static struct plan p;
    static int known;

    if (!known) {
        p = read_plan();
        known = 1;
    }
    return repeat == 0 && rank == p.rank && op == p.op ? p.kind : FAULT_NONE;
}

void fault_commit(enum fault f)
{
    if (f == FAULT_KILL)
        raise(SIGKILL);
    while (f == FAULT_STALL)
        pause();
}
