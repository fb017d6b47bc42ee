# SPDX-License-Identifier: Apache-2.0
# NAME.t    one process      NAME_test.c     TAP by cmocka
# NAME.mpi  on ranks         NAME_mpi.c      one TAP point per rank count
# NAME.sh   command line     prints TAP
# Never two tests that differ in the extension only: they would share a log.
TEST_EXTENSIONS = .t .mpi .sh
tap_driver = env AM_TAP_AWK='$(AWK)' $(SHELL) $(top_srcdir)/build-aux/tap-driver.sh
T_LOG_DRIVER = $(tap_driver)
MPI_LOG_DRIVER = $(tap_driver)
MPI_LOG_COMPILER = $(top_srcdir)/scripts/mpi-tap
SH_LOG_DRIVER = $(tap_driver)
SH_LOG_COMPILER = $(SHELL)
NPROCS = 1 2 3 4 6 8
AM_TESTS_ENVIRONMENT = \
	MPIEXEC='$(MPIEXEC)' NPROCS='$(NPROCS)' SPAR='$(abs_builddir)/spar' \
	CMOCKA_MESSAGE_OUTPUT=TAP ASAN_OPTIONS=protect_shadow_gap=0; \
	export MPIEXEC NPROCS SPAR CMOCKA_MESSAGE_OUTPUT ASAN_OPTIONS;

unit_tests = %D%/base.t %D%/check.t %D%/check_outputs.t %D%/check_parts.t \
	%D%/check_stall.t %D%/check_words.t %D%/collective.t %D%/cuda.t %D%/cuda_linear.t %D%/cudnn.t %D%/decode_strategy.t \
	%D%/device.t %D%/estimate.t %D%/flow.t %D%/fold.t %D%/forms.t %D%/graph.t %D%/history.t \
	%D%/import.t %D%/jitter.t %D%/job.t %D%/kernel.t %D%/kernel_linear.t \
	%D%/kernel_rows.t %D%/kernel_scores.t %D%/kernel_segment.t \
	%D%/linear_strategy.t %D%/loopback.t %D%/loopback_broken.t \
	%D%/lower.t %D%/machine.t %D%/mesh.t %D%/minilm.t %D%/mutation.t \
	%D%/mutation_hand.t %D%/options.t %D%/oracle.t %D%/placement.t %D%/position.t \
	%D%/reader.t %D%/reduce.t %D%/report.t %D%/ring_options.t %D%/rsa_star.t \
	%D%/scenario.t %D%/scenario_attention.t %D%/schedule.t %D%/session.t \
	%D%/simulate.t %D%/simulate_device.t %D%/simulate_family.t \
	%D%/slots.t %D%/spool.t %D%/stalls.t \
	%D%/tensor.t %D%/trace.t %D%/traps_numbers.t %D%/traps_schedules.t \
	%D%/units.t %D%/validate.t %D%/verify.t %D%/what_if.t %D%/yaml.t
rank_tests = %D%/agree.mpi %D%/execute.mpi %D%/limits.mpi %D%/transport.mpi
# What scripts/gpu-test runs: tests that skip where there is no device.
gpu_tests = %D%/cuda.t %D%/cuda_linear.t %D%/cudnn.t %D%/device.t \
	%D%/faults.sh %D%/transport.mpi
shell_tests = %D%/bad_input.sh %D%/calibrate.sh %D%/cli.sh \
	%D%/families.sh %D%/faults.sh %D%/golden.sh %D%/place.sh %D%/slurm.sh \
	%D%/tables.sh %D%/topo.sh

