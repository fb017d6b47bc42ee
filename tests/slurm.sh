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
echo "1..$n"
