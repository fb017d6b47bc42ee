# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libranks.a
libranks_a_SOURCES = \
	%D%/agree.c \
	%D%/calibrate.c \
	%D%/calibrate.h \
	%D%/calibrate_compute.c \
	%D%/calibrate_internal.h \
	%D%/calibrate_link.c \
	%D%/calibrate_products.c \
	%D%/clocks.c \
	%D%/collect.c \
	%D%/execute.c \
	%D%/execute.h \
	%D%/pipeline.h \
	%D%/pipeline_internal.h \
	%D%/reduce.c \
	%D%/reduce.h \
	%D%/run.c \
	%D%/run.h \
	%D%/run_entry.c \
	%D%/run_internal.h \
	%D%/run_setup.c \
	%D%/run_trace.c \
	%D%/run_verify.c \
	%D%/start.c \
	%D%/transport.c \
	%D%/transport.h \
	%D%/transport_list.c \
	%D%/transport_list.h
if HAVE_CUDA
libranks_a_SOURCES += %D%/pipeline.c %D%/pipeline_setup.c
endif
libranks_a_CFLAGS = $(AM_CFLAGS) $(MPI_CFLAGS) $(MPI_WARN_CFLAGS)
