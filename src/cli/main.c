/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/command.h"

#include "mpi/run.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct command *const commands[] = {
    &command_list,
    &command_show,
    &command_check,
    &command_run,
    &command_sim,
    &command_compare,
    &command_trace,
    &command_calibrate,
    &command_import,
    &command_validate,
    &command_topo,
    &command_plan, &command_place,
    NULL
};

const char *const format_words[] = { "text", "json", NULL };

/* ---- Help ---------------------------------------------------------------- */

static void print_help(FILE *out)
{
    fputs("Usage: spar COMMAND [ARGUMENT...]\n\n"
          "Sequence-parallel attention: run on MPI ranks, checked, simulated "
          "and compared,\nfrom one schedule.\n\nCommands:\n", out);
    for (int i = 0; commands[i]; i++)
        fprintf(out, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fputs("\n`spar COMMAND --help` tells more; --version, the version.\n", out);
}

static void print_command_help(FILE *out, const struct command *c)
{
    fprintf(out, "Usage: spar %s%s%s [OPTION...]\n\n%s\n\nOptions:\n", c->name,
            *c->operands ? " " : "", c->operands, c->summary);
    options_help(out, c->rows);
}

/* ---- Running a command --------------------------------------------------- */

static const struct command *find_command(const char *name, struct error *e)
{
    const char *names[sizeof commands / sizeof commands[0]];

    for (int i = 0; commands[i]; i++) {
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
        names[i] = commands[i]->name;
    }
    names[sizeof names / sizeof names[0] - 1] = NULL;
    const char *near = name_nearest(names, name);
    if (near)
        fail_usage(e, "unknown command \"%s\", did you mean \"%s\"?", name,
                   near);
    else
        fail_usage(e, "unknown command \"%s\": see spar --help", name);
    return NULL;
}

static int check_operands(const struct command *c, int n, char **operands,
                          struct error *e)
{
    if (n < c->least)
        return fail_usage(e, "%s needs %s: see spar %s --help", c->name,
                          c->operands, c->name);
    if (n > c->most)
        return fail_usage(e, "%s does not take \"%s\": see spar %s --help",
                          c->name, operands[c->most], c->name);
    return 0;
}

static char *join_words(int n, char **words)
{
    char *line = xstrdup("spar");

    for (int i = 0; i < n; i++) {
        char *longer = xasprintf("%s %s", line, words[i]);
        free(line);
        line = longer;
    }
    return line;
}

/* words[0] is the command's name. */
static int call_command(const struct command *c, int n, char **words,
                        int is_first, struct error *e)
{
    void *options = xcalloc(1, c->size);
    char *line = join_words(n, words);

    if (c->initial)
        memcpy(options, c->initial, c->size);
    int first = 0, rc = options_parse(c->rows, n, words, options, &first, e);
    struct call call = { options, words + first, n - first, line };

    if (rc == 1) {
        if (is_first)
            print_command_help(stdout, c);
        rc = SPAR_OK;
    } else if (!rc) {
        rc = check_operands(c, call.n_operands, call.operands, e);
        if (!rc)
            rc = c->exec(&call, e);
    }
    free(line);
    options_clear(c->rows, options);
    free(options);
    return rc;
}

/* Standard output must have arrived: a full disk is a failure. */
static int finish(int rc, int is_first, struct error *e)
{
    int lost = ferror(stdout);

    if (fflush(stdout) || lost) {
        fail(e, "standard output: cannot write");
        rc = -1;
    }
    if (rc >= 0)
        return rc;
    if (is_first)
        fprintf(stderr, "spar: %s\n", e->text);
    return e->status;
}

/* Processes that do not see each other, started together by mistake: the first
 * one speaks. */
static int launched_first(void)
{
    static const char *const names[] = { "OMPI_COMM_WORLD_RANK", "PMI_RANK",
                                         "PMIX_RANK", "SLURM_PROCID", NULL };

    for (int i = 0; names[i]; i++) {
        const char *rank = getenv(names[i]);
        if (rank)
            return strcmp(rank, "0") == 0;
    }
    return 1;
}

static int run_plain(int n, char **words, struct error *e)
{
    const struct command *c = find_command(words[0], e);

    return c ? call_command(c, n, words, 1, e) : -1;
}

/* Every rank reads the same command line, so all fail alike; one speaks. */
static int run_on_ranks(const struct command *c, int argc, char **argv)
{
    struct error e = { 0 };
    int is_first = mpi_start(&argc, &argv);
    int rc = mpi_check_launcher(&e);

    if (rc)
        is_first = launched_first();
    else
        rc = call_command(c, argc - 1, argv + 1, is_first, &e);
    return mpi_finish(finish(rc, is_first, &e));
}

int main(int argc, char **argv)
{
    struct error e = { 0 };

    if (argc >= 2) {
        const struct command *c = find_command(argv[1], &e);
        if (c && c->on_ranks)
            return run_on_ranks(c, argc, argv);
    }
    if (!launched_first() && (!freopen("/dev/null", "w", stdout)
                              || !freopen("/dev/null", "w", stderr)))
        return SPAR_FAILED;
    if (argc < 2) {
        print_help(stderr);
        return SPAR_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help(stdout);
        return finish(0, 1, &e);
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts(PACKAGE_STRING);
        return finish(0, 1, &e);
    }
    return finish(run_plain(argc - 1, argv + 1, &e), 1, &e);
}
