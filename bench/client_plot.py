"""The two figures that a service feels, as bars on one logarithmic scale: docs/explanation/client-cost.svg."""

from pathlib import Path
from statistics import median

import matplotlib as mpl
from client_peers import DEQUE, EVALSHA, HARNESS, OURS
from client_table import Results, number
from matplotlib.figure import Figure

OURS_COLOUR, FLOOR_COLOUR, PEER_COLOUR = "#1a7f5a", "#9aa5b1", "#c77d3b"


def plot(results: Results, path: Path) -> None:
    """Caller's p50 in a tight loop, and process CPU an event without the harness's own; lowest on top."""
    names = [name for name in results.rounds if name != HARNESS.name]
    # Text stays text: small, sharp and searchable. A fixed salt makes equal figures equal files.
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "joinback", "font.family": "sans-serif", "font.size": 9}
    figure = Figure(figsize=(8.6, 0.55 + 0.36 * len(names)), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2, sharey=True)
    caller = {name: results.each(name, "loan_p50") for name in names}
    cpu = {name: results.each(name, "loan_cpu", less_harness=True) for name in names}
    for axes, title, values in (
        (left, "caller's time, p50, µs", caller),
        (right, "process CPU an event, µs", cpu),
    ):
        bars = axes.barh(
            names, [median(values[name]) for name in names], color=[_colour(name) for name in names], height=0.62
        )
        axes.bar_label(bars, [number(values[name]) for name in names], padding=3)
        axes.set_xscale("log")
        axes.minorticks_off()
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_title(title, fontsize=9, loc="left")
        axes.margins(x=0.22)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    left.invert_yaxis()
    figure.savefig(path, format="svg", metadata={"Date": None})


def _colour(name: str) -> str:
    return OURS_COLOUR if name == OURS.name else FLOOR_COLOUR if name in (DEQUE.name, EVALSHA.name) else PEER_COLOUR
