#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The command line as other people's scripts see it: exit statuses, help, the
# shape of the JSON, what is left on disk.
: "${SPAR:=./spar}" "${srcdir:=.}" "${MPIEXEC:=mpiexec}"
scenarios=$srcdir/scenarios
temporary=$(mktemp -d) || exit 99
trap 'rm -rf "$temporary"' EXIT
export SPAR_LOCAL=/nonexistent/local.yaml
cat > "$temporary/small.yaml" << 'END'
job:
  transformer: {heads: 4, kv_heads: 2, head_dim: 8}
  sequence: [40, 1, 23]
  mask: causal
  pass: forward_backward
run: {ranks: 2, warmups: 0, repeats: 1}
strategies:
  - {name: ring, layout: zigzag}
  - {name: allgather, layout: striped}
  - {name: ulysses}
machine: unit
END
small=$temporary/small.yaml
. "$srcdir/tests/points.sh"

# says FILE PATTERN: one line of out or err matches.
says() { grep -q -e "$2" "$temporary/$1"; }
silent() { ! [ -s "$temporary/$1" ]; }

# json EXPRESSION: true of the one JSON value x that out holds.
if command -v python3 > /dev/null; then
    json() {
        python3 -c 'import json, sys
x = json.load(open(sys.argv[1]))
sys.exit(not eval("(" + sys.argv[2] + ")"))' "$temporary/out" "$1" 2>> "$temporary/err"
    }
else
    json() { [ -s "$temporary/out" ]; }
fi

# ---- Help and version
for c in list show check run sim compare trace calibrate topo plan place; do
    spar $c --help && says out "^Usage: spar $c" && says out '^Options:' &&
        says out ' --help ' && silent err
    point "$c --help"
done
spar --help && says out '^Usage' && says out '  check '
point "--help"
spar --version && says out '^spar [0-9]'
point "--version"
spar; [ $? = 2 ] && silent out && says err '^Usage'
point "no command: usage, status 2"
launch="$MPIEXEC -n 2"
spar run --help && [ "$(grep -c '^Usage' "$temporary/out")" = 1 ]
point "run --help on two ranks: once"
spar list && [ "$(grep -c '^strategies' "$temporary/out")" = 1 ]
point "list on two ranks: once"
launch=

# ---- list, topo
spar list && says out '  ring ' && says out '  reference ' &&
    says out '  loggp ' && says out '  host '
point "list: text"
spar list --format json && json 'all(set(s) >= {"name", "family", "summary",
    "options"} for s in x) and {"ring", "allgather", "ulysses"} <=
    {s["name"] for s in x}'
point "list: JSON"
spar topo && silent err && spar topo --format json && json 'x'
point "topo"

# ---- show
spar show "$small" && [ "$(grep -c '^rank [01] of 2' "$temporary/out")" = 6 ]
point "show: every rank of every entry"
spar show "$small" --rank 1 --entry 2 &&
    [ "$(grep -c '^rank ' "$temporary/out")" = 1 ] && says out '^rank 1 of 2'
point "show --rank --entry"
spar show "$small" --entry 0 --dot && says out '^digraph'
point "show --dot"
spar show "$small" --entry 0 --goal && says out '^num_ranks 2'
point "show --goal"
spar show "$small" --entry 0 --goal --timed && says out 'calc [1-9]' &&
    spar show "$small" --entry 0 --timed; [ $? = 2 ] &&
    says err '^spar: --timed goes with --goal$'
point "show --goal --timed"

# ---- check
spar check "$small" && says out 'ring .* passed' && silent err
point "check: text"
spar check "$small" --format json && json '[s["strategy"] for s in x] ==
    ["ring", "allgather", "ulysses"] and all(set(s) == {"strategy", "ranks",
    "bytes_sent", "bytes_expected", "pairs", "expected_pairs", "peak_bytes",
    "ops", "deadlock", "coverage", "reuse_stalls", "passed"} for s in x)'
