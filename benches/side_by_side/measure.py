"""Runs contenders in turn, several times over, and collects what each cost."""

import statistics
from dataclasses import dataclass, field, replace

from . import load, peers


@dataclass
class Row:
    """A contender's figures, one of each a run."""

    name: str
    figures: dict[str, list[float]] = field(default_factory=dict)

    def add(self, **figures: float) -> None:
        """The figures of one more run."""
        for name, value in figures.items():
            self.figures.setdefault(name, []).append(value)

    def median(self, name: str) -> float:
        """The figure in the middle."""
        return statistics.median(self.figures[name])


@dataclass
class Entry:
    """A contender and the load it gets."""

    contender: peers.Contender
    load: load.Load
    warm: load.Load | None = None
    cores: str = "0"
    # Whom the contender asks about each request: on the same core, and what it costs counts too.
    asked: peers.Contender | None = None


def first_token(file) -> str:
    """The first of a file of tokens."""
    with open(file) as lines:
        return next(lines).strip()


def one(entry: Entry, upstream: int, binaries: dict, row: Row) -> None:
    """Starts a contender, and whom it asks; measures it, stops it."""
    if not entry.asked:
        return alone(entry, upstream, binaries, row)
    with peers.Running(entry.asked, upstream, entry.cores, binaries) as asked:
        asked.wait(first_token(entry.load.tokens))
        words = {**entry.contender.words, "ASKED": asked.port}
        alone(replace(entry, contender=replace(entry.contender, words=words)), upstream, binaries, row, [asked])


def alone(entry: Entry, upstream: int, binaries: dict, row: Row, beside: list = ()) -> None:
    """Starts a contender, warms it up, measures it and what runs beside it, stops it."""
    warm = entry.warm or replace(entry.load, seconds=1, once=False)
    with peers.Running(entry.contender, upstream, entry.cores, binaries) as peer:
        costly = [peer, *beside]
        peer.wait(first_token(warm.tokens))
        warm_up(warm, peer.port, entry.contender.name)
        before = sum(one.cpu_seconds() for one in costly)
        seen = load.run(entry.load, peer.port, entry.contender.name)
        spent = sum(one.cpu_seconds() for one in costly) - before
        row.add(
            cpu=spent / seen.requests * 1e6,
            p50=seen.p50,
            p99=seen.p99,
            memory=sum(one.memory_bytes() for one in costly) / 1e6,
            requests=seen.requests,
        )
        if not seen.exhausted:
            row.add(rate=seen.requests / seen.seconds)


def warm_up(warm: load.Load, port: int, who: str) -> None:
    """Sends the warming load; one that is to send every token once is given the time."""
    while not load.run(warm, port, who).exhausted and warm.once:
        warm = replace(warm, seconds=warm.seconds * 2)


def interleaved(entries: list[Entry], runs: int, binaries: dict, progress) -> list[Row]:
    """Each contender once, then each once more: what disturbs the machine disturbs all."""
    rows = [Row(entry.contender.name) for entry in entries]
    with peers.upstream() as upstream:
        upstream.wait("")
        for run in range(runs):
            for entry, row in zip(entries, rows):
                progress(f"run {run + 1} of {runs}: {row.name}")
                one(entry, upstream.port, binaries, row)
    return rows


def add_ratios(rows: list[Row], to: Row, figure: str = "cpu") -> None:
    """Each row's figure over that of `to` in the same run."""
    for row in rows:
        pairs = zip(row.figures[figure], to.figures[figure])
        row.figures["ratio"] = [one / other for one, other in pairs]
