#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What `spar calibrate` writes is what `spar sim` reads.
: "${SPAR:=./spar}" "${srcdir:=.}" "${MPIEXEC:=mpiexec}"
temporary=$(mktemp -d) || exit 99
trap 'rm -rf "$temporary"' EXIT
file=$temporary/new/local.yaml

n=0
judge() {
    n=$((n + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $n - $2"
    else
        echo "not ok $n - $2"
        sed 's/^/# /' "$temporary/said"
    fi
}

echo 1..11
timeout -k 5 300 $MPIEXEC -n 2 "$SPAR" calibrate --quick --head-dims 8 \
    --groups 1 -o "$file" > "$temporary/out" 2> "$temporary/said"
judge $? "two ranks calibrate"
[ "$(grep -c '{op: .* kernel: ' "$file")" -eq 16 ] && grep -q '^  segments:' "$file" \
    && grep -q '^versions: ".*hwloc' "$file" \
    && [ "$(ls "$temporary/new")" = local.yaml ]
judge $? "five surfaces, eleven rates, a link, versions, no other file"

grep -q '^  - class: ' "$file" && grep -q 'pairs: 1, both_ways: true' "$file" \
    && "$SPAR" topo "$file" > "$temporary/out" 2> "$temporary/said" \
    && grep -q '(slot 1)' "$temporary/out"
judge $? "links by what ranks have between them, and the tree of the machine"

[ "$(grep 'ranks: 2, hosts: 1, host: "..*", versions: "spar' "$file" \
    | grep -o '{op: [a-z_]*,' | sort -u | wc -l)" -eq 6 ] \
    && [ "$(grep -c 'class: .*, groups: 1,' "$file")" -eq 6 ]
judge $? "six tables of collectives, with host, versions and group"

# What others measured is not put beside it.
printf '# OSU MPI All-to-All Latency Test v7.0\n1024 2.50\n2048 3.00\n' \
    > "$temporary/osu"
"$SPAR" import "$temporary/osu" --ranks 2 --host other --machine "$file" \
    > "$temporary/out" 2> "$temporary/said"
[ $? -eq 2 ] && grep -q 'not mixed' "$temporary/said"
judge $? "imported tables are not mixed with these"

SPAR_LOCAL=$file "$SPAR" sim "$srcdir/scenarios/quickstart.yaml" \
    --set machine=local -o "$temporary/sim.h5" --format json \
    > "$temporary/out" 2> "$temporary/said" \
    && [ "$(grep -c '"predicted_s": [0-9]*\.*[0-9]*[1-9]' "$temporary/out")" -eq 3 ]
judge $? "three strategies predicted"
[ "$(tr -d ' \n' < "$temporary/out" | grep -o \
    '"collectives":{"table":[1-9][0-9]*,"constants":0,"messages":0}' \
    | wc -l)" -eq 2 ]
judge $? "of two of them all collectives by these tables"

cp "$file" "$temporary/before"
timeout -k 5 60 $MPIEXEC -n 2 "$SPAR" calibrate --quick --kernel abacus \
    -o "$file" > "$temporary/out" 2> "$temporary/said"
[ $? -eq 2 ] && cmp -s "$file" "$temporary/before" \
    && [ "$(grep -c '^spar: ' "$temporary/said")" -eq 1 ]
judge $? "an unknown kernel: one message, the old file stays"

timeout -k 5 60 $MPIEXEC -n 2 "$SPAR" calibrate --quick -o "$temporary/new" \
    > "$temporary/out" 2> "$temporary/said"
[ $? -eq 1 ] \
    && grep -q "^spar: $temporary/new: Is a directory" "$temporary/said"
judge $? "an unwritable output is refused before measuring"

# A GPU measures itself, one rank; what it wrote predicts two ranks that share it.
gpu=$temporary/gpu.yaml
if ! "$SPAR" list | grep -q '^  cuda ' \
    || "$SPAR" list | grep -q '^  cuda .*not here'; then
    for what in "a GPU calibrates" "ranks of a GPU predicted"; do
        n=$((n + 1))
        echo "ok $n - $what # SKIP no CUDA device"
    done
    exit 0
fi
timeout -k 5 300 $MPIEXEC -n 1 "$SPAR" calibrate --quick --kernel cuda \
    --head-dims 64 --groups 4 --heads 8 -o "$gpu" \
    > "$temporary/out" 2> "$temporary/said" \
    && [ "$(grep -c 'heads: ' "$gpu")" -eq 22 ] && grep -q '^devices: 1' "$gpu" \
    && grep -q '^processor: "..*"' "$gpu" && grep -q '^versions: "CUDA' "$gpu" \
    && [ "$(grep -c '{path: ' "$gpu")" -eq 3 ]
judge $? "a GPU calibrates"
"$SPAR" sim "$srcdir/scenarios/gpu.yaml" --set run.ranks=2 \
    --set machine="$gpu" --set run.kernel=cuda -o "$temporary/sim.h5" \
    --format json > "$temporary/out" 2> "$temporary/said" \
    && ! grep -q '"predicted_s": null' "$temporary/out" \
    && grep -q '"predicted_s": [0-9]*\.*[0-9]*[1-9]' "$temporary/out"
judge $? "ranks of a GPU predicted"
