# SPDX-License-Identifier: Apache-2.0
# Read by gpu-test: the tests.

# A small job whose every row is verified, of a length that nothing divides.
small='--set job.transformer={"heads":8,"kv_heads":2,"head_dim":128}
    --set job.sequence=1003 --set run.verify=full --set run.warmups=0
    --set run.repeats=1'
families="gpu-linear gpu-hybrid gpu-decode gpu-star"

has_transport() {
    "$SPAR" list | sed -n '/^transports/,/^network/p' | grep -q "^  $1 "
}

has_kernel() {
    "$SPAR" list | sed -n '/^kernels/,/^transports/p' | grep "^  $1 " |
        grep -qv 'not here'
}

# strategies DEVICES RANKS SCENARIO TRANSPORT KERNEL [OPTION...]: points.
strategies() {
    devices=$1 ranks=$2 scenario=$3 transport=$4 kernel=$5
    shift 5
    label="$ranks ranks, $transport, $kernel, $scenario${1:+ $1}"
    label="$label${SPAR_HOST_RANKS:+, hosts of $SPAR_HOST_RANKS}"
    [ "$transport" = auto ] || has_transport "$transport" || {
        count_skipped "$label: no transport $transport in this build"
        return
    }
    has_kernel "$kernel" || {
        count_skipped "$label: no kernel $kernel here"
        return
    }
    tap "$label" 120 env CUDA_VISIBLE_DEVICES="$devices" \
        scripts/gpu-points "$ranks" "scenarios/$scenario.yaml" "$traces/t.h5" \
        "$@" $small --set run.transport="$transport" --set run.kernel="$kernel"
}

one_process() {
    say "tests of one process, and of the command line"
    for t in $(gpu_tests); do
        case $t in
        *.t) tap "$t" 300 env CMOCKA_MESSAGE_OUTPUT=TAP \
            CUDA_VISIBLE_DEVICES="$first_gpu" "$build/$t" ;;
        *.sh) tap "$t" 300 env srcdir="$top" sh "$t" ;;
        *.mpi) tap "$t" 300 env NPROCS="1 2 3 4" scripts/mpi-tap "$build/$t" ;;
        esac
    done
}

ranks_on_one() {
    if mps_start; then
        say "ranks that share a GPU, under MPS"
    else
        say "ranks that share a GPU, without MPS: it does not start here"
    fi
    for n in 1 2 3 4 5 6 7 8; do
        for t in ipc staged; do
            strategies "$first_gpu" $n gpu $t cuda
        done
    done
    for n in 2 4; do
        strategies "$first_gpu" $n gpu ipc cudnn
        for s in $families; do
            for t in ipc staged; do
                strategies "$first_gpu" $n $s $t cuda
            done
        done
    done
    for SPAR_HOST_RANKS in 2 3; do
        export SPAR_HOST_RANKS
        say "the same, as if on hosts of $SPAR_HOST_RANKS ranks"
        for n in 4 5 7 8; do
            strategies "$first_gpu" $n gpu ipc+staged cuda
        done
        for s in $families; do
            strategies "$first_gpu" 4 $s ipc+staged cuda
        done
        strategies "$first_gpu" 4 gpu auto cudnn
    done
    unset SPAR_HOST_RANKS
    mps_stop
}

ranks_on_two() {
    [ "$gpus" -ge 2 ] || {
        count_skipped "2 and 4 ranks on two GPUs: $gpus here"
        return
    }
    pair=$(echo "$visible" | cut -d, -f1,2)
    say "a rank each on two GPUs"
    for t in ipc staged nccl; do
        for s in gpu $families; do
            strategies "$pair" 2 $s $t cuda
        done
        strategies "$pair" 2 gpu $t cudnn
    done
    say "a rank each, which sees one GPU only"
    for t in auto staged nccl; do
        strategies "$pair" 2 gpu $t cuda --own
    done
    mps_start || say "MPS does not start here"
    say "two ranks each on two GPUs"
    for t in ipc staged; do
        for s in gpu $families; do
            strategies "$pair" 4 $s $t cuda
        done
    done
    say "four ranks, two of which see one GPU only"
    for s in gpu $families; do
        strategies "$pair" 4 $s auto cuda --some
    done
    strategies "$pair" 4 gpu auto cudnn --some
    SPAR_HOST_RANKS=2
    export SPAR_HOST_RANKS
    say "the same, as if on hosts of 2 ranks"
    for s in gpu $families; do
        strategies "$pair" 4 $s auto cuda
    done
    strategies "$pair" 4 gpu auto cudnn
    unset SPAR_HOST_RANKS
    mps_stop
}
