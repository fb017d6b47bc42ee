/* SPDX-License-Identifier: Apache-2.0
 *
 * What hwloc sees of this node: printing, binding, counting. */
#include <config.h>

#include "topo/machine.h"
#include "topo/topology.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

hwloc_topology_t topology_load(int devices)
{
    hwloc_topology_t t;

    if (hwloc_topology_init(&t) != 0)
        return NULL;
    if (devices)
        hwloc_topology_set_io_types_filter(t,
                                           HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
    if (hwloc_topology_load(t) != 0) {
        hwloc_topology_destroy(t);
        return NULL;
    }
    return t;
}

/* ---- Printing ----------------------------------------------------------- */

struct printer {
    FILE *out;
    int json;
};

static void json_string(FILE *out, const char *s)
{
    putc('"', out);
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            putc('\\', out);
        if ((unsigned char)*s < ' ')
            fprintf(out, "\\u%04x", *s);
        else
            putc(*s, out);
    }
    putc('"', out);
}

static void json_field(FILE *out, const char *key, const char *value)
{
    fputs(", ", out);
    json_string(out, key);
    fputs(": ", out);
    json_string(out, value);
}

static int64_t object_bytes(hwloc_obj_t o)
{
    if (hwloc_obj_type_is_cache(o->type))
        return (int64_t)o->attr->cache.size;
    if (o->type == HWLOC_OBJ_NUMANODE)
        return (int64_t)o->attr->numanode.local_memory;
    return o->type == HWLOC_OBJ_MACHINE ? (int64_t)o->total_memory : 0;
}

static void object_text(const struct printer *p, hwloc_obj_t o, int depth)
{
    static const char *const info[] = { "CPUModel", "PCIDevice", "GPUModel",
                                        "Backend", "Address", NULL };
    char type[64], attributes[256];

    hwloc_obj_type_snprintf(type, sizeof type, o, 0);
    hwloc_obj_attr_snprintf(attributes, sizeof attributes, o, ", ", 0);
    fprintf(p->out, "%*s%s", 2 * depth, "", type);
    if (o->os_index != HWLOC_UNKNOWN_INDEX)
        fprintf(p->out, " %u", o->os_index);
    if (o->name != NULL)
        fprintf(p->out, " %s", o->name);
    if (*attributes)
        fprintf(p->out, "  (%s)", attributes);
    for (int i = 0; info[i] != NULL; i++) {
        const char *value = hwloc_obj_get_info_by_name(o, info[i]);
        if (value != NULL)
            fprintf(p->out, "  %s", value);
    }
    putc('\n', p->out);
}

static void object_json(const struct printer *p, hwloc_obj_t o)
{
    char type[64];

    hwloc_obj_type_snprintf(type, sizeof type, o, 0);
    fputs("{\"type\": ", p->out);
    json_string(p->out, type);
    if (o->os_index != HWLOC_UNKNOWN_INDEX)
        fprintf(p->out, ", \"index\": %u", o->os_index);
    if (o->name != NULL)
        json_field(p->out, "name", o->name);
    if (object_bytes(o) > 0)
        fprintf(p->out, ", \"bytes\": %" PRId64, object_bytes(o));
    for (unsigned i = 0; i < o->infos_count; i++)
        json_field(p->out, o->infos[i].name, o->infos[i].value);
}

static void print_object(const struct printer *p, hwloc_obj_t o, int depth)
{
    hwloc_obj_t first[] = { o->memory_first_child, o->first_child,
                            o->io_first_child };
    int any = 0;

    if (p->json)
        object_json(p, o);
    else
        object_text(p, o, depth);
    for (int i = 0; i < 3; i++) {
        for (hwloc_obj_t c = first[i]; c != NULL; c = c->next_sibling) {
            if (p->json)
                fputs(any++ ? ", " : ", \"children\": [", p->out);
            print_object(p, c, depth + 1);
        }
    }
    if (p->json)
        fputs(any ? "]}" : "}", p->out);
}

int topo_print(int json, FILE *out, struct error *e)
{
    struct printer p = { out, json };
    hwloc_topology_t t = topology_load(1);

    if (t == NULL)
        return fail(e, "hwloc cannot read this machine's topology");
    if (json)
        fprintf(out, "{\"hwloc\": \"%x\", \"cores\": %d, "
                "\"memory_available\": %" PRId64 ", \"tree\": ",
                hwloc_get_api_version(), topo_cores(),
                topo_memory_available());
    else
        fprintf(out, "%d cores to use, %.1f GB of memory available\n",
                topo_cores(), (double)topo_memory_available() / 1e9);
    print_object(&p, hwloc_get_root_obj(t), 0);
    fputs(json ? "}\n" : "", out);
    hwloc_topology_destroy(t);
    return ferror(out) ? fail(e, "cannot write the topology") : 0;
}

/* ---- Cores -------------------------------------------------------------- */

hwloc_bitmap_t topology_usable(hwloc_topology_t t)
{
    hwloc_bitmap_t set = hwloc_bitmap_alloc();

    if (set == NULL)
        die("hwloc: out of memory");
    if (hwloc_get_cpubind(t, set, HWLOC_CPUBIND_PROCESS) != 0
        || hwloc_bitmap_iszero(set))
        hwloc_bitmap_copy(set, hwloc_topology_get_allowed_cpuset(t));
    hwloc_bitmap_and(set, set, hwloc_topology_get_allowed_cpuset(t));
    return set;
}

static int cores_in(hwloc_topology_t t, hwloc_const_bitmap_t set)
{
    int depth = hwloc_get_type_depth(t, HWLOC_OBJ_CORE), cores = 0;

    if (depth < 0)
        return hwloc_bitmap_weight(set);
    for (hwloc_obj_t c = NULL; (c = hwloc_get_next_obj_by_depth(t, depth, c));)
        cores += hwloc_bitmap_intersects(c->cpuset, set);
    return cores;
}

