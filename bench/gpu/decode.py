#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Decode attention of spar's cuda backend against PyTorch's SDPA.

One sequence, 32 query heads on 8 KV heads of 128, bf16; 1 to 16 queries to
128 K and 1 M keys, on one GPU, in one call.  PyTorch runs every backend that
takes the shape, in three forms: `gqa` (enable_gqa), `fold` (the query heads of
a KV head as further queries, exact without a mask) and `expand` (KV repeated
for every query head beforehand).  Its queries see all keys, spar's are the last
tokens of a causal mask.  Times are medians of the device.

    decode.py BENCH_CUDA_ROWS [TOKENS...]

BENCH_CUDA_ROWS is the program of that name, built under tests/."""

import re
import statistics
import subprocess
import sys
import warnings

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention as sdpa

HEADS, KV_HEADS, WIDTH = 32, 8, 128
GROUP = HEADS // KV_HEADS
BAR = 1.0
BACKENDS = {"cudnn": SDPBackend.CUDNN_ATTENTION,
            "flash": SDPBackend.FLASH_ATTENTION,
            "efficient": SDPBackend.EFFICIENT_ATTENTION}


def median(call):
    """Seconds of the device."""
    once = seconds(call, 2)[1]
    repeats = 15 if once < 5e-3 else 3
    if once < 5e-3:
        seconds(call, 5)
    return statistics.median(seconds(call, repeats))


def seconds(call, repeats):
    events = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    events[0].record()
    for e in events[1:]:
        call()
        e.record()
    torch.cuda.synchronize()
    return [a.elapsed_time(b) * 1e-3 for a, b in zip(events, events[1:])]


def forms(q, k, v, queries):
    """Name and arguments of what gives the same numbers."""
    fold = q.view(1, KV_HEADS, GROUP * queries, WIDTH)
    yield "gqa", (q, k, v), {"enable_gqa": True}
    yield "fold", (fold, k, v), {}
    if k.shape[2] <= 1 << 20:
        yield "expand", (q, k.repeat_interleave(GROUP, 1),
                         v.repeat_interleave(GROUP, 1)), {}


def pytorch(tokens, queries, k, v):
    """Seconds by "backend form"."""
    q = torch.randn(1, HEADS, queries, WIDTH, dtype=k.dtype, device="cuda")
    times = {}
    for form, args, more in forms(q, k, v, queries):
        for name, backend in BACKENDS.items():
            try:
                with sdpa_kernel(backend):
                    times[f"{name} {form}"] = median(
                        lambda: sdpa(*args, **more))
            except RuntimeError:
                continue            # it does not take this form
    return times


def spar(program, tokens):
    """Seconds by number of queries."""
    out = subprocess.run([program, "decode", str(tokens)], check=True,
                         capture_output=True, text=True).stdout
    return {int(q): float(us) * 1e-6
            for q, us in re.findall(r"(\d+) queries +([\d.]+) us", out)}


def main():
    program, sizes = sys.argv[1], [int(x) for x in sys.argv[2:]]
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, "
          f"cuDNN {torch.backends.cudnn.version()}")
    print(f"{'tokens':>8} {'queries':>7} {'spar us':>9} {'TB/s':>6}   "
          f"{'best of PyTorch':<18} {'us':>9} {'TB/s':>6}  ratio  bar {BAR}")
    torch.set_grad_enabled(False)
    warnings.simplefilter("ignore")     # of each form that is not taken
    for tokens in sizes or [1 << 17, 1 << 20]:
        ours = spar(program, tokens)
        k, v = (torch.randn(1, KV_HEADS, tokens, WIDTH, device="cuda",
                            dtype=torch.bfloat16) for _ in range(2))
        size = 2 * k.numel() * k.element_size()
        for queries, mine in sorted(ours.items()):
            times = pytorch(tokens, queries, k, v)
            name, best = min(times.items(), key=lambda x: x[1])
            print(f"{tokens:8} {queries:7} {mine * 1e6:9.1f} "
                  f"{size / mine * 1e-12:6.3f}   {name:<18} {best * 1e6:9.1f} "
                  f"{size / best * 1e-12:6.3f} {best / mine:6.3f}  "
                  f"{'met' if best / mine >= BAR else 'missed'}")
            print("         " + ", ".join(f"{n} {t * 1e6:.1f}"
                                          for n, t in sorted(times.items())),
                  flush=True)


main()
