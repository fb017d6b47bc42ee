#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Attention of one GPU: spar's kernel backends against PyTorch's SDPA (cuDNN and
flash), bf16, 32 query heads on 8 KV heads of 128, forward and backward, full and
causal, launched plainly and replayed from a CUDA graph.

Medians of device times; work is queued ahead of every call and the L2 cache
overwritten.  Both sides take turns, the best of their rounds counts.  PyTorch
is called below autograd, with tensors in either order of tokens and heads, the
faster one counting.  Bar: `cudnn` at least 0.98 x the best of PyTorch.

usage: attention.py [--program PROGRAM] [--csv FILE] [--rounds 2]
                    [--kernels cudnn,cuda] [TOKENS ...]"""
import argparse
import collections
import csv
import io
import math
import os
import statistics
import subprocess
import sys
import time

import tables

HEADS, KV_HEADS, WIDTH, BAR, LONG = 32, 8, 128, 0.98, 32768
REST = 0.2                      # s before each case, on both sides: heat
KERNELS = ("cudnn", "cuda")
Case = collections.namedtuple("Case", "q k mask direction result launch")


def repeats(tokens):
    return 25 if tokens <= 4096 else 11 if tokens <= 16384 else 3


def flop(case):
    pairs = case.q * case.k
    if case.mask == "causal":
        pairs -= case.k * (case.k - 1) / 2
    return 4 * WIDTH * HEADS * pairs * (2.5 if case.direction == "backward"
                                        else 1)


def keep(times, case, name, ms):
    old = times.setdefault(case, {}).get(name, math.inf)
    times[case][name] = min(old, ms)


# ---- spar -------------------------------------------------------------------

def time_spar(times, program, kernel, what, tokens):
    r = subprocess.run([program, "-k", kernel, "-r", str(repeats(tokens)), what,
                        str(tokens)], capture_output=True, text=True,
                       timeout=300)
    if r.returncode:
        print(r.stderr, file=sys.stderr)
        return
    for row in csv.DictReader(io.StringIO(r.stdout)):
        case = Case(int(row["q"]), int(row["k"]), row["mask"], row["pass"],
                    row["result"], row["launch"])
        keep(times, case, kernel, float(row["ms"]))


# ---- PyTorch ----------------------------------------------------------------

def torch_calls(torch, backend, causal, x):
    """Forward and backward, without autograd."""
    ops = torch.ops.aten
    q, k, v, d_o = x
    if backend == "cudnn":
        def forward():
            return ops._scaled_dot_product_cudnn_attention(
                q, k, v, None, True, 0.0, causal, False)
        o, lse, cq, ck, nq, nk, seed, offset, _ = forward()

        def backward():
            return ops._scaled_dot_product_cudnn_attention_backward(
                d_o, q, k, v, o, lse, seed, offset, None, cq, ck, nq, nk, 0.0,
                causal)
    else:
        def forward():
            return ops._scaled_dot_product_flash_attention(
                q, k, v, 0.0, causal, False)
        o, lse, cq, ck, nq, nk, seed, offset, _ = forward()

        def backward():
            return ops._scaled_dot_product_flash_attention_backward(
                d_o, q, k, v, o, lse, cq, ck, nq, nk, 0.0, causal, seed, offset)
    return {"forward": forward, "backward": backward}


def median(torch, call, flush, n):
    ms = []
    torch.cuda.synchronize()
    time.sleep(REST)
    for i in range(-2, n):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        flush.zero_()
        start.record()
        call()
        end.record()
        end.synchronize()
        if i >= 0:
            ms.append(start.elapsed_time(end))
    return statistics.median(ms)


def replay(torch, call):
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def inputs(torch, tokens, tokens_first):
    def one(heads):
        shape = ((1, tokens, heads, WIDTH) if tokens_first
                 else (1, heads, tokens, WIDTH))
        x = (torch.rand(shape, device="cuda") * 2 - 1) * math.sqrt(3)
        x = x.to(torch.bfloat16)
        return x.transpose(1, 2) if tokens_first else x
    return one(HEADS), one(KV_HEADS), one(KV_HEADS), one(HEADS)


def time_torch(torch, times, backend, tokens, flush):
    # Long ones in spar's order alone: they take seconds each.
    for tokens_first in (True, False)[:1 if tokens > LONG else 2]:
        x = inputs(torch, tokens, tokens_first)
        for mask in ("full", "causal"):
            calls = torch_calls(torch, backend, mask == "causal", x)
            for direction, call in calls.items():
                for launch in ("plain", "graph"):
                    f = call if launch == "plain" else replay(torch, call)
                    case = Case(tokens, tokens, mask, direction, "bf16", launch)
                    keep(times, case, f"torch {backend}",
                         median(torch, f, flush, repeats(tokens)))


def time_peers(torch, times, tokens):
    flush = torch.empty(1 << 28, dtype=torch.uint8, device="cuda")
    for backend in ("cudnn", "flash"):
        try:
            time_torch(torch, times, backend, tokens, flush)
        except RuntimeError as e:
            print(f"PyTorch, {backend}, {tokens} tokens: {e}", file=sys.stderr)
        torch.cuda.empty_cache()


# ---- Tables -----------------------------------------------------------------

def best_peer(found):
    peers = [ms for name, ms in found.items() if name.startswith("torch")]
    return min(peers) if peers else None


def rows_of(times):
    for case, found in sorted(times.items()):
        peer = best_peer(found)
        ratio = peer / found["cudnn"] if peer and "cudnn" in found else None
        yield case, found, ratio


def print_tables(times):
    names = KERNELS + ("torch cudnn", "torch flash")
    columns = [("pass", "s"), ("mask", "s"), ("q", "d"), ("k", "d"),
               ("result", "s"), ("launch", "s"), ("cudnn ms", ".3f")]
    columns += [(name, ".0f") for name in names]
    columns += [("ratio", ".3f"), ("bar", "s")]
    rows = []
    for case, found, ratio in rows_of(times):
        rows.append((case.direction, case.mask, case.q, case.k, case.result,
                     case.launch, found.get("cudnn"),
                     *(flop(case) / found[n] * 1e-9 if n in found else None
                       for n in names),
                     ratio, None if ratio is None
                     else tables.verdict(ratio >= BAR)))
    tables.table(f"attention, bf16, {HEADS}/{KV_HEADS} heads of {WIDTH}: "
                 f"TFLOP/s; ratio to the best of PyTorch, bar {BAR}", columns,
                 rows)


def write(path, times, head):
    tables.write_csv(path, head, [
        {"tokens_q": c.q, "tokens_k": c.k, "mask": c.mask, "pass": c.direction,
         "result": c.result, "launch": c.launch, "program": name,
         "ms": f"{ms:.4f}", "tflops": f"{flop(c) / ms * 1e-9:.1f}"}
        for c, found in sorted(times.items()) for name, ms in found.items()])


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("tokens", nargs="*", type=int,
                   default=[4096, 16384, 65536])
    p.add_argument("--program", default=os.environ.get(
        "BENCH_CUDA_ATTENTION", "tests/bench_cuda_attention"))
    p.add_argument("--spar", default=os.environ.get("SPAR", "spar"))
    p.add_argument("--csv", help="file to write")
    p.add_argument("--rounds", type=int, default=2)
    p.add_argument("--kernels", default=",".join(KERNELS))
    a = p.parse_args()
    times, head = {}, tables.provenance(a.spar)
    try:
        import torch
        head["torch"] = f"{torch.__version__}, cuDNN " \
                        f"{torch.backends.cudnn.version()}"
    except ImportError:
        torch = None
        print("no PyTorch: spar alone", file=sys.stderr)
    for tokens in a.tokens:
        for r in range(a.rounds):
            # As often as PyTorch, which has two orders; before and after it.
            for kernel in a.kernels.split(","):
                time_spar(times, a.program, kernel, "square", tokens)
            if torch and torch.cuda.is_available():
                time_peers(torch, times, tokens)
            time_spar(times, a.program, "cudnn", "square", tokens)
        time_spar(times, a.program, "cudnn", "ring", tokens)
    print_tables(times)
    if a.csv:
        write(a.csv, times, head)
    ratios = [ratio for _, _, ratio in rows_of(times) if ratio is not None]
    sys.exit(0 if ratios and min(ratios) >= BAR else 1)


if __name__ == "__main__":
    main()
