# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libtopo.a
libtopo_a_SOURCES = \
	%D%/bisection.c \
	%D%/cluster.c \
	%D%/cluster.h \
	%D%/cluster_read.c \
	%D%/cluster_write.c \
	%D%/collective.c \
	%D%/collective.h \
	%D%/core_map.c \
	%D%/core_map.h \
	%D%/draw.h \
	%D%/draw_json.c \
	%D%/draw_svg.c \
	%D%/draw_text.c \
	%D%/estimate.c \
	%D%/estimate.h \
	%D%/fit.c \
	%D%/graph.c \
	%D%/graph.h \
	%D%/graph_internal.h \
	%D%/hostlist.c \
	%D%/hostlist.h \
	%D%/hwloc.c \
	%D%/import.c \
	%D%/import.h \
	%D%/import_internal.h \
	%D%/import_read.c \
	%D%/machine.c \
	%D%/machine.h \
	%D%/machine_fields.c \
	%D%/machine_fields.h \
	%D%/machine_internal.h \
	%D%/machine_read.c \
	%D%/machine_reader.h \
	%D%/machine_tables.c \
	%D%/machine_write.c \
	%D%/near.c \
	%D%/read_hwloc.c \
	%D%/read_nccl.c \
	%D%/read_slurm.c \
	%D%/reader.c \
	%D%/reader.h \
	%D%/route.c \
	%D%/slots.c \
	%D%/slots.h \
	%D%/slurm.c \
	%D%/slurm.h \
	%D%/slurm_conf.c \
	%D%/slurm_yaml.c \
	%D%/survey.c \
	%D%/survey.h \
	%D%/topology.h \
	%D%/xml.c \
	%D%/xml.h
libtopo_a_CFLAGS = $(AM_CFLAGS) $(HWLOC_CFLAGS)
