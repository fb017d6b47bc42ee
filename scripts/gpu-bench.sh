# SPDX-License-Identifier: Apache-2.0
# Read by gpu-test: the benchmarks.  Tables go to $tables as NAME.txt, numbers
# as CSV.  A bar that is missed is counted apart from failures.
met=0 missed=0

# bench NAME SECONDS COMMAND...: status 0: bars met or none; 1: missed.
bench() {
    name=$1
    within "$2" || {
        count_skipped "benchmark $name: no time left"
        return
    }
    shift 2
    say "benchmark: $name"
    timeout -k 5 "$limit" "$@" > "$tables/$name.txt" 2> "$out/bench-$name.log" \
        < /dev/null
    rc=$?
    cat "$tables/$name.txt"
    case $rc in
    0) met=$((met + 1)) ;;
    1) missed=$((missed + 1)); printf '   bar missed, or part of it failed: %s\n' "$name" ;;
    124 | 137) count_failed "benchmark $name: no end in $limit s" ;;
    *) count_failed "benchmark $name: status $rc, see $out/bench-$name.log" ;;
    esac
    [ "$rc" = 0 ] || tail -n 3 "$out/bench-$name.log" | sed 's/^/             /'
}

# needs NAME FILE...: whether a benchmark's files are there and its programs
# can be built; else it is skipped.
needs() {
    name=$1
    shift
    for f in "$@"; do
        case $f in
        tests/*) gpu_build "$f" ;;
        python:*) python3 -c "import ${f#python:}" 2> /dev/null ;;
        *) [ -e "$f" ] ;;
        esac || {
            count_skipped "benchmark $name: no $f"
            return 1
        }
    done
}

# flash-linear-attention from the wheels that gpu-deps brought.
unpack_peers() {
    [ -z "$deps" ] || [ -d "$build/peers" ] ||
        for w in "$deps"/wheels/*.whl; do
            python3 -m zipfile -e "$w" "$build/peers"
        done
    export PYTHONPATH="$build/peers${PYTHONPATH:+:$PYTHONPATH}"
}

on_one_gpu() {
    export CUDA_VISIBLE_DEVICES="$first_gpu"
    needs attention bench/gpu/attention.py tests/bench_cuda_attention \
        python:torch &&
        bench attention 300 python3 bench/gpu/attention.py \
            --csv "$tables/attention.csv" \
            --program "$build/tests/bench_cuda_attention"
    needs decode bench/gpu/decode.py tests/bench_cuda_rows python:torch &&
        bench decode 200 python3 bench/gpu/decode.py "$build/tests/bench_cuda_rows"
    needs rows tests/bench_cuda_rows &&
        bench rows 60 "$build/tests/bench_cuda_rows"
    needs linear bench/gpu/linear.py tests/bench_cuda_linear python:torch &&
        bench linear 300 python3 bench/gpu/linear.py --csv "$tables/linear.csv" \
            "$build/tests/bench_cuda_linear"
    needs loopback tests/bench_loopback &&
        bench loopback 120 "$build/tests/bench_loopback" -n
    bench frame 60 bench/gpu/frame --csv "$tables/frame.csv"
}

on_shared_gpu() {
    export CUDA_VISIBLE_DEVICES="$first_gpu"
    mps_start || {
        count_skipped "benchmarks of ranks that share a GPU: MPS does not start"
        return
    }
    bench shared 240 bench/gpu/shared --csv "$tables/shared.csv"
    bench tree-8-on-one 120 bench/gpu/tree 8 --csv "$tables/tree-8-on-one.csv"
    mps_stop
}

on_two_gpus() {
    [ "$gpus" -ge 2 ] || {
        count_skipped "benchmarks on two GPUs: $gpus here"
        return
    }
    export CUDA_VISIBLE_DEVICES="$(echo "$visible" | cut -d, -f1,2)"
    bench tree-2-on-two 120 bench/gpu/tree 2 --csv "$tables/tree-2-on-two.csv"
    bench pair 1200 bench/gpu/pair --out "$out" --csv "$tables/pair.csv"
}

benchmarks() {
    mkdir -p "$tables" || return
    unpack_peers
    asked=${CUDA_VISIBLE_DEVICES-all}
    on_one_gpu
    on_shared_gpu
    on_two_gpus
    if [ "$asked" = all ]; then
        unset CUDA_VISIBLE_DEVICES
    else
        CUDA_VISIBLE_DEVICES=$asked
    fi
}
