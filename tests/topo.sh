#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# `spar topo MACHINE`: each file of tests/topo/NAME.txt is what it prints of the
# machine NAME (a preset, or a file beside it).  With the argument "write" they
# are rewritten: look at them.
: "${SPAR:=./spar}" "${srcdir:=.}"
temporary=$(mktemp -d) || exit 99
trap 'rm -rf "$temporary"' EXIT
. "$srcdir/tests/points.sh"
here=$srcdir/tests/topo
says() { grep -q -e "$1" "$temporary/out"; }

# The machine of an expected text: the file NAME beside it, else the preset.
machine() {
    if [ -f "$here/$1" ]; then echo "$here/$1"; else echo "$1"; fi
}

for expected in "$here"/*.txt; do
    name=$(basename "$expected" .txt)
    if [ "$1" = write ]; then
        "$SPAR" topo "$(machine "$name")" > "$expected"
        continue
    fi
    spar topo "$(machine "$name")" && [ ! -s "$temporary/err" ] &&
        diff "$expected" "$temporary/out" > "$temporary/err"
    point "$name"
done
[ "$1" = write ] && exit

# ---- Slurm: the nodes of a job, on the tree beside slurm.conf if there is one
cp "$here/tree.conf" "$temporary/topology.conf"
SLURM_JOB_ID=77 SLURM_JOB_NODELIST='big1,tux[0,08]'
SLURM_TASKS_PER_NODE='1(x2),2'
SLURM_CONF=$temporary/slurm.conf SLURM_TOPOLOGY_ADDR=top.m0.s1.big1
export SLURM_JOB_ID SLURM_JOB_NODELIST SLURM_TASKS_PER_NODE SLURM_CONF
export SLURM_TOPOLOGY_ADDR
spar topo slurm &&
    says '^job 77: this node is top.m0.s1.big1; 4 slots on 3 hosts' &&
    says '^  1   fabric       -  fabric' &&
    says '^  3   fabric  fabric    numa' &&
    says ' s0  1 to hosts'
point "slurm: on the tree"
rm "$temporary/topology.conf"
spar topo slurm && says ' network  3 to hosts' && says '^leaf  *10 '
point "slurm: one network"
SLURM_TASKS_PER_NODE=2; spar topo slurm
[ $? = 2 ] && grep -q 'of 1 nodes, SLURM_JOB_NODELIST of 3' "$temporary/err"
point "slurm: tasks of other nodes"
spar topo host && says ' slots* on 1 host$' && says '(slot 0)'
point "host"

# ---- Other formats
if command -v python3 > /dev/null; then
    spar topo unit-cluster --format json && python3 -c 'import json, sys
x = json.load(open(sys.argv[1]))
names = [v["name"] for v in x["vertices"]]
assert x["slots"] == 8 and len(set(names)) == len(names)
assert all(0 <= e["from"] < len(names) and 0 <= e["to"] < len(names)
           and e["bandwidth"] > 0 for e in x["edges"])
m = x["matrix"]
assert m["class"][0][3] == "nvlink" and m["bandwidth"][0][3] == 300e9
assert m["class"][0][0] is None and m["latency"][0][4] == 11.2e-6
assert sum(c["pairs"] for c in x["classes"]) == 56
assert x["bisection"] == 45e9 and len(x["lints"]) == 1' "$temporary/out" \
        2>> "$temporary/err"
    point "JSON"
    spar topo unit-cluster --format svg && python3 -c 'import sys
import xml.etree.ElementTree as tree
root = tree.parse(sys.argv[1]).getroot()
space = "{http://www.w3.org/2000/svg}"
boxes = [(float(r.get("x")), float(r.get("y"))) for g in root.iter(space + "g")
         for r in g.iter(space + "rect")]
assert len(boxes) == 28
width, height = float(root.get("width")), float(root.get("height"))
for i, (x, y) in enumerate(boxes):
    assert 0 <= x <= width - 62 and 0 <= y <= height - 22
    for a, b in boxes[:i]:
        assert abs(a - x) >= 62 or abs(b - y) >= 22, "boxes overlap"' \
        "$temporary/out" 2>> "$temporary/err"
    point "SVG: boxes within the picture, none over another"
fi
# ---- Traffic: what LoongTrain's double ring changes
traffic() { spar topo --traffic "$srcdir/scenarios/loongtrain-64.yaml" "$@"; }
traffic && says '^traffic .*: ring on 64 ranks, layout: zigzag$' &&
    says '^  box7  *0 B/2\.114 GB  0 B  0 B  2\.114 GB/0 B$'
point "traffic: a ring by two of four interfaces"
traffic --entry 1 &&
    says '^  box7  *469\.8 MB  469\.8 MB  469\.8 MB  469\.8 MB$'
point "traffic: a double ring by all"
traffic --entry 3 && says '^network .* 117\.4 MB$'
point "traffic: context-first"
if command -v python3 > /dev/null; then
    traffic --format json && python3 -c 'import json, sys
x = json.load(open(sys.argv[1]))
assert x["traffic"] == "ring on 64 ranks, layout: zigzag"
sent = sum(e["bytes"] + e["bytes_back"] for e in x["edges"]
           if e["type"] == "network")
assert sent == 2 * 8 * 63 * 2 * 2048 * 32 * 128 * 2' "$temporary/out" \
        2>> "$temporary/err"
    point "traffic: JSON, each hop across once out, once in"
    mv "$temporary/out" "$temporary/drawn"
    spar sim "$srcdir/scenarios/loongtrain-64.yaml" --format json \
        -o "$temporary/sim.h5" && python3 -c 'import json, sys
x = json.load(open(sys.argv[1]))[0]
drawn = json.load(open(sys.argv[2]))
names = [v["name"] for v in drawn["vertices"]]
carried = {}
for e in drawn["edges"]:
    carried[names[e["from"]], names[e["to"]]] = e["bytes"]
    carried[names[e["to"]], names[e["from"]]] = e["bytes_back"]
links = {(l["from"], l["to"]): l["bytes"] for l in x["links"]}
assert links and all(abs(links.get(k, 0) - b) <= 1e-6 * b
                     for k, b in carried.items())' "$temporary/out" \
        "$temporary/drawn" 2>> "$temporary/err"
    point "traffic: the simulator moves the same bytes over every link"
    traffic --format svg && python3 -c 'import sys
import xml.etree.ElementTree as tree
text = [t.text for t in tree.parse(sys.argv[1]).getroot().iter(
    "{http://www.w3.org/2000/svg}text")]
assert text.count("2.114 GB") == 8 and text.count("0 B") == 8' \
        "$temporary/out" 2>> "$temporary/err"
    point "traffic: SVG, of the four hosts shown"
fi
traffic --format dot && [ "$(grep -c 'penwidth=6\.5' "$temporary/out")" != 0 ]
point "traffic: dot"
spar topo unit-cluster --format dot &&
    [ "$(grep -c ' -- ' "$temporary/out")" = 38 ] &&
    [ "$(grep -c shape= "$temporary/out")" = 28 ]
point "dot: every vertex and edge"
echo "1..$n"
