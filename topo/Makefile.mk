# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libtopo.a
libtopo_a_SOURCES = \
	%D%/bisection.c \
	%D%/cluster.c \
	%D%/cluster.h \
	%D%/cluster_read.c \
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
	%D%/knobs.c \
	%D%/knobs.h \
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
	%D%/survey.c \
	%D%/survey.h \
	%D%/topology.h \
	%D%/xml.c \
	%D%/xml.h
libtopo_a_CFLAGS = $(AM_CFLAGS) $(HWLOC_CFLAGS)
