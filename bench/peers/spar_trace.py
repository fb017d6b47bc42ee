# SPDX-License-Identifier: Apache-2.0
"""Times of a peer as a trace of spar's layout, which `spar trace` and
scripts/plot_trace.py read: an op per pass and rank, a span per repeat."""
import datetime
import json
import socket
import uuid

import h5py
import numpy as np

SCHEMA = 1
COLUMNS = {  # as in src/trace/file.c: type, units
    "t_start": ("<i8", "ns"), "dur": ("<i8", "ns"), "t_ready": ("<i8", "ns"),
    "entry": ("<i4", "1"), "repeat": ("<i4", "1"), "lane": ("u1", "1"),
    "rank": ("<i4", "1"), "op": ("<u4", "1"), "name": ("<u4", "1"),
    "kind": ("<u4", "1"), "step": ("<i4", "1"), "peer": ("<i4", "1"),
    "bytes": ("<i8", "B"), "flops": ("<f8", "1"),
}
KINDS = {"forward": "attend", "backward": "attend_backward"}


def _column(at, name, data, units):
    at.create_dataset(name, data=data).attrs["units"] = units


def _strings(at, name, values):
    at.create_dataset(name, data=list(values), dtype=h5py.string_dtype())
    at[name].attrs["units"] = "1"


def _spans(entry, number, names):
    """Rows of /events: the passes of a repeat follow each other on a rank."""
    seconds = entry["seconds"]  # {pass: [ranks, repeats]}
    ranks, repeats = next(iter(seconds.values())).shape
    for repeat in range(repeats):
        for rank in range(ranks):
            start = 0
            for op, name in enumerate(seconds):
                ns = round(seconds[name][rank, repeat] * 1e9)
                yield (start, ns, start, number, repeat, 0, rank, op,
                       names.index(name), names.index(name), -1, -1, 0,
                       entry["flops"][name] / ranks)
                start += ns


def _entry(at, entry):
    total = sum(entry["seconds"].values())  # [ranks, repeats]
    worst = (total.max(axis=0) * 1e9).astype("<i8")
    at.attrs.update({"strategy": entry["strategy"], "layout": entry["layout"],
                     "schedule_hash": "0" * 16,
                     "schedule_hash_u64": np.uint64(0),
                     "ranks": np.int32(len(total)),
                     "spans_ns": np.int64(worst[-1])})
    _column(at, "repeat_ns", worst, "ns")
    _column(at, "peak_bytes", np.array(entry["peak_bytes"], "<i8"), "B")
    _column(at, "n_ops", np.full(len(total), len(entry["seconds"]), "<i8"), "1")


def write(path, entries, scenario, history, versions):
    """entries: [{strategy, layout, seconds {pass: [ranks, repeats]},
    flops {pass: of all ranks}, peak_bytes [ranks]}]"""
    names = list(KINDS)
    ranks = max(len(e["peak_bytes"]) for e in entries)
    with h5py.File(path, "w", libver=("earliest", "v108")) as f:
        f.attrs.update({
            "Conventions": "spar-trace", "title": "peer: measured spans",
            "history": history, "schema_version": np.int32(SCHEMA),
            "created": datetime.datetime.now().astimezone().isoformat(
                timespec="seconds"),
            "run_uuid": str(uuid.uuid4()), "versions": versions,
            "scenario": json.dumps(scenario), "machine": "",
            "time_base": "measured"})
        f.attrs.create("hosts", [socket.gethostname()] * ranks,
                       dtype=h5py.string_dtype())
        _strings(f, "ops/name", names)
        _strings(f, "ops/kind", [KINDS[n] for n in names])
        _strings(f, "lanes", ["compute"])
        for name, units in (("offset", "ns"), ("drift", "1e-6"),
                            ("residual", "ns")):
            _column(f, f"clock/{name}", np.zeros(ranks), units)
        f["clock"].attrs["method"] = "none: each rank's own events"
        for i, entry in enumerate(entries):
            _entry(f.create_group(f"entries/{i}"), entry)
        rows = [r for i, e in enumerate(entries) for r in _spans(e, i, names)]
        for c, (name, (kind, units)) in enumerate(COLUMNS.items()):
            _column(f, f"events/{name}", np.array([r[c] for r in rows], kind),
                    units)
        f.attrs["complete"] = np.uint8(1)
