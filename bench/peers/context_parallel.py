#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""PyTorch's experimental context_parallel on N GPUs of one host, one process
each: causal attention in bf16, forward and backward, both rotate methods and
both backends of scaled_dot_product_attention, and one GPU alone beside them.

usage: context_parallel.py [-n RANKS] [--tokens 16384,...] [--heads 32/8,...]
           [--backends flash,cudnn] [--csv FILE] [--traces FOLDER]
           [--repeats 10]

A repeat begins when all ranks have met on the device, and is timed by events
on each; the time is the largest of the ranks', the result the median.  The
inputs are random and lie as context_parallel lays them out; what that takes is
timed apart (`layout_ms`)."""
import argparse
import contextlib
import csv
import itertools
import os
import sys
import tempfile

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor.experimental import context_parallel
from torch.distributed.tensor.experimental import _attention
from torch.nn.attention import SDPBackend, sdpa_kernel

D = 128
WARMUPS = 3
BACKENDS = {"flash": SDPBackend.FLASH_ATTENTION,
            "cudnn": SDPBackend.CUDNN_ATTENTION}
ROTATE = ("allgather", "alltoall")
PASSES = ("forward", "backward")
FIELDS = ("peer", "ranks", "strategy", "backend", "tokens", "heads",
          "kv_heads", "pass", "ms", "min_ms", "max_ms", "repeats", "layout_ms",
          "peak_bytes")


def flops(tokens, heads):
    """Of causal attention, the visible pairs only, by pass."""
    pairs = tokens * (tokens + 1) / 2 * heads
    return {"forward": 4 * D * pairs, "backward": 10 * D * pairs}


def random_tensor(heads, tokens, seed):
    """[1, heads, tokens, D], the same on every rank."""
    g = torch.Generator("cuda").manual_seed(seed)
    return torch.randn(1, heads, tokens, D, device="cuda",
                       dtype=torch.bfloat16, generator=g)


def inputs(tokens, heads, kv_heads):
    """q, k, v and the gradient of the output, of all tokens."""
    return [random_tensor(h, tokens, seed)
            for seed, h in enumerate((heads, kv_heads, kv_heads, heads))]


def attention(q, k, v):
    return F.scaled_dot_product_attention(
        q, k, v, is_causal=True, enable_gqa=q.shape[1] != k.shape[1])


def meet(token):
    """Every rank's device waits here for the others."""
    if token is not None:
        dist.all_reduce(token)


def timed(q, k, v, d_o, repeats, token):
    """Seconds of each repeat, by pass [repeats], and the last results."""
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(4)]
              for _ in range(repeats)]
    leaves = [x.detach().requires_grad_() for x in (q, k, v)]
    for i in range(-WARMUPS, repeats):
        marks = events[max(i, 0)]
        meet(token)
        marks[0].record()
        o = attention(*leaves)
        marks[1].record()
        meet(token)
        marks[2].record()
        grads = torch.autograd.grad(o, leaves, d_o)
        marks[3].record()
    torch.cuda.synchronize()
    seconds = {p: np.array([m[2 * i].elapsed_time(m[2 * i + 1]) * 1e-3
                            for m in events]) for i, p in enumerate(PASSES)}
    return seconds, (o.detach(), *grads)


@contextlib.contextmanager
def laid_out(mesh, tensors):
    """Cuts tensors in place; yields the milliseconds that took."""
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
    marks[0].record()
    with context_parallel(mesh, buffers=tensors, buffer_seq_dims=[2] * 4,
                          no_restore_buffers=set(tensors)):
        marks[1].record()
        torch.cuda.synchronize()
        yield marks[0].elapsed_time(marks[1])


def all_ranks(seconds):
    """{pass: [ranks, repeats]} on every rank."""
    out = {}
    for p, s in seconds.items():
        mine = torch.tensor(s, device="cuda")
        parts = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, mine)
        out[p] = torch.stack(parts).cpu().numpy()
    return out


def peak():
    mine = torch.tensor([torch.cuda.max_memory_allocated()], device="cuda")
    parts = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, mine)
    return [int(x) for x in parts]


def entry(strategy, layout, seconds, shape, layout_ms, peak_bytes):
    return {"strategy": strategy, "layout": layout, "seconds": seconds,
            "flops": flops(*shape[:2]), "layout_ms": layout_ms,
            "peak_bytes": peak_bytes}


def parallel(mesh, shape, rotate, backend, repeats, token):
    torch.cuda.reset_peak_memory_stats()
    _attention.set_rotate_method(rotate)
    tensors = inputs(*shape)
    with sdpa_kernel(BACKENDS[backend]), laid_out(mesh, tensors) as ms:
        seconds, _ = timed(*tensors, repeats, token)
    return entry(f"cp-{rotate}-{backend}", "zigzag", all_ranks(seconds), shape,
                 ms, peak())


def alone(shape, backend, repeats):
    """One GPU, the whole of it; every rank does it, rank 0's time counts."""
    torch.cuda.reset_peak_memory_stats()
    with sdpa_kernel(BACKENDS[backend]):
        seconds, _ = timed(*inputs(*shape), repeats, None)
    return entry(f"alone-{backend}", "contiguous",
                 {p: s[None] for p, s in seconds.items()}, shape, 0.0,
                 [torch.cuda.max_memory_allocated()])


