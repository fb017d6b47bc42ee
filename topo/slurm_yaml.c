/* SPDX-License-Identifier: Apache-2.0
 *
 * topology.yaml(5) of Slurm 25.05: a list of topologies, each a tree of
 * switches, blocks, or flat. */
#include <config.h>

#include "topo/slurm.h"

#include "base/yaml.h"

#include <stdlib.h>
#include <string.h>

int slurm_is_yaml(const char *text)
{
    for (;;) {
        text += strspn(text, " \t\r\n");
        if (*text != '#' && strncmp(text, "---", 3) != 0)
            break;
        text += strcspn(text, "\n");
    }
    return strncmp(text, "- topology:", 11) == 0;
}

/* A list in Slurm's way, "node[1-2]", of an element. */
static int read_list(struct yaml *y, int map, const char *key,
                     struct names *names, struct error *e)
{
    int node = yaml_get(y, map, key);
    char *text = NULL;
    struct error why = { 0 };
    int rc = yaml_string(y, node, key, &text, e);

    if (rc == 0 && text && hostlist_expand(text, names, &why) != 0)
        rc = yaml_fail(y, node, key, e, "%s", why.text);
    free(text);
    return rc;
}

static int read_element(struct slurm_tree *t, struct yaml *y, int map,
                        int is_block, struct error *e)
{
    static const char *const switch_keys[] = { "switch", "children", "nodes",
                                               NULL };
    static const char *const block_keys[] = { "block", "nodes", NULL };
    const char *const *keys = is_block ? block_keys : switch_keys;
    struct error why = { 0 };
    char *name = NULL;

    if (yaml_check_keys(y, map, keys[0], keys, e)
        || yaml_string(y, yaml_get(y, map, keys[0]), keys[0], &name, e))
        return -1;
    if (!name)
        return yaml_fail(y, map, keys[0], e, "missing: its name");
    struct slurm_element *x = slurm_add(t, name, is_block, &why);
    free(name);
    if (!x)
        return yaml_fail(y, map, keys[0], e, "%s", why.text);
    return read_list(y, map, "nodes", &x->nodes, e)
        || (!is_block && read_list(y, map, "children", &x->children, e)) ? -1
        : 0;
}

static int read_elements(struct slurm_tree *t, struct yaml *y, int list,
                         int is_block, struct error *e)
{
    for (int64_t i = 0; i < yaml_count(y, list); i++)
        if (read_element(t, y, yaml_item(y, list, i), is_block, e))
            return -1;
    return 0;
}

static int is_default(struct yaml *y, int topology)
{
    int yes = 0;

    return yaml_bool(y, yaml_get(y, topology, "cluster_default"),
                     "cluster_default", &yes, NULL) == 0 && yes;
}

static int find_topology(struct yaml *y)
{
    int root = yaml_root(y);

    for (int64_t i = 0; i < yaml_count(y, root); i++)
        if (is_default(y, yaml_item(y, root, i)))
            return yaml_item(y, root, i);
    return yaml_item(y, root, 0);
}

static int read_topology(struct slurm_tree *t, struct yaml *y, struct error *e)
{
    int map = find_topology(y);
    int tree = yaml_get(y, yaml_get(y, map, "tree"), "switches");
    int blocks = yaml_get(y, yaml_get(y, map, "block"), "blocks");

    if (yaml_type(y, tree ? tree : blocks) != YAML_LIST)
        return yaml_fail(y, map, "topology", e, "neither tree: {switches: "
                         "[...]} nor block: {blocks: [...]}");
    return read_elements(t, y, tree ? tree : blocks, !tree, e);
}

int slurm_tree_yaml(struct slurm_tree *t, const char *path, const char *text,
                    size_t size, struct error *e)
{
    struct yaml *y = yaml_parse(path, text, size, e);

    *t = (struct slurm_tree){ .path = path };
    int rc = y ? read_topology(t, y, e) : -1;
    yaml_destroy(y);
    return rc ? -1 : slurm_tree_check(t, e);
}
