# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libtopo.a
libtopo_a_SOURCES = \
	%D%/fit.c \
	%D%/hwloc.c \
	%D%/machine.c \
	%D%/machine.h \
	%D%/machine_fields.c \
	%D%/machine_fields.h \
	%D%/machine_read.c \
	%D%/machine_reader.h \
	%D%/machine_tables.c \
	%D%/machine_write.c \
	%D%/near.c \
	%D%/slots.c \
	%D%/slots.h \
	%D%/topology.h
libtopo_a_CFLAGS = $(AM_CFLAGS) $(HWLOC_CFLAGS)
