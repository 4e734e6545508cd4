"""The load: wrk, or h2load for HTTP/2, on a core of its own, and what it saw."""

import json
import re
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
    # Another port of the contender than its first, and what is spoken there: http, https or h2c.
    port: int = 0
    spoken: str = "http"


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
    port = load.port or port
    if load.spoken == "h2c":
        return run_h2load(load, port, who)
    command = [
        "taskset", "-c", load.cores, places.need("wrk", "wrk"), "--threads", "1",
        "--connections", str(load.connections), "--duration", f"{max(1, round(load.seconds))}s",
        "--timeout", "5s", "--script", str(LUA), f"{load.spoken}://127.0.0.1:{port}/", "--",
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


def run_h2load(load: Load, port: int, who: str) -> Seen:
    """The same over HTTP/2: as many streams at once, on eight connections, and one token, since
    h2load sends the same fields with every request."""
    with open(load.tokens) as lines:
        token = next(lines).strip()
    seconds = max(1, round(load.seconds))
    command = [
        "taskset", "-c", load.cores, places.need("h2load", "nghttp2-client"), "--threads=1", "--clients=8",
        f"--max-concurrent-streams={load.connections // 8}", f"--duration={seconds}",
        f"--header=authorization: Bearer {token}", f"http://127.0.0.1:{port}/",
    ]
    answer = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    counts = re.search(r"requests: .* (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", answer.stdout)
    if answer.returncode or not counts:
        sys.exit(f"h2load failed against {who}:\n{answer.stdout}")
    done, good, *bad = map(int, counts.groups())
    if any(bad) or good != done or not done:
        sys.exit(f"{who}: of {done} requests {good} were answered well; no figure is worth anything\n{answer.stdout}")
    return Seen(done, seconds, 0, 0, False)
