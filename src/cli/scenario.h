/* SPDX-License-Identifier: Apache-2.0
 *
 * Scenario files: what to run, on how many ranks, with which strategies.
 * The contract is doc/interface.md, section 1. */
#ifndef SPAR_SCENARIO_H
#define SPAR_SCENARIO_H

#include "base/options.h"
#include "job/jitter.h"
#include "job/job.h"
#include "run/verify.h"
#include "strategy/strategy.h"
#include "topo/machine.h"
#include "trace/trace.h"

#include <stdio.h>

struct scenario_strategy {
    const struct strategy *strategy;
    struct strategy_options options;
};

/* job.attention.linear.decay, before the number of heads is known. */
enum decay { DECAY_NONE, DECAY_ALIBI, DECAY_SLOPES };

struct scenario {
    char *path;
    struct job job;             /* complete once `ready` */
    int ready;                  /* 0: scenario_apply_input() is still due */
    int64_t ranks;              /* 0: not given */
    int32_t *slots;             /* [ranks] where each works; NULL: in order */
    int64_t warmups, repeats;
    int64_t seed;
    enum verify_mode verify;
    char *kernel, *transport;   /* "auto" or a name */
    int deterministic;
    struct jitter jitter;
    int64_t n_strategies;
    struct scenario_strategy *strategies;
    char *machine;              /* name or path as given; NULL: none */
    int64_t hosts;              /* of its cluster; 0: as it says */
    char *input;                /* path, seen from here; NULL: seeded */
    char *json;                 /* the scenario as run, assignments included */
    struct yaml *yaml;
    int64_t *lengths;           /* of `sequence`, before the job is complete */
    int64_t n_lengths;
    int one_length;             /* `sequence` is a number, not a list */
    enum decay decay;
    double *slopes;             /* [n_slopes] with DECAY_SLOPES */
    int64_t n_slopes;
};

/* From bytes in memory; `path` names the file and says where relative paths
 * start.  `sets`: assignments "key.path=value". Presets are read through
 * file_read(). NULL and *e (usage). */
struct scenario *scenario_parse(const char *path, const char *text,
                                size_t size, const char *const *sets,
                                int n_sets, struct error *e);
/* Read the file, with what --set says (NULL: nothing), and the shapes of its
 * `input`: a scenario that is ready. */
struct scenario *scenario_load(const char *path,
                               const struct string_list *sets,
                               struct error *e);
/* The same of what `plan` is asked: `strategies` may be missing. */
struct scenario *question_parse(const char *path, const char *text,
                                size_t size, const char *const *sets,
                                int n_sets, struct error *e);
struct scenario *question_load(const char *path,
                               const struct string_list *sets,
                               struct error *e);
void scenario_destroy(struct scenario *s);

/* What its input file must have. */
enum tensor_need scenario_input_need(const struct scenario *s);
/* Shapes and lengths of the input file (its data is not read): fill in what the
 * scenario leaves out, refuse what disagrees, complete the job. */
int scenario_apply_input(struct scenario *s, const struct tensor_file *f,
                         struct error *e);

/* "FILE:LINE:COL: KEY: ..." of a key such as "run.ranks" (the nearest one that
 * is there); returns -1, usage. */
int scenario_fail(struct scenario *s, const char *key, struct error *e,
                  const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* The options that are not at their defaults: "layout: zigzag, window: 4". */
void options_text(const struct strategy *st, const struct strategy_options *o,
                  char *text, size_t size);
/* What an entry of a table says of itself besides its layout: two spaces and
 * those options, or nothing. */
void print_variant(FILE *out, const struct scenario_strategy *s);

/* Refuse a scenario without run.ranks (check, show, sim). */
int scenario_need_ranks(struct scenario *s, struct error *e);

/* run.slots, where the machine has them; else NULL. */
const int32_t *scenario_slots(const struct scenario *s,
                              const struct machine *m);
/* Refuse run.slots that the machine does not have. */
int scenario_check_slots(struct scenario *s, const struct machine *m,
                         struct error *e);

/* Text of kind/NAME.yaml ("transformers", "machines") in $SPAR_DATA, the source
 * tree, the installed data; or of the file NAME, if it has a slash or ends in
 * .yaml, beside `from`.  *found: its path. The caller frees both. */
char *scenario_data(const char *kind, const char *name, const char *from,
                    char **found, size_t *size, struct error *e);

/* Write the scenario as its tree now is, made by the command `line`: presets by
 * name, files by their whole path; whole or not at all. */
int scenario_emit(const char *path, struct scenario *s, const char *line,
                  struct error *e);

/* The whole path of a transformer or machine that is a file, seen from the
 * scenario `from`; NULL: a preset.  The caller frees it. */
char *scenario_file(const char *name, const char *from);

/* "x/quick.yaml" and ".run.h5" give "x/quick.run.h5". */
char *scenario_output(const char *path, const char *ending);

#endif
