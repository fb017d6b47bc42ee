#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Bad input: each folder of tests/cases holds
#   args      the command line after `spar`, as the shell reads it
#   stderr    what standard error must say, to the letter
#   status    the exit status
#   ranks     optional: start it with mpiexec on so many ranks
# and files that args name; @ stands for the folder.  Standard output must stay
# empty, and no file may be left in the folder.  A new case needs no code; with
# the argument "write", stderr and status are rewritten: look at them.
: "${SPAR:=./spar}" "${srcdir:=.}" "${MPIEXEC:=mpiexec}"
temporary=$(mktemp -d) || exit 99
trap 'rm -rf "$temporary"' EXIT
export SPAR_LOCAL=/nonexistent/local.yaml SPAR_DATA=/nonexistent
unset SLURM_JOB_NODELIST

# Of the case in $case: status, stdout, stderr, and a listing of the folder.
run_case() {
    launch=
    [ -f "$case/ranks" ] && launch="$MPIEXEC -n $(cat "$case/ranks")"
    ls -A "$case" > "$temporary/before"
    eval "set -- $(sed "s|@|$case|g" "$case/args")"
    timeout -k 5 30 $launch "$SPAR" "$@" < /dev/null \
        > "$temporary/stdout" 2> "$temporary/said"
    echo $? > "$temporary/status"
    sed "s|$case|@|g" "$temporary/said" > "$temporary/stderr"
    ls -A "$case" > "$temporary/after"
}

judge_case() {
    for part in status stderr; do
        diff "$case/$part" "$temporary/$part" 2>&1
    done
    diff /dev/null "$temporary/stdout"
    diff "$temporary/before" "$temporary/after"
}

n=0
for case in "$srcdir"/tests/cases/*; do
    n=$((n + 1))
    run_case
    if [ "$1" = write ]; then
        cp "$temporary/status" "$temporary/stderr" "$case"
    elif judge_case > "$temporary/findings"; [ -s "$temporary/findings" ]; then
        echo "not ok $n - $(basename "$case")"
        sed 's/^/# /' "$temporary/findings"
    else
        echo "ok $n - $(basename "$case")"
    fi
done
[ "$1" = write ] || echo "1..$n"
