#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# `spar place`: what it says, and what becomes of what it writes.
: "${SPAR:=./spar}" "${srcdir:=.}" "${MPIEXEC:=mpiexec}"
temporary=$(mktemp -d) || exit 99
trap 'rm -rf "$temporary"' EXIT
. "$srcdir/tests/points.sh"
says() { grep -q -e "$1" "$temporary/out"; }

# Four hosts of four GPUs that share a slow network interface.
cat > "$temporary/four.yaml" << 'END'
name: four
kernels: a100
memory_bandwidth: 2 TB/s
cluster:
  links: {nvlink: {usable: 10 GB/s}, pcie: {usable: 2 GB/s},
          network: {usable: 1 GB/s}}
  hosts:
    - {name: h, count: 4, sockets: 1, switches: [{name: p, on: socket0}],
       gpus: [{on: p, count: 4}], nics: [{on: p}], nvlink: switch}
  fabric: {kind: leaf-spine, hosts_per_leaf: 2, spines: 1, taper: 2}
END
cat > "$temporary/job.yaml" << 'END'
job:
  transformer: {heads: 8, kv_heads: 8, head_dim: 64}
  sequence: 1024
  pass: forward
  dtype: bf16
run: {ranks: 16, warmups: 0, repeats: 1, verify: none}
strategies: [{name: ring}, {name: 2d, head: 4, placement: context-first}]
machine: four.yaml
END
job=$temporary/job.yaml

spar place "$job" && says '^ring, 16 ranks on 16 slots of four, ' &&
    says '^linear  .* +0\.0 %' && says '^snake ' && says '^search ' &&
    says '^exhaustive  *does not apply: more than 7 ranks' &&
    says '^slots by rank: '
point "text"

# Nodes in an order that goes to and fro between leaves.
nodes='h[0,2,1,3]'
spar place "$job" --nodes "$nodes" --format json \
    --emit "$temporary/placed.yaml" --hostfile "$temporary/hosts"
point "JSON, a scenario and hosts"
if command -v python3 > /dev/null; then
    value() { python3 -c 'import json, sys
x = json.load(open(sys.argv[1]))
'"$2" "$1" 2>> "$temporary/err"; }
    value "$temporary/out" 'rows = {p["name"]: p for p in x["placements"]}
best = rows[x["choice"]]
assert rows["linear"]["slots"] == [4 * h + i for h in (0, 2, 1, 3)
                                   for i in range(4)]
assert best["predicted_s"] <= min(p["predicted_s"] for p in rows.values()
                                  if "slots" in p)
assert best["gain"] > 0.3
assert sorted(best["slots"]) == list(range(16))
assert abs(best["gain"] - 1 + best["predicted_s"]
           / rows["linear"]["predicted_s"]) < 1e-9
hosts = [l.strip() for l in open(sys.argv[1][:-3] + "hosts")]
assert hosts == ["h%d" % (s // 4) for s in best["slots"]]
json.dump(best["predicted_s"], open(sys.argv[1][:-3] + "seconds", "w"))'
    point "the choice gains over the order of the nodes; hosts are its own"
    spar sim "$temporary/placed.yaml" --network flow --format json \
        -o "$temporary/x.h5" &&
        value "$temporary/out" 'seconds = json.load(open(sys.argv[1][:-3]
                                                 + "seconds"))
assert abs(x[0]["predicted_s"] / seconds - 1) < 1e-9'
    point "sim of the scenario written takes the time that was said"
fi

# ---- run.slots on ranks
launch="$MPIEXEC -n 2"
cat > "$temporary/two.yaml" << 'END'
job: {transformer: {heads: 4, kv_heads: 2, head_dim: 8}, sequence: 64}
run: {slots: [1, 0], warmups: 0, repeats: 1}
strategies: [{name: ring}, {name: ulysses}]
END
spar run "$temporary/two.yaml" -o "$temporary/two.h5" && says '^ring .* passed '
point "run.slots: ranks are renumbered, results verified"
spar run "$temporary/two.yaml" --set run.slots=null -o "$temporary/one.h5"
launch=
cores() { spar trace "$1" && sed -n "s/^  rank $2 on //p" "$temporary/out"; }
[ "$(cores "$temporary/two.h5" 0)" = "$(cores "$temporary/one.h5" 1)" ] &&
    [ "$(cores "$temporary/two.h5" 1)" = "$(cores "$temporary/one.h5" 0)" ] &&
    [ -n "$(cores "$temporary/one.h5" 0)" ]
point "run.slots: on the cores of their slots"
echo "1..$n"