int topo_cores(void)
{
    static int cores;           /* counted before anything binds */
    hwloc_topology_t t;

    if (cores > 0)
        return cores;
    if ((t = topology_load(0)) == NULL)
        return cores = 1;
    hwloc_bitmap_t set = topology_usable(t);
    cores = cores_in(t, set);
    hwloc_bitmap_free(set);
    hwloc_topology_destroy(t);
    return cores = cores > 0 ? cores : 1;
}

/* The index-th core of `set`, wrapping around; NULL if there is none. */
static hwloc_obj_t core_at(hwloc_topology_t t, hwloc_const_bitmap_t set,
                           int index)
{
    int n = cores_in(t, set);
    int depth = hwloc_get_type_depth(t, HWLOC_OBJ_CORE);

    if (depth < 0 || n == 0)
        return NULL;
    index %= n;
    for (hwloc_obj_t c = NULL; (c = hwloc_get_next_obj_by_depth(t, depth, c));)
        if (hwloc_bitmap_intersects(c->cpuset, set) && index-- == 0)
            return c;
    return NULL;
}

int topo_bind(int index)
{
    topo_cores();
    hwloc_topology_t t = topology_load(0);
    int bound = 0;

    if (t == NULL)
        return 0;
    hwloc_bitmap_t set = topology_usable(t);
    /* A launcher that chose has left fewer than all. */
    if (hwloc_bitmap_isequal(set, hwloc_topology_get_allowed_cpuset(t))) {
        hwloc_obj_t core = core_at(t, set, index);
        bound = core != NULL
            && hwloc_set_cpubind(t, core->cpuset, HWLOC_CPUBIND_PROCESS) == 0;
    }
    hwloc_bitmap_free(set);
    hwloc_topology_destroy(t);
    return bound;
}

const char *topo_processor(void)
{
    static char model[96];
    hwloc_topology_t t;

    if (*model || (t = topology_load(0)) == NULL)
        return model;
    hwloc_obj_t o = hwloc_get_obj_by_type(t, HWLOC_OBJ_PACKAGE, 0);
    const char *name = hwloc_obj_get_info_by_name(
        o != NULL ? o : hwloc_get_root_obj(t), "CPUModel");
    if (name != NULL)
        snprintf(model, sizeof model, "%s", name);
    hwloc_topology_destroy(t);
    return model;
}

const char *topo_version(void)
{
    static char text[32];
    hwloc_topology_t t;

    if (*text || (t = topology_load(0)) == NULL)
        return text;
    const char *version = hwloc_obj_get_info_by_name(hwloc_get_root_obj(t),
                                                     "hwlocVersion");
    snprintf(text, sizeof text, "hwloc %s", version ? version : "2");
    hwloc_topology_destroy(t);
    return text;
}

/* ---- Memory ------------------------------------------------------------- */

/* The integer in a file's first line, or -1 ("max", no file). */
static int64_t file_number(const char *path)
{
    FILE *f = fopen(path, "r");
    int64_t value = -1;

    if (f == NULL)
        return -1;
    if (fscanf(f, "%" SCNd64, &value) != 1)
        value = -1;
    fclose(f);
    return value;
}

static int64_t memory_info(const char *key)
{
    FILE *f = fopen("/proc/meminfo", "r");
    char line[128];
    int64_t kib = -1;

    if (f == NULL)
        return -1;
    while (kib < 0 && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, key, strlen(key)) == 0)
            sscanf(line + strlen(key), ": %" SCNd64, &kib);
    fclose(f);
    return kib < 0 ? -1 : kib * 1024;
}

/* Where the two versions of control groups keep a group's limit and use. */
static const struct {
    const char *root, *limit, *used;
} cgroups[] = {
    { "/sys/fs/cgroup/memory", "memory.limit_in_bytes",
      "memory.usage_in_bytes" },
    { "/sys/fs/cgroup", "memory.max", "memory.current" },
};

/* What the group that `path` names and its ancestors still allow. */
static int64_t group_left(int version, const char *path)
{
    char file[4400], at[4096];
    int64_t least = INT64_MAX;

    snprintf(at, sizeof at, "%s", path);
    for (;;) {
        snprintf(file, sizeof file, "%s%s/%s", cgroups[version - 1].root, at,
                 cgroups[version - 1].limit);
        int64_t limit = file_number(file);
        snprintf(file, sizeof file, "%s%s/%s", cgroups[version - 1].root, at,
                 cgroups[version - 1].used);
        int64_t used = file_number(file);
        if (limit >= 0 && used >= 0)
            least = min64(least, max64(limit - used, 0));
        char *slash = strrchr(at, '/');
        if (slash == NULL)
            return least;
        *slash = '\0';
    }
}

/* Lines "N:controllers:/path"; version 2 has N = 0 and no controllers. */
static int64_t cgroup_left(void)
{
    FILE *f = fopen("/proc/self/cgroup", "r");
    char line[4096];
    int64_t left = INT64_MAX;

    if (f == NULL)
        return left;
    while (fgets(line, sizeof line, f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *memory = strstr(line, ":memory:");
        if (memory != NULL)
            left = min64(left, group_left(1, memory + 8));
        else if (strncmp(line, "0::/", 4) == 0)
            left = min64(left, group_left(2, line + 3));
    }
    fclose(f);
    return left;
}

int64_t topo_memory(void)
{
    return max64(memory_info("MemTotal"), 0);
}

int64_t topo_memory_available(void)
{
    int64_t available = memory_info("MemAvailable");

    return available < 0 ? 0 : min64(available, cgroup_left());
}
