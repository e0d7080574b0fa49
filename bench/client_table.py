"""From the figures of all rounds to one Markdown table. A ratio is taken within its round, then the median."""

from collections.abc import Callable
from statistics import median

from client_peers import DEQUE, EVALSHA, HARNESS

Figures = dict[str, float]


class Results:
    """By peer, the figures of each round; and the words for its behaviour."""

    def __init__(self, bare_python_mb: float) -> None:
        self.bare_python_mb = bare_python_mb
        self.rounds: dict[str, list[Figures]] = {}
        self.behaviour: dict[str, dict[str, str]] = {}

    def add(self, name: str, figures: Figures) -> None:
        self.rounds.setdefault(name, []).append(figures)

    def each(self, name: str, figure: str, *, less_harness: bool = False) -> list[float]:
        """The figure in each round; on request less what the harness itself took in that round."""
        values = [figures[figure] for figures in self.rounds[name]]
        if not less_harness:
            return values
        return [value - spent for value, spent in zip(values, self.each(HARNESS.name, figure), strict=True)]

    def ratios(self, name: str, floor: str, figure: str, *, less_harness: bool = False) -> list[float]:
        ours = self.each(name, figure, less_harness=less_harness)
        floors = self.each(floor, figure, less_harness=less_harness)
        return [value / low for value, low in zip(ours, floors, strict=True)]


def number(values: list[float]) -> str:
    """The median, with as many digits as tell something."""
    value = median(values)
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 1 else 2
    return f"{value:,.{digits}f}"


def _times(ratios: list[float]) -> str:
    """A ratio with its lowest and highest round."""
    if median(ratios) >= 10:
        return f"{median(ratios):,.0f}x"
    spread = f" ({min(ratios):.2f}-{max(ratios):.2f})" if len(ratios) > 1 else ""
    return f"{median(ratios):.2f}x{spread}"


def _caller(results: Results, name: str, scenario: str) -> str:
    return f"{number(results.each(name, f'{scenario}_p50'))} / {number(results.each(name, f'{scenario}_p99'))}"


def _cpu(results: Results, name: str, scenario: str) -> str:
    if name == HARNESS.name:
        return "-"
    return number([max(0.0, value) for value in results.each(name, f"{scenario}_cpu", less_harness=True)])


def _rate(results: Results, name: str) -> str:
    return "-" if name in (HARNESS.name, DEQUE.name) else f"{median(results.each(name, 'loan_per_s')):,.0f}"


def _over_deque(scenario: str) -> Callable[[Results, str], str]:
    return lambda results, name: (
        "-" if name == HARNESS.name else _times(results.ratios(name, DEQUE.name, f"{scenario}_p50"))
    )


def _over_evalsha(results: Results, name: str) -> str:
    if name == HARNESS.name:
        return "-"
    return _times(results.ratios(name, EVALSHA.name, "loan_cpu", less_harness=True))


def _memory(results: Results, name: str) -> str:
    return number([most - results.bare_python_mb for most in results.each(name, "memory")])


def _lag(results: Results, name: str) -> str:
    return f"{max(0.0, median(results.each(name, 'lag_added'))) / 1_000:.2f}"


def _behaviour(case: str) -> Callable[[Results, str], str]:
    return lambda results, name: results.behaviour.get(name, {}).get(case, "-")


COLUMNS: dict[str, Callable[[Results, str], str]] = {
    "caller: p50 / p99, µs": lambda results, name: _caller(results, name, "loan"),
    "x deque": _over_deque("loan"),
    "at 1,000/s: p50 / p99, µs": lambda results, name: _caller(results, name, "steady"),
    "3 KB: p50 / p99, µs": lambda results, name: _caller(results, name, "llm"),
    "3 KB x deque": _over_deque("llm"),
    "CPU an event, µs": lambda results, name: _cpu(results, name, "loan"),
    "x EVALSHA": _over_evalsha,
    "CPU at 1,000/s, µs": lambda results, name: _cpu(results, name, "steady"),
    "events/s": _rate,
    "memory, MB": _memory,
    "loop lag, ms": _lag,
    "exit, hung": _behaviour("exit"),
    "fork": _behaviour("fork"),
    "bad objects": _behaviour("bad_object"),
    "leaks": _behaviour("change"),
}


def table(results: Results) -> str:
    lines = [["", *COLUMNS], ["---"] + ["---:"] * len(COLUMNS)]
    lines += [[name, *(cell(results, name) for cell in COLUMNS.values())] for name in results.rounds]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
