"""From the figures of all rounds to two Markdown tables. A ratio is taken within its round, then the median."""

from collections.abc import Callable
from statistics import median
from typing import Any

from alternatives_contenders import OURS
from alternatives_run import Killed
from alternatives_stream import KINDS

Figures = dict[str, Any]
OUTCOMES = ("right", "wrong", "lost")
NONE = "-"


class Results:
    """By contender, the figures of each round, and what was lost when a process of it was killed."""

    def __init__(self, keys: int, killed_calls: int, lines: dict[str, int]) -> None:
        self.keys = keys
        self.killed_calls = killed_calls
        self.lines = lines
        self.rounds: dict[str, list[Figures]] = {name: [] for name in lines}
        self.calls_lost: dict[str, list[int]] = {name: [] for name in lines}
        self.killed: dict[str, Killed] = {}

    def add(self, name: str, figures: Figures, calls_lost: int) -> None:
        # The rows are the same in each round, or something is wrong.
        assert all(figures["kinds"] == before["kinds"] for before in self.rounds[name]), figures
        self.rounds[name].append(figures)
        self.calls_lost[name].append(calls_lost)

    @property
    def events(self) -> int:
        return int(self.rounds[OURS.name][0]["events"])

    def each(self, name: str, of: Callable[[Figures], float]) -> list[float]:
        """The figure in each round."""
        return [of(figures) for figures in self.rounds[name]]

    def ratios(self, name: str, of: Callable[[Figures], float]) -> list[float]:
        """The figure over that of Joinback into PostgreSQL, in each round."""
        return [one / ours for one, ours in zip(self.each(name, of), self.each(OURS.name, of), strict=True)]

    def kinds(self, name: str) -> dict[str, list[int]]:
        kinds: dict[str, list[int]] = self.rounds[name][0]["kinds"]
        return kinds

    def share(self, name: str, outcome: int) -> float:
        """Which part of all keys has this outcome."""
        return sum(counts[outcome] for counts in self.kinds(name).values()) / self.keys


def cpu_of(*parts: str) -> Callable[[Figures], float]:
    """Seconds of CPU per million events."""
    return lambda figures: sum(figures[part] for part in parts) / figures["events"] * 1e6


ALL_CPU = cpu_of("service_cpu_s", "job_cpu_s", "servers_cpu_s")


def per_s(*parts: str) -> Callable[[Figures], float]:
    return lambda figures: figures["events"] / sum(figures[part] for part in parts)


def number(value: float) -> str:
    digits = 0 if abs(value) >= 10 or value == int(value) else 1 if abs(value) >= 1 else 2
    return f"{value:,.{digits}f}"


def spread(values: list[float]) -> str:
    """The median, with the lowest and the highest round."""
    middle = number(median(values))
    least, most = number(min(values)), number(max(values))
    return middle if least == most else f"{middle} ({least} to {most})"


def _ratio(values: list[float]) -> str:
    brackets = "" if len(values) == 1 else f" ({min(values):.2f} to {max(values):.2f})"
    return f"{median(values):.2f}x{brackets}"


def _figure(of: Callable[[Figures], float]) -> Callable[[Results, str], str]:
    return lambda results, name: spread(results.each(name, of))


def _joined(results: Results, name: str) -> str:
    return spread(results.each(name, per_s("joined_s"))) if name in results.killed else NONE


def _start(results: Results, name: str) -> str:
    return spread(results.each(name, lambda figures: figures["idle_cpu_s"])) if name in results.killed else NONE


def _memory(results: Results, name: str) -> str:
    return spread(results.each(name, lambda figures: figures["job_mb"])) if name in results.killed else NONE


COSTS: dict[str, Callable[[Results, str], str]] = {
    "lines": lambda results, name: str(results.lines[name]),
    "a call, p50, µs": _figure(lambda figures: figures["p50_us"]),
    "p99, µs": _figure(lambda figures: figures["p99_us"]),
    "logged, events/s": _figure(per_s("logged_s")),
    "joined, events/s": _joined,
    "CPU of the service": _figure(cpu_of("service_cpu_s")),
    "of the job": _figure(cpu_of("job_cpu_s")),
    "of the servers": _figure(cpu_of("servers_cpu_s")),
    "all CPU": _figure(ALL_CPU),
    "a start": _start,
    "x Joinback": lambda results, name: _ratio(results.ratios(name, ALL_CPU)),
    "job, MB": _memory,
    "Redis, MB": _figure(lambda figures: figures["redis_mb"]),
    "query, ms": _figure(lambda figures: figures["query_ms"]),
}


def costs(results: Results) -> str:
    lines = [["", *COSTS], ["---"] + ["---:"] * len(COSTS)]
    lines += [[name, *(cell(results, name) for cell in COSTS.values())] for name in results.rounds]
    return _table(lines)


def rows(results: Results) -> str:
    """What became of the keys of each kind, and what a killed process lost."""
    killed = [f"service killed: lost of {results.killed_calls:,} calls", "job killed: lost / doubled"]
    lines = [["", "all", *KINDS, *killed], ["---"] + ["---"] * (len(KINDS) + 3)]
    for name in results.rounds:
        of_job = results.killed.get(name)
        cells = [f"{results.share(name, 0):.0%} right", *map(_outcome, results.kinds(name).values())]
        cells.append(spread(list(map(float, results.calls_lost[name]))))
        cells.append(NONE if of_job is None else f"{of_job.lost} / {of_job.doubled}")
        lines.append([name, *cells])
    return _table(lines)


def _outcome(counts: list[int]) -> str:
    """One word where all keys of a kind came to the same."""
    told = [(outcome, count) for outcome, count in zip(OUTCOMES, counts, strict=True) if count]
    return told[0][0] if len(told) == 1 else ", ".join(f"{count:,} {outcome}" for outcome, count in told)


def _table(lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
