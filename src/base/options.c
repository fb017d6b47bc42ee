/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "base/options.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 48, FIRST_LONG = 256 };

static int64_t row_count(const struct option_row *rows)
{
    int64_t n = 0;

    while (rows[n].name)
        n++;
    return n;
}

/* What getopt_long() returns for a row. */
static int row_code(const struct option_row *rows, int64_t i)
{
    return rows[i].letter ? rows[i].letter : FIRST_LONG + (int)i;
}

struct tables {
    struct option longs[MOST];
    char shorts[3 * MOST];
    const char *names[MOST];            /* NULL last */
};

static void tables_fill(struct tables *t, const struct option_row *rows)
{
    int64_t n = row_count(rows);
    char *letter = t->shorts;

    if (n + 2 > MOST)
        die("options: more than %d rows", MOST - 2);
    memset(t, 0, sizeof *t);
    *letter++ = ':';                    /* tell a missing argument apart */
    *letter++ = 'h';
    for (int64_t i = 0; i < n; i++) {
        t->names[i] = rows[i].name;
        t->longs[i] = (struct option){
            rows[i].name, rows[i].argument ? required_argument : no_argument,
            NULL, row_code(rows, i)
        };
        if (!rows[i].letter)
            continue;
        *letter++ = (char)rows[i].letter;
        if (rows[i].argument)
            *letter++ = ':';
    }
    t->names[n] = "help";
    t->longs[n] = (struct option){ "help", no_argument, NULL, 'h' };
}

static int int_parse(const struct option_row *row, const char *text,
                     int64_t *value, struct error *e)
{
    char *end;

    errno = 0;
    *value = strtoll(text, &end, 10);
    if (end == text || *end || errno || *value < row->low
        || *value > row->high)
        return fail_usage(e, "--%s: \"%s\" is not a whole number between %"
                          PRId64 " and %" PRId64, row->name, text, row->low,
                          row->high);
    return 0;
}

static int word_parse(const struct option_row *row, const char *text,
                      int64_t *value, struct error *e)
{
    char known[256] = "";

    *value = name_index(row->words, text);
    if (*value >= 0)
        return 0;
    for (int i = 0; row->words[i]; i++) {
        size_t n = strlen(known);
        snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "",
                 row->words[i]);
    }
    return fail_usage(e, "--%s: \"%s\" is not one of %s", row->name, text,
                      known);
}

static int list_parse(const struct option_row *row, const char *text,
                      struct int_list *list, struct error *e)
{
    char *copy = xstrdup(text), *rest = copy, *word;
    int rc = 0;

    while (!rc && (word = strsep(&rest, ",")) != NULL) {
        int64_t value;
        rc = (row->words ? word_parse : int_parse)(row, word, &value, e);
        if (!rc)
            ARRAY_PUSH(list->items, list->n, list->cap, value);
    }
    free(copy);
    return rc;
}

static int row_store(const struct option_row *row, char *text, void *out,
                     struct error *e)
{
    void *at = (char *)out + row->offset;
    struct string_list *strings = at;
    int64_t index;

    switch (row->type) {
    case OPTION_FLAG:
        *(int *)at = 1;
        return 0;
    case OPTION_STRING:
        *(const char **)at = text;
        return 0;
    case OPTION_STRINGS:
        ARRAY_PUSH(strings->items, strings->n, strings->cap, text);
        return 0;
    case OPTION_INT:
        return int_parse(row, text, at, e);
    case OPTION_WORD:
        if (word_parse(row, text, &index, e))
            return -1;
        *(int *)at = (int)index;
        return 0;
    case OPTION_INTS:
    case OPTION_WORDS:
        return list_parse(row, text, at, e);
    }
    return 0;
}

/* getopt_long() said '?': an unknown option, or a value that is not taken. */
static int unknown(const struct tables *t, char **argv, struct error *e)
{
    for (int i = 0; t->names[i]; i++)
        if (optopt && optopt == t->longs[i].val)
            return fail_usage(e, "--%s takes no value", t->names[i]);
    if (optopt)
        return fail_usage(e, "unknown option -%c: see --help", optopt);

    char *name = xstrdup(argv[optind - 1] + 2);
    name[strcspn(name, "=")] = '\0';
    const char *near = name_nearest(t->names, name);
    fail_usage(e, "unknown option --%s%s%s%s", name,
               near ? ", did you mean --" : ": see --help", near ? near : "",
               near ? "?" : "");
    free(name);
    return -1;
}

int options_parse(const struct option_row *rows, int argc, char **argv,
                  void *out, int *first, struct error *e)
{
    struct tables t;
    int code;

    tables_fill(&t, rows);
    opterr = 0;
    optind = 0;                         /* start afresh */
    while ((code = getopt_long(argc, argv, t.shorts, t.longs, NULL)) != -1) {
        if (code == 'h')
            return 1;
        if (code == ':')
            return fail_usage(e, "%s needs a value: see --help",
                              argv[optind - 1]);
        if (code == '?')
            return unknown(&t, argv, e);
        for (int64_t i = 0; rows[i].name; i++)
            if (row_code(rows, i) == code
                && row_store(&rows[i], optarg, out, e))
                return -1;
    }
    *first = optind;
    return 0;
}

void options_clear(const struct option_row *rows, void *out)
{
    for (; rows->name; rows++) {
        void *at = (char *)out + rows->offset;
        if (rows->type == OPTION_STRINGS)
            free(((struct string_list *)at)->items);
        else if (rows->type == OPTION_INTS || rows->type == OPTION_WORDS)
            free(((struct int_list *)at)->items);
    }
}

void options_help(FILE *out, const struct option_row *rows)
{
    for (int64_t i = 0; rows[i].name; i++) {
        char left[64];
        snprintf(left, sizeof left, "--%s%s%s", rows[i].name,
                 rows[i].argument ? " " : "",
                 rows[i].argument ? rows[i].argument : "");
        fprintf(out, "  %c%c%c %-24s %s\n", rows[i].letter ? '-' : ' ',
                rows[i].letter ? rows[i].letter : ' ',
                rows[i].letter ? ',' : ' ', left, rows[i].help);
    }
    fprintf(out, "  -h, %-24s %s\n", "--help", "this text");
}
