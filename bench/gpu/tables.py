# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share: `spar run` as a list of results, CSV files that
say where they come from, tables beside bars."""
import csv
import datetime
import json
import os
import re
import subprocess
import sys
import tempfile


TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def scenario(name):
    return os.path.join(TOP, "scenarios", f"{name}.yaml")


def flow(value):
    """For --set; JSON is YAML."""
    return json.dumps(value, separators=(",", ":"))


def add_options(parser, kernel="cudnn"):
    parser.add_argument("--spar", default=os.environ.get("SPAR", "spar"))
    parser.add_argument("--mpiexec",
                        default=os.environ.get("MPIEXEC", "mpiexec"))
    parser.add_argument("--csv", help="file to write")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--kernel", default=kernel)


def spar_run(ranks, name, settings, spar="spar", mpiexec="mpiexec", trace=None,
             limit=300):
    """Results of `spar run` (a list, as --format json has it), [] if it failed;
    what it says goes to standard error.  The trace is kept where named."""
    if not trace:
        with tempfile.TemporaryDirectory() as folder:
            return spar_run(ranks, name, settings, spar, mpiexec,
                            os.path.join(folder, "trace.h5"), limit)
    command = [mpiexec, "-n", str(ranks), spar, "run", scenario(name),
               "--format", "json", "-o", trace]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    try:
        r = subprocess.run(command, capture_output=True, text=True,
                           timeout=limit)
    except subprocess.TimeoutExpired:
        print(f"no end in {limit} s: {' '.join(command)}", file=sys.stderr)
        return []
    if r.returncode:
        print(f"status {r.returncode}: {' '.join(command)}\n{r.stderr}",
              file=sys.stderr)
    try:
        return json.loads(r.stdout)
    except json.JSONDecodeError:
        return []


def variants(name):
    """{short name: entry in YAML} of a scenario's strategies."""
    with open(scenario(name)) as f:
        entries = re.findall(r"^  - (\{name: .*\})", f.read(), re.MULTILINE)
    return {e[7:-1].replace("layout: ", "").replace(",", ""): e
            for e in entries}


def provenance(spar="spar"):
    """Card, driver, versions, date: the head of every CSV file."""
    def said(*command):
        try:
            return subprocess.run(command, capture_output=True, text=True,
                                  timeout=60).stdout.strip()
        except (OSError, subprocess.TimeoutExpired):
            return ""
    cards = said("nvidia-smi", "--query-gpu=name,driver_version",
                 "--format=csv,noheader").splitlines()
    nvcc = said("nvcc", "--version").splitlines()
    return {
        "date": datetime.date.today().isoformat(),
        "cards": "; ".join(f"{cards.count(c)} x {c}" for c in
                           sorted(set(cards))) or "none",
        "spar": said(spar, "--version").replace("\n", ", "),
        "commit": said("git", "-C", os.path.dirname(__file__), "rev-parse",
                       "--short", "HEAD"),
        "nvcc": nvcc[-1] if nvcc else "",
    }


def write_csv(path, head, rows):
    """Comment lines `# key: value`, then a CSV table."""
    with open(path, "w", newline="") as f:
        for key, value in head.items():
            f.write(f"# {key}: {value}\n")
        if rows:
            out = csv.DictWriter(f, list(rows[0]), lineterminator="\n")
            out.writeheader()
            out.writerows(rows)


def read_csv(path):
    with open(path, newline="") as f:
        return list(csv.DictReader(x for x in f if not x.startswith("#")))


def table(title, columns, rows):
    """columns: [(heading, format)]; None is printed as '-'."""
    cells = [[c[0] for c in columns]]
    cells += [["-" if v is None else format(v, c[1])
               for v, c in zip(row, columns)] for row in rows]
    widths = [max(len(r[i]) for r in cells) for i in range(len(columns))]
    print(f"\n{title}")
    for r in cells:
        print("  ".join(x.ljust(w) if i == 0 else x.rjust(w)
                        for i, (x, w) in enumerate(zip(r, widths))).rstrip())


def verdict(met):
    return {True: "met", False: "MISSED", None: "-"}[met]
