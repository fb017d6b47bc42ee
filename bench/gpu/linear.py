#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Causal linear attention, bf16, 32 heads of 128: spar's cuda backend against
flash-linear-attention's Triton kernels on the same GPU.

    linear.py [--csv FILE] [--only spar|fla] BENCH_CUDA_LINEAR [TOKENS ...]

Of flash-linear-attention the fastest of its forms counts (simple_gla in chunks of
64 and 128, simple_gla fused), each called and replayed as a CUDA graph (backward:
both passes less the forward one), whichever is faster; of spar calls as they are.
Medians of times between events, after warm-up.  Needs PyTorch, Triton, einops and fla-core."""

import argparse
import csv
import statistics
import subprocess
import sys

HEADS, WIDTH, REPEATS = 32, 128, 15
BARS = {"forward": 1.8, "backward": 1.5}


def median_ms(torch, fn):
    """Median time of fn() between two events."""
    for _ in range(3):
        fn()
    times = []
    for _ in range(REPEATS):
        start = torch.cuda.Event(enable_timing=True)
        end = torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        start.record()
        fn()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def replayed_ms(torch, fn):
    """The same as a graph, which leaves out what the host costs; None where it
    cannot be captured."""
    try:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            fn()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            fn()
        return median_ms(torch, graph.replay)
    except RuntimeError as e:
        print(f"# no graph: {str(e).splitlines()[0]}", file=sys.stderr)
        return None


def fla_forms():
    from fla.ops.simple_gla import chunk_simple_gla, fused_chunk_simple_gla

    def chunks(size):
        return lambda q, k, v, g: chunk_simple_gla(
            q, k, v, g_gamma=g, scale=1.0, chunk_size=size)[0]

    def fused(q, k, v, g):
        return fused_chunk_simple_gla(q, k, v, g_gamma=g, scale=1.0)[0]

    return {"chunk 64": chunks(64), "chunk 128": chunks(128), "fused": fused}


def time_form(torch, form, q, k, v, do, g):
    """{op: (ms called, ms replayed or None)}."""
    def forward():
        with torch.no_grad():
            form(q, k, v, g)

    def both():
        torch.autograd.grad(form(q, k, v, g), (q, k, v), do)

    o = form(q, k, v, g)
    called = {"forward": median_ms(torch, forward),
              "backward": median_ms(torch, lambda: torch.autograd.grad(
                  o, (q, k, v), do, retain_graph=True))}
    del o
    one, two = replayed_ms(torch, forward), replayed_ms(torch, both)
    return {"forward": (called["forward"], one),
            "backward": (called["backward"], two and one and two - one)}


def time_fla(tokens, best):
    """Adds {(tokens, decay, op): (ms, form)}."""
    import torch

    torch.manual_seed(1)
    q, k, v, do = (torch.randn(1, tokens, HEADS, WIDTH, device="cuda",
                               dtype=torch.bfloat16) for _ in range(4))
    for x in (q, k, v):
        x.requires_grad_()
    slopes = torch.exp2(-8 * torch.arange(1, HEADS + 1, device="cuda") / HEADS)
    for name, form in fla_forms().items():
        for decay in (1, 0):
            try:
                times = time_form(torch, form, q, k, v, do,
                                  -slopes if decay else None)
            except Exception as e:      # a form that this version lacks
                print(f"# fla {name}: {type(e).__name__}: {str(e)[:200]}",
                      file=sys.stderr)
                continue
            for op, (called, replayed) in times.items():
                ms, key = min(called, replayed or called), (tokens, decay, op)
                print(f"# fla {name}, {tokens} tokens, decay {decay}, {op}: "
                      f"{called:.3f} ms called, {replayed or 0:.3f} replayed",
                      file=sys.stderr)
                if key not in best or ms < best[key][0]:
                    best[key] = ms, name


def time_spar(program, tokens):
    """{(tokens, decay, op): ms}, all operations."""
    out = subprocess.run([program, *map(str, tokens)], check=True, text=True,
                         stdout=subprocess.PIPE).stdout
    rows = list(csv.reader(out.splitlines()))
    return {(int(r[0]), int(r[3]), r[4]): float(r[5]) for r in rows
            if len(r) == 6}


def report(spar, fla, out):
    rows = [["tokens", "decay", "op", "spar_ms", "fla_ms", "fla_form", "ratio",
             "bar"]]
    for (tokens, decay, op), ms in spar.items():
        other, form = fla.get((tokens, decay, op), (None, ""))
        rows.append([tokens, decay, op, f"{ms:.3f}",
                     f"{other:.3f}" if other else "", form,
                     f"{other / ms:.2f}" if other else "", BARS.get(op, "")])
    for r in rows:
        print("{:>7} {:>5} {:<11} {:>8} {:>8} {:<10} {:>6} {:>4}".format(
            *map(str, r)))
    if out:
        with open(out, "w", newline="") as f:
            csv.writer(f).writerows(rows)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--csv")
    p.add_argument("--only", choices=("spar", "fla"))
    p.add_argument("program")
    p.add_argument("tokens", nargs="*", type=int)
    a = p.parse_args()
    tokens = a.tokens or [8192, 16384, 65536, 262144]
    fla = {}
    spar = {} if a.only == "fla" else time_spar(a.program, tokens)
    for n in tokens if a.only != "spar" else []:
        time_fla(n, fla)
    report(spar, fla, a.csv)


if __name__ == "__main__":
    main()
