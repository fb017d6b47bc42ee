# SPDX-License-Identifier: Apache-2.0
# Read by gpu-test: compute-sanitizer on small cases.

# sanitized TOOL LABEL COMMAND...: adds what it finds to $found, and counts a
# case as finished or not.
sanitized() {
    tool=$1 label=$2
    within 240 || {
        count_skipped "$tool $label: no time left"
        unfinished=$((unfinished + 1))
        return
    }
    shift 2
    log=$out/$tool-$(echo "$label" | tr -c 'A-Za-z0-9.\n-' '_').log
    began=$(date +%s)
    timeout -k 5 "$limit" "$@" > "$log" 2>&1 < /dev/null
    rc=$?
    errors=$(sed -n 's/.*ERROR SUMMARY: \([0-9]*\).*/\1/p;
        s/.*RACECHECK SUMMARY: \([0-9]*\).*/\1/p' "$log" |
        awk '{ n += $1 } END { if (NR) print n }')
    printf '   %-9s %6s errors, status %d %4d s  %s\n' "$tool" \
        "${errors:-no}" "$rc" "$(($(date +%s) - began))" "$label"
    if [ -n "$errors" ]; then
        finished=$((finished + 1))
        found=$((found + errors))
    else
        unfinished=$((unfinished + 1))
    fi
    if [ "$errors" = 0 ] && [ "$rc" = 0 ]; then
        passed=$((passed + 1))
    else
        count_failed "$tool $label: ${errors:-no end, unknown} errors, status $rc, see $log"
    fi
}

sanitize() {
    command -v compute-sanitizer > /dev/null || {
        count_skipped "compute-sanitizer: not installed"
        return
    }
    say "compute-sanitizer on small cases"
    found=0 finished=0 unfinished=0
    for tool in memcheck racecheck; do
        for t in $(gpu_tests); do
            case $t in
            *.t) sanitized $tool "$t" env CMOCKA_MESSAGE_OUTPUT=TAP \
                SPAR_TEST_TRIALS=2 CUDA_VISIBLE_DEVICES="$first_gpu" \
                compute-sanitizer --tool $tool --error-exitcode 86 "$build/$t" ;;
            esac
        done
    done
    for n in 1 2; do
        sanitized memcheck "$n ranks, ipc" \
            env CUDA_VISIBLE_DEVICES="$first_gpu" "$MPIEXEC" -n $n \
            compute-sanitizer --tool memcheck --error-exitcode 86 \
            "$SPAR" run scenarios/gpu.yaml -o "$traces/t.h5" \
            --set job.sequence=257 --set run.verify=full --set run.kernel=cuda \
            --set run.warmups=0 --set run.repeats=1
    done
    sanitizer="$found errors in $finished cases, $unfinished not finished"
    [ "$found" -gt 0 ] || [ "$unfinished" -gt 0 ] ||
        sanitizer="clean, $finished cases"
}