point "check: JSON keys"
json 'all(s["passed"] is True and s["coverage"] is True and s["deadlock"] is
    False and s["bytes_sent"] == s["bytes_expected"] and
    sum(s["pairs"]) == s["expected_pairs"] == 4 * (40 * 41 // 2 + 1 +
    23 * 24 // 2) and len(s["peak_bytes"]) == 2 for s in x)'
point "check: JSON values"
spar check "$small" --set run.ranks=7 --set 'job.sequence=[3, 1]' \
    --set strategies.1.layout=zigzag --format json &&
    json 'all(s["ranks"] == 7 and len(s["pairs"]) == 7 for s in x)'
point "check --set"
for preset in "$scenarios"/transformers/*.yaml; do
    spar check "$small" --set job.sequence=8 \
        --set "job.transformer=$(basename "$preset" .yaml)" || break
done && says out 'ulysses .* passed'
point "check: every preset"
spar check "$scenarios/million.yaml" && says out 'ring .* 1024 .* passed'
point "check: a million tokens on 1,024 ranks"

# ---- sim, trace, compare
spar sim "$small" -o "$temporary/s.h5" && says out '^ring ' &&
    says err "^trace: $temporary/s.h5" && [ -s "$temporary/s.h5" ]
point "sim: text and trace"
spar sim "$small" --format json && [ -s "$temporary/small.sim.h5" ] &&
    json 'all(set(s) >= {"strategy", "layout", "ranks", "pass", "dtype",
    "schedule_hash", "time_s", "predicted_s", "tflops", "bytes_sent",
    "bytes_expected", "pairs", "peak_bytes", "error", "gate", "overlap",
    "passed"} for s in x)'
point "sim: JSON keys, default output"
json 'all(s["time_s"] is None and s["predicted_s"] > 0 and
    int(s["schedule_hash"], 16) and s["error"]["dq"] is None for s in x)'
point "sim: JSON values"
spar sim "$small" -o "$temporary/i.h5" --network ideal
point "sim --network ideal"
spar trace "$temporary/s.h5" && says out '^entry 2: ulysses'
point "trace: text"
spar trace "$temporary/s.h5" --format json && json 'len(x["entries"]) == 3'
point "trace: JSON"
spar compare "$temporary/s.h5" "$temporary/i.h5" && says out 'makespan'
point "compare: text"
spar compare "$temporary/s.h5" "$temporary/i.h5" --format json && json 'x'
point "compare: JSON"
spar sim "$small" --set strategies.0.layout=contiguous -o "$temporary/o.h5" &&
    { spar compare "$temporary/s.h5" "$temporary/o.h5"; [ $? = 1 ]; } &&
    silent out && says err '^spar: .*hash'
point "compare refuses other schedules"

# ---- sim: networks, folding, jitter
for network in ideal loggp flow; do
    spar sim "$small" --network $network --set job.sequence=512 \
        --set job.mask=full --set run.ranks=8 --format json \
        -o "$temporary/f.h5" --set 'strategies=[{name: ring}, {name: ulysses}]' \
        --set 'job.transformer={heads: 8, head_dim: 8}' &&
        json '[s["classes"] for s in x] == [1, 1]' &&
        cp "$temporary/out" "$temporary/folded" &&
        spar sim "$small" --network $network --set job.sequence=512 \
        --set job.mask=full --set run.ranks=8 --format json --no-fold \
        -o "$temporary/u.h5" --set 'strategies=[{name: ring}, {name: ulysses}]' \
        --set 'job.transformer={heads: 8, head_dim: 8}' &&
        json '[s["classes"] for s in x] == [8, 8] and [dict(s, classes=1)
        for s in x] == json.load(open("'"$temporary"'/folded"))' &&
        spar compare "$temporary/u.h5" "$temporary/f.h5" || break
done
point "sim: folded as --no-fold, on every network"
spar sim "$scenarios/ring-1024.yaml" --set run.ranks=16384 --network flow \
    -o "$temporary/f.h5" && says out '16384 ranks in 1 class of 16384'
point "sim: 16384 ranks, folded"
spar sim "$small" --network flow --format json -o "$temporary/f.h5" &&
    json 'all(abs(sum(l["bytes"] for l in s["links"])
    - 2 * sum(s["bytes_sent"])) < 1 and len(s["links"]) == 4 and
    all(l["peak"] <= 1 + 1e-9 and l["busy_s"] <= s["predicted_s"]
    for l in s["links"]) and abs(sum(s["critical_path_s"].values())
    - s["predicted_s"]) < 2e-9 for s in x)'
point "sim: links, critical path"
spar sim "$small" --format json -o "$temporary/f.h5" &&
    cp "$temporary/out" "$temporary/even" &&
    spar sim "$small" --format json -o "$temporary/f.h5" --set \
    'jitter={ranks: [{rank: 1, slow: 3, delay: 1 ms}]}' && json 'all(
    s["predicted_s"] > 1e-3 + e["predicted_s"] for s, e in zip(x,
    json.load(open("'"$temporary"'/even"))))'
point "sim: a late, slow rank"
launch="$MPIEXEC -n 2"
run_slow() {
    spar run "$small" --format json -o "$temporary/f.h5" --set \
        'strategies=[{name: ring}]' --set job.sequence=2048 \
        --set run.repeats=5 --set "jitter={ranks: [{rank: 1, slow: $1}]}"
}
run_slow 1 && cp "$temporary/out" "$temporary/even" && run_slow 60 &&
    json 'x[0]["passed"] and x[0]["time_s"]["min"] >
    5 * json.load(open("'"$temporary"'/even"))[0]["time_s"]["min"]'
point "run: a rank that is slowed down 60 times"
launch=

# ---- plan
plan() { spar plan "$small" "$@"; }
plan && says out ' candidates of 5 strategies, estimated' && says out '^  1[ *] ring' &&
    says out '^tree  *does not apply: ' && says out 'in .strategies.$' &&
    silent err
point "plan: text"
plan --format json --emit "$temporary/choice.yaml" --entries 3 &&
    json 'set(x) >= {"machine", "ranks", "candidates", "candidates_per_s", "fit",
    "memory_bytes", "plans", "refused"} and all(set(p) >= {"strategy", "layout",
    "options", "schedule_hash", "predicted_s", "estimated_s", "exposed_s",
    "overlap", "bytes_sent", "peak_bytes", "fits", "asked", "loses"}
    for p in x["plans"])'
point "plan: JSON keys"
json 'x["plans"][0]["loses"] is None and x["plans"] == sorted(x["plans"],
    key=lambda p: p["predicted_s"]) and sum(p["asked"] for p in x["plans"]) == 3
    and {r["strategy"] for r in x["refused"]} >= {"tree", "star", "lasp"}'
point "plan: JSON values"
cp "$temporary/out" "$temporary/plan.json"
spar sim "$temporary/choice.yaml" --format json -o "$temporary/c.h5" &&
    json '[s["schedule_hash"] for s in x] == [p["schedule_hash"] for p in
    json.load(open("'"$temporary"'/plan.json"))["plans"][:3]] and
    [s["predicted_s"] for s in x] == [p["predicted_s"] for p in
    json.load(open("'"$temporary"'/plan.json"))["plans"][:3]]'
point "plan --emit: sim finds the same schedules and times"
launch="$MPIEXEC -n 2"
spar run "$temporary/choice.yaml" --format json -o "$temporary/c.h5" &&
    json 'len(x) == 3 and all(s["passed"] for s in x)'
point "plan --emit: run takes it"
launch=
plan --set machine.link.bandwidth=2GB/s --set machine.compute=0.5 \
    --format json && json '{d["number"]: d["value"]
    for d in x["sensitivity"]}["link.bandwidth"] == 2e9 and
    all(set(d) >= {"number", "unit", "value", "elasticity"}
    for d in x["sensitivity"])'
point "plan: what it depends on; a machine that differs"
spar plan "$scenarios/plan-l20.yaml" --format json --emit "$temporary/l.yaml" &&
    json 'x["network"] == "flow" and x["candidates_per_s"] > 1e5 and
    all(abs(sum(p["bytes_by_class"].values()) - p["bytes_sent"]) <=
    0.3 * p["bytes_sent"] and set(p["bytes_by_class"]) == {"pcie", "socket"} and
    p["interval_s"][0] < p["predicted_s"] < p["interval_s"][1]
    for p in x["plans"])'
point "plan on a cluster: bytes by class, intervals"
spar plan "$scenarios/plan-l20.yaml" && says out '^placement: '
point "plan on a cluster: placement"
spar plan "$scenarios/plan-l20.yaml" --format json > /dev/null
cp "$temporary/out" "$temporary/plan.json"
spar sim "$temporary/l.yaml" --network flow --format json -o "$temporary/c.h5" &&
    json '[x[0]["predicted_s"], x[0]["schedule_hash"]] == [json.load(open(
    "'"$temporary"'/plan.json"))["plans"][0][k] for k in ("predicted_s",
    "schedule_hash")]'
point "plan on a cluster --emit: sim predicts the same"
for plan in plan-64 plan-512; do
    spar plan "$scenarios/$plan.yaml" --emit "$temporary/l.yaml" \
        --simulate 1 --format json && json 'x["plans"][0]["predicted_s"] > 0 and
        x["plans"][0]["strategy"] in ("usp", "2d")' &&
        spar check "$temporary/l.yaml" --set job.sequence=65536 || break
done && says out ' passed '
point "plan on DGX H100 of a leaf-spine fabric"
plan --set 'what_if={run.ranks: [2, 4], job.mask: [full, causal],
    machine.link.bandwidth: [1 MB/s, 1 GB/s, 100 GB/s]}' --format json \
    -o "$temporary/w.h5" && [ -s "$temporary/w.h5" ] &&
    json 'x["points"] == len(x["best"]) == 12 and x["simulated"] == 0 and
    all(b["seconds"] > 0 for b in x["best"]) and
    x["best"][0]["values"] == {"run.ranks": "2", "job.mask": "full",
    "machine.link.bandwidth": "1 MB/s"} and
    any(c["key"] == "machine.link.bandwidth" for c in x["crossovers"])'
point "plan: what_if, JSON"
plan --set 'what_if={run.ranks: [2, 4]}' --simulate 2 \
    --set machine.memory=1MB &&
    says out '^2 points: 2 of run.ranks$' && says out ' [1-9][0-9]* simulated' &&
    says out '^crossovers ' && says out '^longest sequence ' &&
    [ -s "$temporary/small.what-if.h5" ]
point "plan: what_if, text, simulated"
spar plan "$scenarios/linear-5.yaml" -o "$temporary/w.h5" --format json --set \
    'what_if={run.ranks: [2, 5], job.sequence: [1024, 4096]}' \
    --set machine=unit --set machine.memory=1GB &&
    json 'x["simulated"] > 0 and all(b["seconds"] > 0 and
    b["strategy"].startswith("lasp") for b in x["best"]) and
    all(y["tokens"] > 4096 for y in x["longest"])'
point "plan: what_if without closed forms is simulated"
spar plan "$scenarios/whatif-10k.yaml" -o "$temporary/w.h5" --format json &&
    json 'x["points"] == 10000 and x["seconds"] < 60 and
    len(x["longest"]) == 10'
point "plan: what_if, ten thousand points in a minute"
plan --memory 70kB --reserve 50 --format json &&
    json 'x["memory_bytes"] == 35e3 and x["plans"][0]["peak_bytes"] <= 35e3 and
    not x["plans"][-1]["fits"]'
point "plan --memory --reserve"

# ---- run
launch="$MPIEXEC -n 2"
spar run "$small" --format json -o "$temporary/r.h5" \
    --output-tensors "$temporary/t.h5" &&
    json '[s["strategy"] for s in x] == ["ring", "allgather", "ulysses"] and
    all(s["passed"] is True and s["time_s"]["median"] > 0 and
    s["bytes_sent"] == s["bytes_expected"] and
    all(s["error"][k] <= s["gate"][k] for k in ("o", "lse", "dq", "dk", "dv"))
    for s in x)'
point "run: JSON"
json 'all(0 <= s["overlap"] <= 1 for s in x)'
point "run: overlap"
[ -s "$temporary/r.h5" ] && [ -s "$temporary/t.h5" ] &&
    ! ls "$temporary" | grep -q part
point "run: its files and no others"
spar compare "$temporary/r.h5" "$temporary/s.h5" && says out 'makespan'
point "run and sim compare"
echo old > "$temporary/tensors.h5"
spar run "$small" -o "$temporary/r.h5" --format json \
    --output-tensors "$temporary/tensors.h5" --set 'run.transport=none'
[ $? = 1 ] && [ "$(cat "$temporary/tensors.h5")" = old ] &&
    json 'not all(s["passed"] for s in x)'
point "run: failed verification: status 1, one JSON value, no tensors"
launch=
plan --measured "$temporary/r.h5" --format json && json 'x["plans"]' &&
    says err '^kernel times of [0-9]* ops of .*: attend x[0-9.]*, attend_backward'
point "plan --measured"
{ plan --measured "$temporary/s.h5"; [ $? = 1 ]; } && silent out &&
    says err 'simulated'
point "plan --measured: not of a simulation"
spar run "$small"; [ $? = 2 ] && silent out && says err 'mpiexec -n 2'
point "run started alone says how to start it"
OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=0 spar run "$small"
[ $? = 2 ] && silent out && [ "$(wc -l < "$temporary/err")" = 1 ] &&
    says err "^spar: Open MPI's mpiexec started 2 processes, but" &&
    says err 'start spar with mpiexec.mpich$'
point "run started by another MPI says so"
OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=1 spar run "$small"
[ $? = 2 ] && silent out && silent err
point "once"

# ---- As transports execute schedules: unit-cluster has two hosts of four slots
cluster="--set machine=unit-cluster --set run.ranks=8"
ops() { sed -n 's/.*"ops": *\([0-9]*\).*/\1/p' "$temporary/out" | head -1; }
spar check --format json "$small" $cluster; logical=$(ops)
spar check --format json --lowered staged "$small" $cluster; staged=$(ops)
spar check --format json --lowered ipc+staged "$small" $cluster
[ $? = 0 ] && json 'all(e["passed"] for e in x)' && between=$(ops) &&
    [ "$logical" -lt "$between" ] && [ "$between" -lt "$staged" ]
point "check --lowered ipc+staged: between hosts only"
spar check --format json --lowered ipc+staged "$small" && [ "$(ops)" -gt 0 ]
point "on one host nothing is lowered"
spar show --lowered ipc+staged --rank 3 "$small" $cluster &&
    says out 'stage_out' && spar show --lowered ipc+staged --rank 1 "$small" \
    $cluster --entry 0 && ! says out 'stage_out'
point "show --lowered ipc+staged: of a rank that sends to another host"
cluster="--set machine=a800-64 --set run.ranks=16 --format json"
sim_s() {
    spar sim "$small" $cluster -o "$temporary/l.h5" --lowered $1 &&
        json 'all(e["predicted_s"] > 0 for e in x)' &&
        sed -n 's/.*"predicted_s": *\([0-9.e-]*\).*/\1/p' "$temporary/out"
}
staged=$(sim_s staged) && between=$(sim_s ipc+staged) &&
    [ "$staged" != "$between" ]
point "sim --lowered ipc+staged is not as staged"
spar show --lowered ipc+staged "$small" --set machine=null
[ $? = 2 ] && says err 'machine: .*missing, for --lowered ipc+staged'
point "and it needs a machine"

# ---- A full disk, too little memory
"$SPAR" list > /dev/full 2> "$temporary/err"
[ $? = 1 ] && says err '^spar: standard output'
point "standard output on a full disk"
spar run "$small" --set run.ranks=1 --set job.sequence=1000000000000 \
    --set run.verify=none
[ $? != 0 ] && silent out && [ "$(wc -l < "$temporary/err")" = 1 ] &&
    says err '^spar: .*memory'
point "out of memory is told before it happens"

echo "1..$n"
