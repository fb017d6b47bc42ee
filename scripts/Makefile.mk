# SPDX-License-Identifier: Apache-2.0
EXTRA_DIST += %D%/common.sh %D%/gpu-cudnn %D%/mpi-tap %D%/quickstart %D%/test .ci/run
