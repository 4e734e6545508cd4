"""The load: wrk on a core of its own, and what it saw."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from . import places

LUA = Path(__file__).with_name("load.lua")


@dataclass
class Load:
    """How requests are sent."""

    tokens: Path
    seconds: float
    connections: int = 64
    once: bool = False
    paths: tuple = ()
    headers: tuple = ()
    cores: str = "1"


@dataclass
class Seen:
    """What came back; every answer was a good one."""

    requests: int
    seconds: float
    p50: float
    p99: float
    exhausted: bool


def run(load: Load, port: int, who: str) -> Seen:
    """Sends the load to a contender; ends everything if any request failed."""
    command = [
        "taskset", "-c", load.cores, places.need("wrk", "wrk"), "--threads", "1",
        "--connections", str(load.connections), "--duration", f"{max(1, round(load.seconds))}s",
        "--timeout", "5s", "--script", str(LUA), f"http://127.0.0.1:{port}/", "--",
        str(load.tokens), "once" if load.once else "again", *load.paths, *load.headers,
    ]
    answer = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    line = [line for line in answer.stdout.splitlines() if line.startswith("RESULT ")]
    if answer.returncode or len(line) != 1:
        sys.exit(f"wrk failed against {who}:\n{answer.stdout}")
    result = json.loads(line[0].removeprefix("RESULT "))
    errors = {name: result[name] for name in ("connect", "read", "write", "timeout", "status")}
    if any(errors.values()) or not result["requests"]:
        sys.exit(f"{who}: {result['requests']} requests with errors {errors}; no figure is worth anything")
    return Seen(result["requests"], result["micros"] / 1e6, result["p50"] / 1e3, result["p99"] / 1e3,
                result["exhausted"])
