/* SPDX-License-Identifier: Apache-2.0
 *
 * An entry of `strategies`, planned, with the schedules of all ranks. */
#ifndef SPAR_PLANNED_H
#define SPAR_PLANNED_H

#include "cli/scenario.h"
#include "schedule/reach.h"
#include "topo/machine.h"

/* As which transport executes schedules (--lowered): as they are; `staged`;
 * `ipc+staged`, of which ranks on one host reach each other. */
enum lowered_as { LOWERED_NOT, LOWERED_STAGED, LOWERED_BETWEEN_HOSTS };
extern const char *const lowered_words[];       /* NULL last */
struct lowered {
    enum lowered_as as;
    struct reach *near;         /* NULL: nobody reaches another */
};

struct planned {
    const struct scenario_strategy *asked;
    int64_t ranks;
    struct plan *plan;          /* NULL: does not apply, for this reason */
    struct error reason;
    struct schedule **schedules;        /* [ranks]; NULL: not built */
    const struct lowered *lowered;      /* borrowed; NULL: they are executed as
                                           they are */
};

/* Plan entry i of a scenario that is ready, on `ranks` ranks. */
void planned_open(struct planned *p, const struct scenario *s, int64_t i,
                int64_t ranks);
/* Build the schedules of all ranks, with progress(). */
void planned_build(struct planned *p);
/* Of one of its schedules, as it is executed; NULL: as it is.  The caller's to
 * destroy. */
struct schedule *planned_lower(const struct planned *p,
                               const struct schedule *s);
/* [ranks], of all, which are built; NULL: as they are.  The caller destroys
 * each and frees them. */
struct schedule **planned_lower_all(const struct planned *p);
void planned_close(struct planned *p);

const char *planned_layout(const struct planned *p);
/* By rank, the caller's to free. */
int64_t *planned_bytes_expected(const struct planned *p);

/* 0 if an entry of the scenario applies; else -1, usage, and a line for each
 * that does not. */
int entries_apply(const struct scenario *s, int64_t ranks, struct error *e);

/* Where ranks of the scenario are on the machine says who reaches whom; m is
 * asked LOWERED_BETWEEN_HOSTS only, else it may be NULL. */
int lowered_open(struct lowered *x, enum lowered_as as, struct scenario *s,
                 const struct machine *m, struct error *e);
/* On the scenario's own machine, where that is asked. */
int lowered_for(struct lowered *x, enum lowered_as as, struct scenario *s,
                struct error *e);
void lowered_close(struct lowered *x);

/* The machine of a scenario: what calibrate wrote for `local`, else a preset or
 * a file.  *text, if wanted: the file, the caller's to free. NULL and *e. */
struct machine *scenario_machine(struct scenario *s, char **text,
                                 struct error *e);

/* Adds the surfaces of the files that m.kernels names, and, where text is
 * wanted, their text to *text.  `from`: where m was read. 0, or -1 and *e. */
int machine_find_kernels(struct machine *m, const char *from, char **text,
                         struct error *e);

#endif
