/* SPDX-License-Identifier: Apache-2.0
 *
 * Subcommands: a table of structs, one file each, as in tmux.  main.c parses
 * options and operands, so that a command only does its work. */
#ifndef SPAR_COMMAND_H
#define SPAR_COMMAND_H

#include "base/options.h"

/* What the user asked of a command. */
struct call {
    const void *options;        /* the struct that its rows fill */
    char **operands;
    int n_operands;
    const char *line;           /* the whole command line */
};

struct command {
    const char *name, *operands, *summary;
    const struct option_row *rows;
    size_t size;                /* of the struct that the rows fill */
    const void *initial;        /* what it starts from; NULL: zeros */
    int least, most;            /* operands */
    int on_ranks;               /* MPI runs while it does */
    /* The exit status, or -1 and *e, which main prints. */
    int (*exec)(const struct call *call, struct error *e);
};

extern const struct command command_list, command_show, command_check,
    command_run, command_sim, command_compare, command_trace,
    command_calibrate, command_import, command_validate, command_topo,
    command_plan, command_place;

/* ---- Option rows that commands have in common ---------------------------- */

enum { FORMAT_TEXT, FORMAT_JSON };
extern const char *const format_words[];

#define ROW_FORMAT(type)                                                      \
    { "format", 0, OPTION_WORD, offsetof(struct type, format), "text|json",   \
      0, 0, format_words, "what to print (text)" }
#define ROW_SET(type)                                                         \
    { "set", 0, OPTION_STRINGS, offsetof(struct type, sets), "KEY=VALUE",     \
      0, 0, NULL, "set a key of the scenario, as in run.ranks=3" }
#define ROW_OUTPUT(type, text)                                                \
    { "output", 'o', OPTION_STRING, offsetof(struct type, output), "FILE",    \
      0, 0, NULL, text }
#define ROW_LOWERED(type)                                                     \
    { "lowered", 0, OPTION_WORD, offsetof(struct type, lowered),              \
      "staged|ipc+staged", 0, 0, lowered_words,                               \
      "schedules as that transport executes them" }
#define ROW_END { NULL, 0, OPTION_FLAG, 0, NULL, 0, 0, NULL, NULL }

#endif
