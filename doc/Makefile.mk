# SPDX-License-Identifier: Apache-2.0
dist_doc_DATA = %D%/DESIGN.md %D%/interface.md
dist_man_MANS = $(wildcard $(srcdir)/%D%/*.1 $(srcdir)/%D%/*.5)
