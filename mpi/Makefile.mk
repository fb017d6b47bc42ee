# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libranks.a
libranks_a_SOURCES = \
	%D%/agree.c \
	%D%/calibrate.c \
	%D%/calibrate.h \
	%D%/calibrate_block.c \
	%D%/calibrate_classes.c \
	%D%/calibrate_collectives.c \
	%D%/calibrate_compute.c \
	%D%/calibrate_internal.h \
	%D%/calibrate_kinds.c \
	%D%/calibrate_link.c \
	%D%/calibrate_products.c \
	%D%/calibrate_surface.c \
	%D%/calibrate_time.c \
	%D%/calibrate_ways.c \
	%D%/clocks.c \
	%D%/collect.c \
	%D%/execute.c \
	%D%/execute.h \
	%D%/fault.c \
	%D%/fault.h \
	%D%/pipeline.h \
	%D%/pipeline_internal.h \
	%D%/pipeline_ipc.h \
	%D%/reduce.c \
	%D%/reduce.h \
	%D%/run.c \
	%D%/run.h \
	%D%/run_entry.c \
	%D%/run_internal.h \
	%D%/run_limits.c \
	%D%/run_place.c \
	%D%/run_setup.c \
	%D%/run_trace.c \
	%D%/run_verify.c \
	%D%/start.c \
	%D%/transport.c \
	%D%/transport.h \
	%D%/transport_host.c \
	%D%/transport_internal.h \
	%D%/transport_list.c \
	%D%/transport_list.h \
	%D%/watch.c \
	%D%/watch.h
if HAVE_CUDA
libranks_a_SOURCES += %D%/calibrate_copies.c %D%/calibrate_device.c \
	%D%/calibrate_push.c %D%/pipeline.c %D%/pipeline_ipc.c \
	%D%/pipeline_known.c %D%/pipeline_map.c %D%/pipeline_reach.c \
	%D%/pipeline_setup.c %D%/pipeline_spans.c
endif
# NCCL: its headers reach this file and no other.
EXTRA_LIBRARIES += libncclcalls.a
libncclcalls_a_SOURCES = %D%/nccl_calls.c
libncclcalls_a_CPPFLAGS = $(AM_CPPFLAGS) $(NCCL_CPPFLAGS) $(CUDA_CPPFLAGS)
libncclcalls_a_CFLAGS = $(AM_CFLAGS) -Wno-strict-prototypes
if HAVE_NCCL
libranks_a_SOURCES += %D%/nccl_calls.h %D%/pipeline_nccl.c \
	%D%/pipeline_nccl.h %D%/pipeline_nccl_open.c
libranks_a_LIBADD = $(libncclcalls_a_OBJECTS)
libranks_a_DEPENDENCIES = $(libranks_a_LIBADD)
endif
libranks_a_CFLAGS = $(AM_CFLAGS) $(MPI_CFLAGS) $(MPI_WARN_CFLAGS)
