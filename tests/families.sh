#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Families of strategies on the command line: what the program lists of itself,
# the scenarios of 64 ranks, linear, decode, star and hybrid jobs run for real.
: "${SPAR:=./spar}" "${srcdir:=.}" "${MPIEXEC:=mpiexec}"
scenarios=$srcdir/scenarios
temporary=$(mktemp -d) || exit 99
trap 'rm -rf "$temporary"' EXIT
export SPAR_LOCAL=/nonexistent/local.yaml
command -v python3 > /dev/null || { echo "1..0 # SKIP no python3"; exit 0; }
cat > "$temporary/job.yaml" << 'END'
job:
  transformer: {heads: 4, kv_heads: 2, head_dim: 8, value_dim: 12}
  sequence: 100
  mask: causal
run: {warmups: 0, repeats: 1}
strategies: [{name: ring}]
machine: unit
END
job=$temporary/job.yaml
. "$srcdir/tests/points.sh"

# json EXPRESSION: true of the one JSON value x that out holds.
json() {
    python3 -c 'import json, sys
x = json.load(open(sys.argv[1]))
sys.exit(not eval("(" + sys.argv[2] + ")"))' "$temporary/out" "$1" 2>> "$temporary/err"
}

# ---- What it lists
spar list --costs && grep -q '^lasp2-scan .* exclusive_scan 1x' "$temporary/out"
point "list --costs: text"
spar list --costs --format json && json '{s["name"] for s in x} >= {"ring",
    "allgather", "ulysses", "double-ring", "usp", "2d", "token-ring", "rsa",
    "tree", "star", "lasp", "lasp2", "lasp2-scan", "lasp2h"} and
    all(p["bytes_sent"] == sum(m["bytes_sent"] for m in p["moves"])
    and p["bytes_sent"] + (p is s.get("backward")) > 0
    for s in x for p in (s["forward"], s.get("backward")) if p)'
point "list --costs: closed forms are what the schedules move"
spar list --costs "$job" --set run.ranks=3 --format json &&
    json '[s["ranks"] for s in x] == [2, 8, 64, 3] and
    x[3]["forward"]["bytes_sent"] == 67 * 2 * 20 * 4 and
    x[3]["forward"]["moves"][0]["messages"] == 2 and "backward" not in x[3]'
point "list --costs SCENARIO"
spar list --support && grep -q '^star .* - ' "$temporary/out"
point "list --support: text"
spar list --support --format json && json 'all(f["supported"] or f["reason"]
    for s in x for f in s["support"]) and [f["supported"] for s in x
    for f in s["support"] if (s["name"], f["feature"]) in (("tree", "decode"),
    ("ulysses", "decode"), ("lasp2", "linear with decay"))]
    == [False, True, True]'
point "list --support: JSON with reasons"

# ---- Every strategy on 64 ranks
for family in softmax linear decode hybrid star; do
    spar check "$scenarios/all-64-$family.yaml" --format json &&
        json 'all(s["passed"] is True and s["ranks"] == 64 and
        s["bytes_sent"] == s["bytes_expected"] and
        sum(s["pairs"]) == s["expected_pairs"] for s in x)'
    point "all-64-$family.yaml: proved"
    spar sim "$scenarios/all-64-$family.yaml" --set machine=unit \
        --format json -o "$temporary/s.h5" &&
        json 'all(s["passed"] is True and s["predicted_s"] > 0 for s in x)'
    point "all-64-$family.yaml: simulated"
done
spar show "$scenarios/all-64-hybrid.yaml" --set run.ranks=2 --entry 0 &&
    grep -q 'layer' "$temporary/out"
point "show names layers"

# ---- For real
launch="$MPIEXEC -n 3"
passed='s["passed"] is True and s["bytes_sent"] == s["bytes_expected"]'
spar run "$job" --format json -o "$temporary/r.h5" \
    --set 'job.attention={linear: {decay: alibi, feature: elu1}}' \
    --set job.pass=forward_backward --set 'job.sequence=[70, 30]' \
    --set 'strategies=[{name: lasp}, {name: lasp2, layout: zigzag},
        {name: lasp2-scan}]' &&
    json "len(x) == 3 and all($passed and
    list(s['error']) == list(s['gate']) == ['o', 'dq', 'dk', 'dv']
    for s in x)"
point "linear: run, no lse"
spar run "$job" --format json -o "$temporary/r.h5" --set job.pattern=LSL \
    --set job.pass=forward_backward \
    --output-tensors "$temporary/h.h5" --set 'strategies=[{name: ring},
        {name: lasp2h}, {name: lasp2h, layout: zigzag}]' &&
    json "x[0]['applies'] is False and all($passed and
    sum(s['pairs']) == 3 * 4 * 5050 and
    all(s['error'][k] <= s['gate'][k] for k in s['gate']) for s in x[1:])" &&
    [ -s "$temporary/h.h5" ]
point "hybrid: run, pairs of three layers"
spar run "$job" --format json -o "$temporary/r.h5" --set job.pass=decode \
    --set job.queries=3 --output-tensors "$temporary/t.h5" \
    --set 'strategies=[{name: tree}, {name: tree, reduce: userop},
        {name: tree, reduce: two-level}, {name: ring}]' &&
    json "all($passed and sum(s['pairs']) == 4 * (98 + 99 + 100)
    and s['error']['dq'] is None for s in x)"
point "decode: run"
if command -v h5ls > /dev/null; then
    h5ls -r "$temporary/t.h5" > "$temporary/out" &&
        grep -q '^/0/o .*{3, 4, 12}' "$temporary/out" &&
        grep -q '^/3/lse .*{3, 4}' "$temporary/out"
    point "decode: tensors of the queries"
    h5ls -r "$temporary/h.h5" > "$temporary/out" &&
        grep -q '^/1/2/o ' "$temporary/out" &&
        grep -q '^/2/1/lse ' "$temporary/out" &&
        ! grep -q '^/2/0/lse ' "$temporary/out"
    point "hybrid: tensors of each layer"
fi
spar run "$job" --format json -o "$temporary/r.h5" --set job.pass=decode \
    --set 'job.decode={steps: 5, page: 4}' \
    --set 'strategies=[{name: tree, reduce: packed}, {name: ring}]' &&
    json "$(echo "$passed" | sed 's/s\[/x[0][/g') and
    x[1]['applies'] is False"
point "decode: a session"
spar run "$job" --format json -o "$temporary/r.h5" --set job.queries=10 \
    --set 'strategies=[{name: star}, {name: star, block: 7, anchor: 3},
        {name: lasp}]' &&
    json "x[2]['applies'] is False and all($passed for s in x[:2])"
point "star: run"

echo "1..$n"
