# SPDX-License-Identifier: Apache-2.0
EXTRA_DIST += %D%/attention-tables %D%/common.sh %D%/gpu-bench.sh %D%/gpu-common.sh \
	%D%/gpu-deps %D%/gpu-points %D%/gpu-sanitizer.sh %D%/gpu-test %D%/gpu-tests.sh \
	%D%/mpi-tap %D%/plot_trace.py %D%/quickstart \
	%D%/slurm/one-host %D%/slurm/placed.sbatch \
	%D%/slurm/run.sbatch %D%/test .ci/run
