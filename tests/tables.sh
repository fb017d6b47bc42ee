#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The tables of kernels are what scripts/attention-tables makes of
# models/data/attention.csv.
: "${srcdir:=.}"
command -v python3 > /dev/null || { echo "1..0 # SKIP no python3"; exit 0; }
temporary=$(mktemp -d) || exit 99
trap 'rm -rf "$temporary"' EXIT
echo 1..1
if python3 "$srcdir/scripts/attention-tables" "$temporary" \
    && diff -r "$temporary" "$srcdir/scenarios/machines/kernels" \
        > "$temporary.diff" 2>&1; then
    echo "ok 1 - tables of kernels"
else
    echo "not ok 1 - tables of kernels"
    sed 's/^/# /' "$temporary.diff" | head -20
fi
rm -f "$temporary.diff"
