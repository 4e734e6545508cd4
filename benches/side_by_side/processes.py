"""What a process and its children cost."""

import os
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def tree(root: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int(fields(int(folder.name))[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(folder.name))
    found, waiting = [], [root]
    while waiting:
        process = waiting.pop()
        found.append(process)
        waiting.extend(children.get(process, []))
    return found


def fields(process: int) -> list[str]:
    """`/proc/PID/stat` after the name, which may hold anything."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def cpu_seconds(root: int) -> float:
    """User and system time of all threads of the tree so far."""
    ticks = 0
    for process in tree(root):
        stat = fields(process)
        ticks += int(stat[11]) + int(stat[12])
    return ticks / TICK


def memory_bytes(root: int) -> int:
    """Resident memory of the tree; pages that its processes share count in each of them."""
    total = 0
    for process in tree(root):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1]) * 1024
    return total
