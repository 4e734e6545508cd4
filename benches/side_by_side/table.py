"""Rows as text: medians, with the least and the most in brackets."""

import statistics

TITLES = {
    "cpu": "CPU µs / request",
    "ratio": "ratio",
    "rate": "requests / s",
    "p50": "p50 ms",
    "p99": "p99 ms",
    "memory": "RSS MB",
    "rest": "at rest MB",
    "full": "100,000 tokens MB",
    "idle": "KB / idle connection",
    "ready": "ready ms",
    "binary": "binary MB",
}
DIGITS = {"cpu": 1, "ratio": 2, "rate": 0, "p50": 2, "p99": 2, "memory": 1, "rest": 1, "full": 1,
          "idle": 1, "ready": 1, "binary": 1}


def cell(values: list[float], digits: int) -> str:
    """The median, and the range if there is one."""
    middle = f"{statistics.median(values):,.{digits}f}"
    if len(values) < 2:
        return middle
    return f"{middle} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def text(title: str, rows: list, figures: list[str], ratio_to: str = "") -> str:
    """A table in Markdown, its columns aligned."""
    titles = [TITLES[name] if name != "ratio" else f"÷ {ratio_to}" for name in figures]
    lines = [["", *titles]]
    for row in rows:
        cells = [cell(row.figures[name], DIGITS[name]) if name in row.figures else "–" for name in figures]
        lines.append([row.name, *cells])
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    shown = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in lines]
    shown.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join([f"## {title}", "", *shown, ""])
