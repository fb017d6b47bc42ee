/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "topo/cluster.h"
#include "topo/machine_fields.h"

#include "topo/collective.h"

#define AT(type, member) offsetof(struct type, member)
const struct field machine_fields[] = {
    { "name", FIELD_TEXT, AT(machine, name), 64, NULL, NULL },
    { "processor", FIELD_TEXT, AT(machine, processor), 96, NULL, NULL },
    { "kernels", FIELD_TEXT, AT(machine, kernels), 64, NULL,
      "files of machines/kernels with surfaces" },
    { "peak", FIELD_REAL, AT(machine, peak), 0, "flop/s",
      "flop/s of a rank, dense, 16 bit; 0: unknown" },
    { "created", FIELD_TEXT, AT(machine, created), 0, NULL, NULL },
    { "versions", FIELD_TEXT, AT(machine, versions), 0, NULL, NULL },
    { "cores", FIELD_INT, AT(machine, cores), 0, NULL,
      "slots; more ranks are oversubscribed" },
    { "measured_ranks", FIELD_INT, AT(machine, measured_ranks), 0, NULL,
      "ranks that measured at the same time" },
    { "memory", FIELD_BYTES, AT(machine, memory_bytes), 0, "B",
      "B, of one node" },
    { "memory_bandwidth", FIELD_REAL, AT(machine, memory_bandwidth), 0, "B/s",
      "B/s, read plus written, one rank" },
    { "op_overhead", FIELD_REAL, AT(machine, op_overhead), 0, "s",
      "s, the executor's own time of an op" },
    { "repeat_overhead", FIELD_REAL, AT(machine, repeat_overhead), 0, "s",
      "s, of a repeat" },
    { "shared_core", FIELD_BOOL, AT(machine, shared_core), 0, NULL,
      "compute and the host's part of messages take turns" },
    { "poll_interval", FIELD_REAL, AT(machine, poll_interval), 0, "s",
      "s between two looks of a computing core at messages" },
    { "alone_ratio", FIELD_REAL, AT(machine, alone_ratio), 0, "1",
      "time of a block alone / among measured_ranks" },
    { "fit_error", FIELD_REAL, AT(machine, fit_error), 0, "1",
      "mean relative error of the surfaces, cross-validated" },
    { "devices", FIELD_INT, AT(machine, devices), 0, NULL,
      "GPUs, which ranks take in turn; 0: a rank is a core" },
    { NULL, 0, 0, 0, NULL, NULL }
};
const struct field device_fields[] = {
    { "enqueue", FIELD_REAL, AT(machine, enqueue), 0, "s",
      "s of the host before a device can start the next op" },
    { "event_latency", FIELD_REAL, AT(machine, event_latency), 0, "s",
      "s until another stream goes on after an op" },
    { "push_overhead", FIELD_REAL, AT(machine, push_overhead), 0, "s",
      "s between two tiles of a message" },
    { "attend_beside", FIELD_REAL, AT(machine, attend_beside), 0, "1",
      "time of an attend beside messages / alone" },
    { "bytes_beside", FIELD_REAL, AT(machine, bytes_beside), 0, "1",
      "time of what moves memory beside messages / alone" },
    { NULL, 0, 0, 0, NULL, NULL }
};
const struct field link_fields[] = {
    { "overhead", FIELD_REAL, AT(link, overhead), 0, "s",
      "s of the host per message (o)" },
    { "host_per_byte", FIELD_REAL, AT(link, host_per_byte), 0, "s/B",
      "s/B of the host per byte moved (O)" },
    { "apart_per_byte", FIELD_REAL, AT(link, apart_per_byte), 0, "s/B",
      "s/B more where rows lie apart" },
    { NULL, 0, 0, 0, NULL, NULL }
};
const struct field segment_fields[] = {
    { "from", FIELD_BYTES, AT(link_segment, from), 0, "B", NULL },
    { "latency", FIELD_REAL, AT(link_segment, latency), 0, "s", NULL },
    { "bandwidth", FIELD_REAL, AT(link_segment, bandwidth), 0, "B/s", NULL },
    { "error", FIELD_REAL, AT(link_segment, error), 0, "1", NULL },
    { NULL, 0, 0, 0, NULL, NULL }
};
const struct field contention_fields[] = {
    { "pairs", FIELD_COUNT, AT(contention, pairs), 0, NULL, NULL },
    { "both_ways", FIELD_BOOL, AT(contention, both), 0, NULL, NULL },
    { "bandwidth", FIELD_REAL, AT(contention, bandwidth), 0, "B/s", NULL },
    { NULL, 0, 0, 0, NULL, NULL }
};
const struct field surface_fields[] = {
    { "kernel", FIELD_TEXT, AT(surface, kernel), 16, NULL, NULL },
    { "head_dim", FIELD_COUNT, AT(surface, head_dim), 0, NULL, NULL },
    { "value_dim", FIELD_COUNT, AT(surface, value_dim), 0, NULL, NULL },
    { "group", FIELD_COUNT, AT(surface, group), 0, NULL, NULL },
    { NULL, 0, 0, 0, NULL, NULL }
};
const struct field at_once_fields[] = {
    { "heads", FIELD_COUNT, AT(surface, heads), 0, NULL, NULL },
    { "store_fp32", FIELD_REAL, AT(surface, store_fp32), 0, "s", NULL },
    { "update", FIELD_REAL, AT(surface, update), 0, "s", NULL },
    { NULL, 0, 0, 0, NULL, NULL }
};
const struct field spread_fields[] = {
    { "p10", FIELD_REAL, AT(surface, p10), 0, "1", NULL },
    { "p90", FIELD_REAL, AT(surface, p90), 0, "1", NULL },
    { NULL, 0, 0, 0, NULL, NULL }
};
const struct field rate_fields[] = {
    { "kernel", FIELD_TEXT, AT(rate, kernel), 16, NULL, NULL },
    { "head_dim", FIELD_COUNT, AT(rate, head_dim), 0, NULL, NULL },
    { "value_dim", FIELD_COUNT, AT(rate, value_dim), 0, NULL, NULL },
    { NULL, 0, 0, 0, NULL, NULL }
};
const struct field rate_at_once_fields[] = {
    { "heads", FIELD_COUNT, AT(rate, heads), 0, NULL, NULL },
    { NULL, 0, 0, 0, NULL, NULL }
};
const struct field collective_fields[] = {
    { "ranks", FIELD_COUNT, AT(collective_table, group.ranks), 0, NULL, NULL },
    { "hosts", FIELD_COUNT, AT(collective_table, group.hosts), 0, NULL, NULL },
    { "host", FIELD_TEXT, AT(collective_table, host), 48, NULL, NULL },
    { "versions", FIELD_TEXT, AT(collective_table, versions), 48, NULL,
      NULL },
    { NULL, 0, 0, 0, NULL, NULL }
};
const struct field collective_group_fields[] = {
    { "groups", FIELD_COUNT, AT(collective_table, group.groups), 0, NULL,
      NULL },
    { NULL, 0, 0, 0, NULL, NULL }
};
const struct field collective_spread_fields[] = {
    { "p10", FIELD_REAL, AT(collective_table, p10), 0, "1", NULL },
    { "p90", FIELD_REAL, AT(collective_table, p90), 0, "1", NULL },
    { NULL, 0, 0, 0, NULL, NULL }
};

