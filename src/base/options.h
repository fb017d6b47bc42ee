/* SPDX-License-Identifier: Apache-2.0
 *
 * Command-line options: getopt_long behind a table that also writes --help. */
#ifndef SPAR_OPTIONS_H
#define SPAR_OPTIONS_H

#include "base/base.h"

#include <stdio.h>

/* Repeatable options collect here; items are borrowed from argv. */
struct string_list {
    char **items;
    int64_t n, cap;
};
struct int_list {
    int64_t *items;
    int64_t n, cap;
};

enum option_type {
    OPTION_FLAG,        /* int: 1 */
    OPTION_STRING,      /* const char *, of argv */
    OPTION_STRINGS,     /* struct string_list; repeatable */
    OPTION_INT,         /* int64_t; low .. high */
    OPTION_INTS,        /* struct int_list: "64,128"; low .. high */
    OPTION_WORD,        /* int: the index in `words` */
    OPTION_WORDS        /* struct int_list: indices, "fp32,bf16" */
};

struct option_row {
    const char *name;
    int letter;                 /* 0: none */
    enum option_type type;
    size_t offset;              /* in the struct that options_parse() fills */
    const char *argument;       /* "FILE"; NULL: takes none */
    int64_t low, high;
    const char *const *words;   /* NULL last */
    const char *help;
};

/* Parse argv[1..]; `rows` ends with name NULL.  --help (-h) is always there.
 * Operands are moved behind the options; *first is the index of the first.
 * 0, 1 if help was asked for, or -1 (usage). */
int options_parse(const struct option_row *rows, int argc, char **argv,
                  void *out, int *first, struct error *e);
/* Free the lists in `out`. */
void options_clear(const struct option_row *rows, void *out);
/* A line per option, aligned. */
void options_help(FILE *out, const struct option_row *rows);

#endif
