# SPDX-License-Identifier: Apache-2.0
EXTRA_DIST += %D%/jitter %D%/plan %D%/sim %D%/gpu/frame %D%/gpu/pair %D%/gpu/race %D%/gpu/run %D%/gpu/shared \
	%D%/gpu/tree $(wildcard $(srcdir)/%D%/gpu/*.py) \
	$(wildcard $(srcdir)/%D%/peers/*.py)
