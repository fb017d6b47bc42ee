#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draw the spans of a spar trace: one row per rank and lane.

usage: plot_trace.py TRACE.h5 [-o PICTURE] [--entry N] [--repeat N]

Needs h5py, pandas and matplotlib. Without -o a window opens."""
import argparse

import h5py
import matplotlib
import pandas as pd


def read(path, entry, repeat):
    """Spans of one repeat (None: the last), names looked up."""
    with h5py.File(path) as f:
        d = pd.DataFrame({k: f["events"][k][:] for k in f["events"]})
        kinds = f["ops/kind"].asstr()[:]
        lanes = f["lanes"].asstr()[:]
    d = d[d.entry == entry]
    if d.empty:
        raise SystemExit(f"{path}: entry {entry} has no spans")
    d = d[d.repeat == (d.repeat.max() if repeat is None else repeat)]
    if d.empty:
        raise SystemExit(f"{path}: entry {entry} has no repeat {repeat}")
    name = lambda i: lanes[i] if i < len(lanes) else f"lane {i}"
    return d.assign(kind=[kinds[i] for i in d.kind],
                    lane_name=[name(i) for i in d.lane])


def draw(d, ax):
    rows = sorted(set(zip(d["rank"], d.lane, d.lane_name)))
    place = {row[:2]: i for i, row in enumerate(rows)}
    for i, (kind, g) in enumerate(d.groupby("kind")):
        y = [place[key] for key in zip(g["rank"], g.lane)]
        ax.barh(y, g.dur / 1e6, left=g.t_start / 1e6, height=0.8,
                color=f"C{i % 10}", edgecolor="white", linewidth=0.3,
                label=kind)
    ax.set_yticks(range(len(rows)), [f"rank {r} {n}" for r, _, n in rows])
    ax.invert_yaxis()
    ax.set_xlim(left=min(0, d.t_start.min() / 1e6))
    ax.set_xlabel("time since the start of the repeat, ms")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("trace")
    p.add_argument("-o", dest="picture", help="file to write (.png, .svg)")
    p.add_argument("--entry", type=int, default=0)
    p.add_argument("--repeat", type=int, help="default: the last")
    a = p.parse_args()
    if a.picture:
        matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    d = read(a.trace, a.entry, a.repeat)
    rows = d.groupby(["rank", "lane"]).ngroups
    fig, ax = plt.subplots(figsize=(12, 1.5 + 0.25 * rows),
                           layout="constrained")
    draw(d, ax)
    if a.picture:
        fig.savefig(a.picture, dpi=150)
    else:
        plt.show()


if __name__ == "__main__":
    main()