def check(mesh, rotate, backend, token):
    """Worst error of o, dq, dk, dv against one GPU, relative to its largest
    element: that the ranks compute attention at all."""
    shape = (2048, 4, 2)
    _attention.set_rotate_method(rotate)
    with sdpa_kernel(BACKENDS[backend]):
        whole = list(timed(*inputs(*shape), 1, None)[1])
        tensors = inputs(*shape)
        with laid_out(mesh, tensors):
            parts = timed(*tensors, 1, token)[1]
    worst = 0.0
    with context_parallel(mesh, buffers=whole, buffer_seq_dims=[2] * 4):
        for x, y in zip(whole, parts):
            worst = max(worst, ((x - y).abs().max() / x.abs().max()).item())
    return worst


def csv_rows(e, shape):
    strategy, _, backend = e["strategy"].rpartition("-")
    for p, s in e["seconds"].items():
        worst = s.max(axis=0) * 1e3
        yield dict(zip(FIELDS, (
            f"torch {torch.__version__}", len(s), strategy, backend, *shape, p,
            f"{np.median(worst):.4f}", f"{worst.min():.4f}",
            f"{worst.max():.4f}", len(worst), f"{e['layout_ms']:.3f}",
            max(e["peak_bytes"]))))


def attempt(what, call):
    """What a peer cannot do is a line, not the end."""
    try:
        return call()
    except Exception as error:  # of PyTorch, by its own kernels' limits
        if dist.get_rank() == 0:
            print(f"context_parallel: {what}: {type(error).__name__}: "
                  f"{str(error).splitlines()[0]}", file=sys.stderr, flush=True)
        return None


def measure(mesh, shape, a, token):
    found = [attempt(f"alone {b} {shape}", lambda: alone(shape, b, a.repeats))
             for b in a.backends]
    for rotate, b in itertools.product(ROTATE, a.backends):
        found.append(attempt(
            f"{rotate} {b} {shape}",
            lambda: parallel(mesh, shape, rotate, b, a.repeats, token)))
        torch.cuda.empty_cache()
    return [e for e in found if e]


def save_trace(folder, shape, found):
    import spar_trace
    tokens, heads, kv_heads = shape
    scenario = {"job": {"transformer": {"heads": heads, "kv_heads": kv_heads,
                                        "head_dim": D},
                        "sequence": tokens, "mask": "causal", "dtype": "bf16",
                        "pass": "forward_backward"}}
    spar_trace.write(
        os.path.join(folder, f"pytorch-{tokens}-{heads}-{kv_heads}.h5"), found,
        scenario, " ".join(sys.argv),
        f"torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}, "
        f"NCCL {'.'.join(map(str, torch.cuda.nccl.version()))}")


def rank_main(rank, a, meeting):
    torch.cuda.set_device(rank)
    dist.init_process_group("nccl", init_method=f"file://{meeting}", rank=rank,
                            world_size=a.ranks, device_id=torch.device(
                                "cuda", rank))
    mesh = init_device_mesh("cuda", (a.ranks,))
    token = torch.zeros(1, device="cuda")
    if rank == 0:
        file = open(a.csv, "w", newline="") if a.csv else sys.stdout
        out = csv.DictWriter(file, FIELDS, lineterminator="\n")
        out.writeheader()
    for rotate, b in itertools.product(ROTATE, a.backends):
        worst = attempt(f"check {rotate} {b}",
                        lambda: check(mesh, rotate, b, token))
        if worst is not None and not worst < 0.05:
            raise SystemExit(f"{rotate} {b}: wrong by {worst:.3g}")
    for heads, tokens in itertools.product(a.heads, a.tokens):
        shape = (tokens, *heads)
        found = measure(mesh, shape, a, token)
        if rank == 0:
            out.writerows(r for e in found for r in csv_rows(e, shape))
            file.flush()
            if a.traces:
                save_trace(a.traces, shape, found)
    dist.destroy_process_group()


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("-n", dest="ranks", type=int, default=2)
    p.add_argument("--tokens", default="16384,65536,131072",
                   type=lambda s: [int(x) for x in s.split(",")])
    p.add_argument("--heads", default="32/32,32/8", type=lambda s: [
        tuple(int(y) for y in x.split("/")) for x in s.split(",")])
    p.add_argument("--backends", default=",".join(BACKENDS),
                   type=lambda s: s.split(","))
    p.add_argument("--csv", help="file to write (standard output)")
    p.add_argument("--traces", help="folder for HDF5 files in spar's layout")
    p.add_argument("--repeats", type=int, default=10)
    a = p.parse_args()
    if torch.cuda.device_count() < a.ranks:
        raise SystemExit(f"{a.ranks} GPUs needed, "
                         f"{torch.cuda.device_count()} here")
    os.environ.setdefault("NCCL_NVLS_ENABLE", "0")
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(rank_main, (a, os.path.join(folder, "meeting")), a.ranks)


if __name__ == "__main__":
    main()
