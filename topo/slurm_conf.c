/* SPDX-License-Identifier: Apache-2.0
 *
 * topology.conf(5): a line for each switch or block. */
#include <config.h>

#include "topo/slurm.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Its first line that says something starts with the name of a switch or of a
 * block. */
int slurm_is_conf(const char *text)
{
    static const char *const words[] = { "SwitchName=", "BlockName=",
                                         "BlockSizes=", NULL };

    for (;;) {
        text += strspn(text, " \t\r\n");
        if (*text != '#')
            break;
        text += strcspn(text, "\n");
    }
    for (int i = 0; words[i]; i++)
        if (strncasecmp(text, words[i], strlen(words[i])) == 0)
            return 1;
    return 0;
}

/* Keys of a line, Level and BlockIndex as scontrol prints them; what says
 * nothing of the tree is passed over. */
enum key { KEY_SWITCH, KEY_BLOCK, KEY_SWITCHES, KEY_NODES, KEY_PASSED };
static const struct {
    const char *name;
    enum key key;
} keys[] = {
    { "SwitchName", KEY_SWITCH }, { "BlockName", KEY_BLOCK },
    { "Switches", KEY_SWITCHES }, { "Nodes", KEY_NODES },
    { "LinkSpeed", KEY_PASSED }, { "Level", KEY_PASSED },
    { "BlockIndex", KEY_PASSED }, { "BlockSize", KEY_PASSED },
    { "BlockSizes", KEY_PASSED },
};
enum { N_KEYS = sizeof keys / sizeof keys[0] };

static int find_key(const char *word, size_t n)
{
    for (int k = 0; k < N_KEYS; k++)
        if (strlen(keys[k].name) == n
            && strncasecmp(keys[k].name, word, n) == 0)
            return k;
    return -1;
}

/* Key=Value, of the element of the line, which the first word makes. */
static int read_word(struct slurm_tree *t, const char *word, int first,
                     struct error *e)
{
    size_t n = strcspn(word, "=");
    int k = find_key(word, n);
    const char *value = word + n + (word[n] == '=');

    if (k < 0 || word[n] != '=')
        return fail_usage(e, "\"%.100s\" is not one of SwitchName=, Switches=, "
                          "Nodes=, LinkSpeed=, BlockName=, BlockSizes=", word);
    if (keys[k].key == KEY_PASSED)
        return 0;
    if (*value == '\0')
        return fail_usage(e, "%s= says nothing", keys[k].name);
    if (keys[k].key == KEY_SWITCH || keys[k].key == KEY_BLOCK)
        return slurm_add(t, value, keys[k].key == KEY_BLOCK, e) ? 0 : -1;
    if (first)
        return fail_usage(e, "a line starts with SwitchName= or BlockName=");
    struct slurm_element *x = &t->elements[t->n - 1];
    return hostlist_expand(value, keys[k].key == KEY_NODES ? &x->nodes
                           : &x->children, e);
}

static int read_line(struct slurm_tree *t, char *line, struct error *e)
{
    char *rest = line;
    int first = 1;

    line[strcspn(line, "#\r")] = '\0';
    for (char *word; (word = strtok_r(rest, " \t", &rest)); first = 0)
        if (read_word(t, word, first, e) != 0)
            return -1;
    return 0;
}

int slurm_tree_conf(struct slurm_tree *t, const char *path, const char *text,
                    struct error *e)
{
    char *copy = xstrdup(text), *rest = copy;
    int rc = 0;

    *t = (struct slurm_tree){ .path = path };
    for (int number = 1; rc == 0 && rest; number++) {
        struct error why = { 0 };
        char *line = strsep(&rest, "\n");
        if (read_line(t, line, &why) != 0)
            rc = fail_usage(e, "%s:%d: %s", t->path, number, why.text);
    }
    free(copy);
    return rc ? -1 : slurm_tree_check(t, e);
}
