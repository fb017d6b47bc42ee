# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libranks.a
libranks_a_SOURCES = \
	%D%/agree.c \
	%D%/calibrate.c \
	%D%/calibrate.h \
	%D%/calibrate_compute.c \
	%D%/calibrate_internal.h \
	%D%/calibrate_link.c \
	%D%/clocks.c \
	%D%/collect.c \
	%D%/execute.c \
	%D%/execute.h \
	%D%/run.c \
	%D%/run.h \
	%D%/run_entry.c \
	%D%/run_internal.h \
	%D%/run_setup.c \
	%D%/run_trace.c \
	%D%/start.c \
	%D%/transport.c \
	%D%/transport.h \
	%D%/transport_list.c \
	%D%/transport_list.h
libranks_a_CFLAGS = $(AM_CFLAGS) $(MPI_CFLAGS) $(MPI_WARN_CFLAGS)
