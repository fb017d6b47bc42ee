#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Ranks that fail in the middle of a run: all end within 30 s, somebody says
# why, and what is left on disk says where.  First on the host, then, where
# there is one, on a CUDA device.
: "${SPAR:=./spar}" "${srcdir:=.}" "${MPIEXEC:=mpiexec}"
temporary=$(mktemp -d) || exit 99
trap 'rm -rf "$temporary"' EXIT
export SPAR_LOCAL=/nonexistent/local.yaml
cat > "$temporary/job.yaml" << 'END'
job:
  transformer: {heads: 4, kv_heads: 2, head_dim: 64}
  sequence: 1024
  mask: causal
  pass: forward_backward
  dtype: bf16
run: {ranks: 3, warmups: 1, repeats: 2}
strategies:
  - {name: ring, layout: zigzag}
END
. "$srcdir/tests/points.sh"

# A launcher that does not notice: the shell outlives its rank.
cat > "$temporary/hide" << 'END'
"$@"
rc=$?
sleep 20
exit $rc
END

# run FAULT ARGUMENT...: three ranks, started by $by, one of which fails.  True
# if all of them end within 30 s, and with a failure.
run() {
    fault=$1
    shift
    rm -rf "$temporary/t.h5" "$temporary/t.h5.part"
    SPAR_FAULT=$fault timeout -k 1 30 "$MPIEXEC" -n 3 $by "$SPAR" run \
        "$temporary/job.yaml" -o "$temporary/t.h5" "$@" < /dev/null \
        > "$temporary/out" 2> "$temporary/err"
    rc=$?
    [ $rc != 0 ] && [ $rc != 124 ] && [ $rc != 137 ]
}

says() { grep -q -e "$1" "$temporary/err"; }

# The folder that is left names rank 1 and the op that it was in.
left() {
    "$SPAR" trace "$temporary/t.h5.part" > "$temporary/out" 2>&1 &&
        grep -q 'rank 1 on .* was killed in op [0-9]' "$temporary/out"
}

whole() {
    "$MPIEXEC" -n 3 "$SPAR" run "$temporary/job.yaml" -o "$temporary/t.h5" \
        "$@" < /dev/null > "$temporary/out" 2> "$temporary/err" &&
        grep -q ' passed ' "$temporary/out"
}

# ---- On the host
by=
run 1:2:kill && left
point "a killed rank"
by="sh $temporary/hide"
run 1:2:kill && says 'rank [02]: lost rank 1 of this host' && left
point "a killed rank, and a launcher that does not notice"
by=
run 1:2:oops && says 'SPAR_FAULT=1:2:oops'
point "a fault that does not exist"
whole
point "a run after all that"

# ---- On a device
why=
"$SPAR" list > "$temporary/out"
grep '^ *cuda ' "$temporary/out" | grep -qv 'not here' || why="no CUDA device"

# on_device NAME COMMAND: a point, or a skip.
on_device() {
    if [ "$why" ]; then
        skip "$1" "$why"
    else
        eval "$2"
        point "$1"
    fi
}

cuda="--set run.kernel=cuda"
on_device "where ranks work" "whole $cuda &&
    [ \"\$(grep -c 'rank [0-2]: .* \(bound to\|left on\) CPUs [0-9]' \
        $temporary/err)\" = 3 ]"
on_device "a device error" "run 1:4:device $cuda &&
    says 'rank 1, op [0-9]* .*: CUDA: '"
on_device "a stall" "run 1:4:stall $cuda &&
    says 'rank 1: nothing completed for .* waiting for op [0-9]'"
on_device "a killed rank on a device" "run 1:4:kill $cuda && left"
by="sh $temporary/hide"
on_device "a killed rank on a device, and a launcher that does not notice" \
    "run 1:4:kill $cuda && says 'rank [02]: lost rank 1' && left"
by=
# 5 TB a rank: told before anything is allocated, without an abort.
on_device "too little memory" "run 9:0:kill $cuda --set job.sequence=805306368 \
    --set run.verify=none; [ \$rc = 1 ] &&
    says 'out of memory: rank 0 needs .* GiB available' &&
    ! says 'TERMINATION'"
on_device "a run on a device after all that" "whole $cuda"

echo "1..$n"
