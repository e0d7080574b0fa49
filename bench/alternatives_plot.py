"""What becomes of the rows, and what it costs, as bars: docs/explanation/alternatives.svg."""

from pathlib import Path
from statistics import median

import matplotlib as mpl
from alternatives_table import ALL_CPU, OUTCOMES, Results, cpu_of, number
from matplotlib.axes import Axes
from matplotlib.figure import Figure

OUTCOME_COLOURS = ("#1a7f5a", "#d9a441", "#b5443c")
PART_COLOURS = {"service": "#4c78a8", "job": "#c77d3b", "servers": "#9aa5b1"}


def plot(results: Results, path: Path) -> None:
    """Left the share of rows that are right, wrong and lost; right the CPU of all processes, by whose it is."""
    # Text stays text: small, sharp and searchable. A fixed salt makes equal figures equal files.
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "joinback", "font.family": "sans-serif", "font.size": 9}
    names = list(results.rounds)
    # White, so that it reads on a dark page too.
    figure = Figure(figsize=(8.6, 1.05 + 0.36 * len(names)), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2, sharey=True)
    shares = {word: [results.share(name, place) * 100 for name in names] for place, word in enumerate(OUTCOMES)}
    _stack(left, names, shares, OUTCOME_COLOURS)
    left.set_title("rows of this stream, %", fontsize=9, loc="left")
    for place, share in enumerate(shares["right"]):
        left.text(share / 2, place, f"{share:.0f}", ha="center", va="center", color="white")
    parts = {part: [median(results.each(name, cpu_of(f"{part}_cpu_s"))) for name in names] for part in PART_COLOURS}
    _stack(right, names, parts, tuple(PART_COLOURS.values()))
    right.set_title("CPU of all processes, s per million events", fontsize=9, loc="left")
    for place, name in enumerate(names):
        ends = sum(values[place] for values in parts.values())
        right.text(ends, place, f" {number(median(results.each(name, ALL_CPU)))}", va="center")
    right.margins(x=0.15)
    left.invert_yaxis()
    figure.savefig(path, format="svg", metadata={"Date": None})


def _stack(axes: Axes, names: list[str], parts: dict[str, list[float]], colours: tuple[str, ...]) -> None:
    before = [0.0] * len(names)
    for (part, values), colour in zip(parts.items(), colours, strict=True):
        axes.barh(names, values, left=before, color=colour, height=0.62, label=part)
        before = [start + value for start, value in zip(before, values, strict=True)]
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=len(parts), frameon=False, fontsize=8)