TESTS += $(unit_tests) $(rank_tests) $(shell_tests)
check_PROGRAMS += $(unit_tests) $(rank_tests)
EXTRA_DIST += $(shell_tests) %D%/points.sh \
	$(wildcard $(srcdir)/%D%/golden/*) $(wildcard $(srcdir)/%D%/cases/*) \
	$(wildcard $(srcdir)/%D%/topo/*)

# All tests link alike; a library's flags go to the test that includes its header.
LDADD = libcli.a $(local_archives) $(local_libs) $(CMOCKA_LIBS)
on_ranks = libcli.a libranks.a libcli.a $(local_archives) \
	$(MPI_LIBS) $(local_libs) $(CMOCKA_LIBS)

%C%_base_t_SOURCES = %D%/base_test.c
%C%_check_outputs_t_SOURCES = %D%/check_outputs_test.c %D%/mutation.c \
	%D%/mutation.h %D%/rig.c %D%/rig.h
%C%_check_parts_t_SOURCES = %D%/check_parts_test.c
%C%_check_stall_t_SOURCES = %D%/check_stall_test.c %D%/rig.c %D%/rig.h
%C%_check_t_SOURCES = %D%/check_test.c
%C%_check_words_t_SOURCES = %D%/check_words_test.c %D%/mutation.c \
	%D%/mutation.h %D%/rig.c %D%/rig.h
%C%_collective_t_SOURCES = %D%/collective_test.c %D%/preset.h
%C%_cuda_linear_t_SOURCES = %D%/cuda_linear_test.c \
	%D%/kernel_linear_problem.h %D%/kernel_tensor.h
%C%_cuda_t_SOURCES = %D%/cuda_attend_trials.c %D%/cuda_rows_trials.c \
	%D%/cuda_scores_trials.c %D%/cuda_shape.c %D%/cuda_shape.h \
	%D%/cuda_test.c %D%/cuda_trial.c %D%/cuda_trial.h
%C%_cudnn_t_SOURCES = %D%/cudnn_plain.h %D%/cudnn_test.c
%C%_cudnn_t_LDADD = $(local_archives) $(local_libs)
if HAVE_CUDA
nodist_EXTRA_%C%_cudnn_t_SOURCES = dummy.cxx
endif
%C%_decode_strategy_t_SOURCES = %D%/decode_strategy_test.c %D%/rig.c \
	%D%/rig.h
%C%_forms_t_SOURCES = %D%/forms_test.c
%C%_kernel_linear_t_SOURCES = %D%/kernel_linear_test.c \
	%D%/kernel_linear_problem.h %D%/kernel_tensor.h
%C%_kernel_rows_t_SOURCES = %D%/kernel_rows_test.c %D%/kernel_tensor.h
%C%_kernel_scores_t_SOURCES = %D%/kernel_scores_test.c %D%/kernel_tensor.h
%C%_kernel_segment_t_SOURCES = %D%/kernel_segment_test.c %D%/kernel_tensor.h
%C%_fold_t_SOURCES = %D%/fold_test.c %D%/simulate_machine.h
%C%_placement_t_SOURCES = %D%/placement_test.c %D%/simulate_machine.h
%C%_flow_t_SOURCES = %D%/flow_test.c %D%/simulate_bench.h \
	%D%/simulate_machine.h
%C%_estimate_t_SOURCES = %D%/estimate_test.c
%C%_graph_t_SOURCES = %D%/graph_test.c %D%/preset.h
%C%_history_t_SOURCES = %D%/history_test.c %D%/simulate_bench.h \
	%D%/simulate_machine.h
%C%_import_t_SOURCES = %D%/import_test.c
%C%_jitter_t_SOURCES = %D%/jitter_test.c %D%/simulate_bench.h \
	%D%/simulate_machine.h
%C%_job_t_SOURCES = %D%/job_test.c
%C%_kernel_t_SOURCES = %D%/kernel_test.c %D%/kernel_problem.h
%C%_linear_strategy_t_SOURCES = %D%/linear_strategy_test.c %D%/rig.c \
	%D%/rig.h
%C%_loopback_broken_t_SOURCES = %D%/loopback_broken_test.c %D%/rig.c \
	%D%/rig.h
%C%_loopback_t_SOURCES = %D%/loopback_test.c %D%/rig.c %D%/rig.h
%C%_lower_t_SOURCES = %D%/lower_test.c %D%/rig.c %D%/rig.h
%C%_machine_t_SOURCES = %D%/machine_test.c %D%/preset.h
%C%_mesh_t_SOURCES = %D%/mesh_test.c %D%/rig.c %D%/rig.h
%C%_minilm_t_SOURCES = %D%/minilm_test.c
%C%_minilm_t_CFLAGS = $(AM_CFLAGS) $(HDF5_CFLAGS)
%C%_mutation_hand_t_SOURCES = %D%/mutation_hand_test.c %D%/mutation.c \
	%D%/mutation.h %D%/rig.c %D%/rig.h
%C%_mutation_t_SOURCES = %D%/mutation_test.c %D%/mutation.c %D%/mutation.h \
	%D%/rig.c %D%/rig.h
%C%_options_t_SOURCES = %D%/options_test.c
%C%_oracle_t_SOURCES = %D%/brute.h %D%/oracle_test.c
%C%_position_t_SOURCES = %D%/position_test.c
%C%_reader_t_SOURCES = %D%/reader_test.c
%C%_reduce_t_SOURCES = %D%/reduce_test.c %D%/reduce_case.h
%C%_report_t_SOURCES = %D%/report_test.c
%C%_scenario_attention_t_SOURCES = %D%/scenario_attention_test.c
%C%_rsa_star_t_SOURCES = %D%/rsa_star_test.c %D%/rig.c %D%/rig.h
%C%_scenario_t_SOURCES = %D%/scenario_test.c
%C%_ring_options_t_SOURCES = %D%/ring_options_test.c %D%/rig.c %D%/rig.h
%C%_schedule_t_SOURCES = %D%/schedule_test.c %D%/rig.c %D%/rig.h
%C%_session_t_SOURCES = %D%/session_test.c
%C%_simulate_family_t_SOURCES = %D%/simulate_family_test.c \
	%D%/simulate_machine.h
%C%_simulate_device_t_SOURCES = %D%/simulate_device_test.c \
	%D%/simulate_bench.h %D%/simulate_machine.h
%C%_simulate_t_SOURCES = %D%/simulate_test.c %D%/simulate_bench.h \
	%D%/simulate_machine.h
%C%_slots_t_SOURCES = %D%/slots_test.c
%C%_stalls_t_SOURCES = %D%/stalls_test.c %D%/rig.c %D%/rig.h
%C%_tensor_t_SOURCES = %D%/tensor_test.c
%C%_tensor_t_CFLAGS = $(AM_CFLAGS) $(HDF5_CFLAGS)
%C%_spool_t_SOURCES = %D%/spool_test.c %D%/folder.h
%C%_trace_t_SOURCES = %D%/trace_test.c %D%/folder.h
%C%_trace_t_CFLAGS = $(AM_CFLAGS) $(HDF5_CFLAGS)
%C%_what_if_t_SOURCES = %D%/what_if_test.c
%C%_what_if_t_CFLAGS = $(AM_CFLAGS) $(HDF5_CFLAGS)
%C%_device_t_SOURCES = %D%/device_test.c %D%/rig.c %D%/rig.h
%C%_traps_numbers_t_SOURCES = %D%/traps_numbers_test.c %D%/traps.h %D%/rig.c \
	%D%/rig.h
%C%_traps_schedules_t_SOURCES = %D%/traps_schedules_test.c %D%/traps.h \
	%D%/rig.c %D%/rig.h
%C%_units_t_SOURCES = %D%/units_test.c
%C%_validate_t_SOURCES = %D%/validate_test.c
%C%_verify_t_SOURCES = %D%/brute.h %D%/verify_test.c
%C%_yaml_t_SOURCES = %D%/yaml_test.c
%C%_agree_mpi_SOURCES = %D%/agree_mpi.c
%C%_agree_mpi_CFLAGS = $(AM_CFLAGS) $(MPI_CFLAGS) $(MPI_WARN_CFLAGS)
%C%_agree_mpi_LDADD = $(on_ranks)
%C%_execute_mpi_SOURCES = %D%/execute_mpi.c %D%/reduce_case.h
%C%_execute_mpi_CFLAGS = $(AM_CFLAGS) $(MPI_CFLAGS) $(MPI_WARN_CFLAGS)
%C%_execute_mpi_LDADD = $(on_ranks)
%C%_limits_mpi_SOURCES = %D%/limits_mpi.c %D%/rig.c %D%/rig.h
%C%_limits_mpi_CFLAGS = $(AM_CFLAGS) $(MPI_CFLAGS) $(MPI_WARN_CFLAGS)
%C%_limits_mpi_LDADD = $(on_ranks)
%C%_transport_mpi_SOURCES = %D%/transport_mpi.c %D%/reduce_case.h
%C%_transport_mpi_CFLAGS = $(AM_CFLAGS) $(MPI_CFLAGS) $(MPI_WARN_CFLAGS)
%C%_transport_mpi_LDADD = $(on_ranks)

# check-units, check-ranks: parts of `make check`.  check-full: the whole matrix.
.PHONY: check-units check-ranks check-full bench golden
check-units:
	$(MAKE) $(AM_MAKEFLAGS) check TESTS='$(unit_tests)'
check-ranks:
	$(MAKE) $(AM_MAKEFLAGS) check TESTS='$(rank_tests) $(shell_tests)'
check-full:
	SPAR_TEST_FULL=1 $(MAKE) $(AM_MAKEFLAGS) check

# The printed schedules, rewritten: look at the difference before committing it.
golden: spar
	SPAR=$(abs_builddir)/spar srcdir=$(srcdir) \
	  $(SHELL) $(srcdir)/%D%/golden.sh write

EXTRA_PROGRAMS += %D%/bench_kernel
%C%_bench_kernel_SOURCES = %D%/bench_kernel.c
%C%_bench_kernel_CFLAGS = $(AM_CFLAGS) $(OPENBLAS_CFLAGS)
%C%_bench_kernel_LDADD = $(LDADD) $(OPENBLAS_LIBS)
EXTRA_PROGRAMS += %D%/bench_predict
%C%_bench_predict_SOURCES = %D%/bench_predict.c
EXTRA_PROGRAMS += %D%/bench_precision
%C%_bench_precision_SOURCES = %D%/bench_precision.c %D%/rig.c %D%/rig.h
EXTRA_PROGRAMS += %D%/bench_cuda_attention
%C%_bench_cuda_attention_SOURCES = %D%/bench_cuda_attention.c \
	%D%/bench_device.h
%C%_bench_cuda_attention_CPPFLAGS = $(AM_CPPFLAGS) $(CUDA_CPPFLAGS)
%C%_bench_cuda_attention_LDADD = $(local_archives) $(local_libs)
if HAVE_CUDA
nodist_EXTRA_%C%_bench_cuda_attention_SOURCES = dummy.cxx
endif
EXTRA_PROGRAMS += %D%/bench_cuda_linear
%C%_bench_cuda_linear_SOURCES = %D%/bench_cuda_linear.c \
	%D%/bench_device.h
%C%_bench_cuda_linear_LDADD = $(local_archives) $(local_libs)
EXTRA_PROGRAMS += %D%/bench_cuda_rows
%C%_bench_cuda_rows_SOURCES = %D%/bench_cuda_rows.c \
	%D%/bench_device.h
%C%_bench_cuda_rows_LDADD = $(local_archives) $(local_libs)
EXTRA_PROGRAMS += %D%/bench_loopback
%C%_bench_loopback_SOURCES = %D%/bench_device.h %D%/bench_loopback.c \
	%D%/device_order.c \
	%D%/device_order.h %D%/rig.c %D%/rig.h
EXTRA_PROGRAMS += %D%/bench_sim
%C%_bench_sim_SOURCES = %D%/bench_sim.c
EXTRA_PROGRAMS += %D%/bench_transport
%C%_bench_transport_SOURCES = %D%/bench_transport.c
%C%_bench_transport_CFLAGS = $(AM_CFLAGS) $(MPI_CFLAGS) $(MPI_WARN_CFLAGS)
%C%_bench_transport_LDADD = $(on_ranks)
EXTRA_DIST += bench/gpu/linear.py
bench: %D%/bench_cuda_linear %D%/bench_cuda_rows %D%/bench_kernel \
	%D%/bench_loopback %D%/bench_precision %D%/bench_sim \
	%D%/bench_transport
	$(srcdir)/bench/sim . || true
	%D%/bench_kernel
	%D%/bench_precision
	%D%/bench_cuda_rows
	%D%/bench_cuda_linear
	%D%/bench_loopback
	$(MPIEXEC) -n 2 %D%/bench_transport
CLEANFILES += $(EXTRA_PROGRAMS) mpi-tap.lock
