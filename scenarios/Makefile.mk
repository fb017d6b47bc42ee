# SPDX-License-Identifier: Apache-2.0
# By wildcard: adding a scenario, a transformer or a machine is adding one file.
scenariosdir = $(pkgdatadir)
dist_scenarios_DATA = $(wildcard $(srcdir)/%D%/*.yaml)
transformersdir = $(scenariosdir)/transformers
dist_transformers_DATA = $(wildcard $(srcdir)/%D%/transformers/*.yaml)
machinesdir = $(scenariosdir)/machines
dist_machines_DATA = $(wildcard $(srcdir)/%D%/machines/*.yaml)
kernelsdir = $(machinesdir)/kernels
dist_kernels_DATA = $(wildcard $(srcdir)/%D%/machines/kernels/*.yaml)
validationdir = $(scenariosdir)/validation
dist_validation_DATA = $(wildcard $(srcdir)/%D%/validation/*)
scenariodatadir = $(scenariosdir)/data
dist_scenariodata_DATA = %D%/data/minilm-layer3.h5 %D%/data/minilm-layer3.md
