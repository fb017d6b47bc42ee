#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A scenario under a real Slurm of four nodes on this host, which is started and
# ended here: the sbatch files of scripts/slurm as users submit them.
: "${SPAR:=./spar}" "${srcdir:=.}"
PATH=$PATH:/usr/sbin:/sbin
for tool in slurmctld slurmd munged sbatch; do
    command -v $tool > /dev/null || { echo "1..0 # SKIP no $tool"; exit 0; }
done
temporary=$(mktemp -d) && chmod 755 "$temporary" || exit 99
scripts=$(CDPATH= cd -- "$srcdir/scripts/slurm" && pwd) || exit 99
export SPAR
trap '"$scripts/one-host" stop "$temporary/slurm" 2> /dev/null
      rm -rf "$temporary"' EXIT
. "$srcdir/tests/points.sh"
says() { grep -q -e "$1" "$temporary/out"; }

port=$((20000 + $$ % 20000)) "$scripts/one-host" start "$temporary/slurm" \
    > "$temporary/out" 2> "$temporary/err" || {
    # A host that allows no daemons, or whose ports are taken.
    echo "1..0 # SKIP no Slurm: $(tail -n 1 "$temporary/err")"
    exit 0
}
. "$temporary/slurm/env"
cat > "$temporary/small.yaml" << 'END'
job:
  transformer: {heads: 4, kv_heads: 2, head_dim: 8}
  sequence: 64
  mask: causal
run: {warmups: 0, repeats: 1}
strategies:
  - {name: ring, layout: zigzag}
machine: unit
END
# submit ARGUMENT...: the job's output into out.
submit() {
    (cd "$temporary" && timeout 100 sbatch --wait -o out -e err "$@" \
        > sbatch.txt 2>&1) || { cat "$temporary/sbatch.txt"; return 1; }
}

submit -N 3 -w 'node[1,3-4]' "$scripts/run.sbatch" "$temporary/small.yaml" &&
    says '^job [0-9]*: .*; 3 slots on 3 hosts' &&
    says '^  1   fabric       -    leaf' && says '^ring .* passed ' &&
    says '^  job [0-9]*: nodes node\[1,3-4\], tasks 1(x3)$' &&
    says '^  rank 0 on .*, spine\.leaf1\.node1$' &&
    says '^  rank 2 on .*, spine\.leaf2\.node4$'
point "run.sbatch: nodes and switches in the trace"

# The unit machine's kernels, on the nodes of this Slurm.
{
    grep -v '^cores:' "$srcdir/scenarios/machines/unit.yaml"
    cat << 'END'
cluster:
  links: {memory: {usable: 10 GB/s}, pcie: {usable: 4 GB/s},
          network: {usable: 1 GB/s}}
  hosts:
    - {names: 'node[1-4]', sockets: 1, cores: 4, nics: [{on: socket0}]}
  fabric: {kind: leaf-spine, hosts_per_leaf: 2, spines: 1, taper: 2}
END
} > "$temporary/four.yaml"
sed -i "s/^machine: .*/machine: four.yaml/" "$temporary/small.yaml"
# A mesh that is numbered in the one way and better placed in the other.
sed -i 's/^  - .*/  - {name: 2d, head: 2, placement: context-first}/' \
    "$temporary/small.yaml"
# there: each rank is on the host that the job's file of hosts has for it.
there() {
    [ "$(cat "$temporary"/spar-*.hosts | sort | uniq -c | grep -c '^ *2 ')" \
        = 3 ] || return 1
    rank=0
    for host in $(cat "$temporary"/spar-*.hosts); do
        says "^  rank $rank on .*\\.$host\$" || return 1
        rank=$((rank + 1))
    done
    [ "$rank" = 6 ]
}
for BY in slots hosts; do
    export BY
    rm -f "$temporary"/spar-*.hosts
    submit -N 3 --ntasks-per-node=2 -w 'node[1-3]' "$scripts/placed.sbatch" \
        "$temporary/small.yaml" --set job.sequence=3000 &&
        says '^head-first .* +[1-9][0-9.]* %' && says '^2d .* passed ' && there
    point "placed.sbatch: ranks are where they were to be, by $BY"
done
echo "1..$n"
