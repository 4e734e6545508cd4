"""The command line."""

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from . import cases, picture, places, table


def arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(
        prog="benches/side-by-side",
        description="Measures usher beside nginx, HAProxy and Envoy. Cases: "
        + "; ".join(f"{name}: {case.__doc__.strip()}" for name, case in cases.CASES.items()),
    )
    parser.add_argument("case", nargs="*", default=["main"], metavar="CASE",
                        help="one or several of " + ", ".join(cases.CASES) + ", or all; main if none is named")
    parser.add_argument("--runs", type=int, default=5, help="interleaved runs (default 5)")
    parser.add_argument("--seconds", type=float, default=5, help="length of each measurement (default 5)")
    parser.add_argument("--binary", type=Path, help="an usher that is built already, instead of `--profile dist`")
    parser.add_argument("--floor", type=Path, help="the same for the floor, benches/floor.rs")
    parser.add_argument("--pacer", type=Path, help="the same for the paced load, benches/pacer.rs")
    parser.add_argument("--only", default="", metavar="TEXT", help="only contenders whose name holds this, and nginx")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures of all runs there")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw CPU per request of `main` as SVG")
    parser.add_argument("--from-json", type=Path, metavar="FILE", help="measure nothing; show what was written before")
    asked = parser.parse_args()
    asked.case = list(cases.CASES) if "all" in asked.case else asked.case
    for case in asked.case:
        if case not in cases.CASES:
            parser.error(f"no case `{case}`; there are {', '.join(cases.CASES)}, all")
    if asked.picture and not asked.from_json and "main" not in asked.case:
        parser.error("--picture draws the case main")
    return asked


def binaries(asked: argparse.Namespace) -> dict:
    """What the cases need, built unless it is given."""
    wanted = {"usher": ("bin", asked.binary)}
    for case in asked.case:
        for name in cases.NEEDS.get(case, []):
            wanted[name] = ("bench", getattr(asked, name))
    return {name: (given.resolve() if given else places.built(kind, name))
            for name, (kind, given) in wanted.items()}


def machine() -> dict:
    """What it was measured on."""
    def first_line(*command: str) -> str:
        answer = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return answer.stdout.partition("\n")[0]

    model = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
             if line.startswith("model name")]
    return {
        "processor": model[0] if model else platform.machine(),
        "processors": os.cpu_count(),
        "kernel": platform.release(),
        "load before": os.getloadavg()[0],
        "nginx": first_line(places.need("nginx", "nginx"), "-v"),
        "haproxy": first_line(places.need("haproxy", "haproxy"), "-v"),
    }


def progress(text: str) -> None:
    """One line for a person who waits."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr)


def measured(asked: argparse.Namespace) -> dict:
    """The figures of all cases."""
    if (os.cpu_count() or 1) < 2:
        sys.exit("two processors are needed: one for the contender, one for load and upstream")
    if os.getloadavg()[0] > 0.5:
        progress("this machine is busy: times will be off, and latencies worth nothing")
    found = {"machine": machine(), "runs": asked.runs, "seconds": asked.seconds, "tables": {}}
    setting = cases.Setting(asked.runs, asked.seconds, binaries(asked), asked.only, progress)
    for case in asked.case:
        found["tables"][case] = dataclasses.asdict(cases.CASES[case](setting))
        show(found, case)
        if asked.json:
            asked.json.write_text(json.dumps(found, indent=1) + "\n")
    return found


def show(found: dict, case: str) -> None:
    """Prints a table."""
    shown = found["tables"][case]
    rows = [cases.Row(**row) for row in shown["rows"]]
    progress("")
    print(table.text(shown["title"], rows, shown["figures"], shown["ratio_to"]))


def run() -> None:
    """The whole command."""
    asked = arguments()
    if asked.from_json:
        found = json.loads(asked.from_json.read_text())
        for case in found["tables"]:
            show(found, case)
    else:
        found = measured(asked)
        print(", ".join(f"{name}: {value}" for name, value in found["machine"].items()))
    if asked.picture:
        asked.picture.write_text(picture.draw(found))
