# SPDX-License-Identifier: Apache-2.0
# Everything but main() is an archive, so that tests can link it.
noinst_LIBRARIES += libcli.a
libcli_a_SOURCES = \
	%D%/anchor.c \
	%D%/anchor.h \
	%D%/cmd_calibrate.c \
	%D%/cmd_check.c \
	%D%/cmd_compare.c \
	%D%/cmd_import.c \
	%D%/cmd_list.c \
	%D%/cmd_place.c \
	%D%/cmd_plan.c \
	%D%/cmd_run.c \
	%D%/cmd_show.c \
	%D%/cmd_sim.c \
	%D%/cmd_topo.c \
	%D%/cmd_trace.c \
	%D%/cmd_validate.c \
	%D%/command.h \
	%D%/list.h \
	%D%/list_costs.c \
	%D%/list_support.c \
	%D%/loads.c \
	%D%/loads.h \
	%D%/output.c \
	%D%/output.h \
	%D%/place_report.c \
	%D%/place_report.h \
	%D%/plan_emit.c \
	%D%/plan_report.c \
	%D%/plan_report.h \
	%D%/planned.c \
	%D%/planned.h \
	%D%/predict.c \
	%D%/predict.h \
	%D%/progress.c \
	%D%/progress.h \
	%D%/records.c \
	%D%/records.h \
	%D%/report.c \
	%D%/report.h \
	%D%/scenario.c \
	%D%/scenario.h \
	%D%/scenario_attention.c \
	%D%/scenario_data.c \
	%D%/scenario_internal.h \
	%D%/scenario_jitter.c \
	%D%/scenario_job.c \
	%D%/scenario_machine.c \
	%D%/scenario_slots.c \
	%D%/scenario_strategies.c \
	%D%/simulated.c \
	%D%/simulated.h \
	%D%/validate.h \
	%D%/validate_attention.c \
	%D%/validate_collectives.c \
	%D%/validate_cover.c \
	%D%/validate_links.c \
	%D%/validate_report.c \
	%D%/validate_rows.c \
	%D%/validate_scores.c \
	%D%/what_axes.c \
	%D%/what_if.c \
	%D%/what_if.h \
	%D%/what_internal.h \
	%D%/what_longest.c \
	%D%/what_report.c \
	%D%/what_report.h \
	%D%/what_walk.c
libcli_a_CPPFLAGS = $(AM_CPPFLAGS) \
	-DSPAR_SOURCE_DIR='"$(abs_top_srcdir)"' -DSPAR_DATADIR='"$(pkgdatadir)"'
%D%/libcli_a-scenario_data.$(OBJEXT): Makefile    # a moved tree

# In link order: users before what they use.
local_archives = libmodels.a librun.a libstrategy.a libschedule.a libjob.a \
	libkernel.a libtopo.a libtrace.a libbase.a
local_libs = $(HWLOC_LIBS) $(HDF5_LIBS) $(YAML_LIBS) $(SCOTCH_LIBS)
if HAVE_CUDNN
local_libs += $(CUDNN_LIBS)
endif
if HAVE_NCCL
local_libs += $(NCCL_LIBS)
endif
if HAVE_CUDA
local_libs += $(CUDA_LIBS) -lstdc++
endif

bin_PROGRAMS += spar
spar_SOURCES = %D%/main.c
spar_LDADD = libcli.a libranks.a libcli.a $(local_archives) \
	$(MPI_LIBS) $(local_libs)
if HAVE_CUDA
nodist_EXTRA_spar_SOURCES = dummy.cxx    # links with the C++ compiler
endif
