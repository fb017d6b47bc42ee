# SPDX-License-Identifier: Apache-2.0
dist_doc_DATA = %D%/DESIGN.md %D%/interface.md
dist_man1_MANS = $(wildcard $(srcdir)/%D%/*.1)
dist_man5_MANS = $(wildcard $(srcdir)/%D%/*.5)
EXTRA_DIST += $(wildcard $(srcdir)/%D%/benchmarks/*)