const struct field cluster_link_fields[] = {
    { "datasheet", FIELD_REAL, AT(cluster_link, datasheet), 0, "B/s", NULL },
    { "usable", FIELD_REAL, AT(cluster_link, usable), 0, "B/s", NULL },
    { "latency", FIELD_REAL, AT(cluster_link, latency), 0, "s", NULL },
    { NULL, 0, 0, 0, NULL, NULL }
};
const struct field cluster_link_spread_fields[] = {
    { "p10", FIELD_REAL, AT(cluster_link, p10), 0, "1", NULL },
    { "p90", FIELD_REAL, AT(cluster_link, p90), 0, "1", NULL },
    { NULL, 0, 0, 0, NULL, NULL }
};
const struct field cluster_switch_fields[] = {
    { "name", FIELD_TEXT, AT(cluster_item, name), 24, NULL, NULL },
    { "on", FIELD_TEXT, AT(cluster_item, on), 24, NULL, NULL },
    { "usable", FIELD_REAL, AT(cluster_item, usable), 0, "B/s", NULL },
    { NULL, 0, 0, 0, NULL, NULL }
};
const struct field cluster_gpu_fields[] = {
    { "on", FIELD_TEXT, AT(cluster_item, on), 24, NULL, NULL },
    { "usable", FIELD_REAL, AT(cluster_item, usable), 0, "B/s", NULL },
    { "count", FIELD_COUNT, AT(cluster_item, count), 0, NULL, NULL },
    { NULL, 0, 0, 0, NULL, NULL }
};
const struct field cluster_host_fields[] = {
    { "name", FIELD_TEXT, AT(cluster_host, name), 16, NULL, NULL },
    { "count", FIELD_COUNT, AT(cluster_host, count), 0, NULL, NULL },
    { "sockets", FIELD_INT, AT(cluster_host, sockets), 0, NULL, NULL },
    { "cores", FIELD_INT, AT(cluster_host, cores), 0, NULL, NULL },
    { "caches", FIELD_INT, AT(cluster_host, caches), 0, NULL, NULL },
    { "nvlink_hosts", FIELD_COUNT, AT(cluster_host, nvlink_hosts), 0, NULL, NULL },
    { NULL, 0, 0, 0, NULL, NULL }
};
const struct field cluster_fabric_fields[] = {
    { "hosts_per_leaf", FIELD_COUNT, AT(cluster_fabric, hosts_per_leaf), 0,
      NULL,      NULL },
    { "spines", FIELD_INT, AT(cluster_fabric, spines), 0, NULL, NULL },
    { "taper", FIELD_REAL, AT(cluster_fabric, taper), 0, "1", NULL },
    { NULL, 0, 0, 0, NULL, NULL }
};
#undef AT
