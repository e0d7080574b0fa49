"""The figures of the made-up months: in the terminal, and as a page while the demo runs."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from statistics import fmean
from urllib.parse import urlencode
from urllib.request import urlopen

from rich.console import Console
from rich.table import Table

from joinback.errors import JoinbackError
from joinback.settings import Settings
from joinback_worker.answers.answer import Report, Wanted
from joinback_worker.answers.headline import headline
from joinback_worker.answers.report import report

from .dashboard import HOST, MISSING
from .demo_months import ADDRESS, AGE_D, APPLICATION, truth_of
from .made_up_loans import Loan

PATIENCE_S = 30.0
"""The page starts and answers within a second. Even a loaded machine needs far less than this."""
AGES_D = ((29, 60), (15, 28), (8, 14), (1, 7))
"""The rows of the table: predictions of these ages in days, the oldest first."""


def show_months(console: Console, settings: Settings, loans: Sequence[Loan]) -> None:
    """Print the plain accuracy and our figures, beside the truth."""
    wanted = Wanted(application=APPLICATION, now=datetime.now(UTC), age_d=AGE_D)
    made = asyncio.run(report(settings, wanted))
    rows = [_row(made, loans, youngest, oldest) for youngest, oldest in AGES_D]
    console.print(
        f"\n{len(loans):,} made-up loans of two months, application {APPLICATION!r}: neither the model nor the delays"
        " ever change, but bad news comes later than good news. So accuracy by the labels that came is not the truth:"
        f" it is {_gap(rows[0])} on the oldest of these days, and {_gap(rows[-1])} on the newest:\n",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    table = Table(box=None, pad_edge=False)
    table.add_column("days old")
    for column in ("labels that came", "coverage", "bounds", "estimate", "truth"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print(
        "\nIn production nobody knows the truth yet. So a report compares labels with labels, and says between which"
        " bounds the truth is:",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    for sentence in headline(made):
        console.print(f"\n{sentence}", highlight=False, soft_wrap=True)


def _row(made: Report, loans: Sequence[Loan], youngest: int, oldest: int) -> list[str]:
    today = made.now.date()
    names = {(today - timedelta(days=age)).isoformat() for age in range(youngest, oldest + 1)}
    days = [day for day in made.together if day.day in names]
    labels, predictions = sum(day.labels for day in days), sum(day.predictions for day in days)

    def over(name: str, by: str) -> float:
        known = [(getattr(day, name), getattr(day, by)) for day in days if getattr(day, name) is not None]
        return float(sum(value * weight for value, weight in known) / sum(weight for _, weight in known))

    truth = fmean(loan.is_right for loan in loans if loan.served_at.date().isoformat() in names)
    bounds = f"{over('at_least', 'predictions'):.3f} to {over('at_most', 'predictions'):.3f}"
    return [
        f"{youngest} to {oldest}",
        f"{over('so_far', 'labels'):.3f}",
        f"{labels / predictions:.0%}",
        bounds,
        f"{over('estimate', 'predictions'):.3f}",
        f"{truth:.3f}",
    ]


def _gap(row: Sequence[str]) -> str:
    """Return how far the labels that came are from the truth, by the figures that are shown."""
    gap = float(row[1]) - float(row[-1])
    return f"{abs(gap):.3f} too {'high' if gap > 0 else 'low'}"


@contextmanager
def served(console: Console, settings: Settings, loans: list[Loan]) -> Iterator[None]:
    """Serve the dashboard on a free port of loopback, and print its address; or print which package it lacks."""
    try:
        from joinback_worker.dashboard.app import app
        from joinback_worker.dashboard.desk import Desk
        from joinback_worker.dashboard.server import listen, server_of, url_of
    except ModuleNotFoundError:
        console.print(f"\nno page: {MISSING}", highlight=False, markup=False, soft_wrap=True)
        yield
        return
    desk = Desk(settings=settings, truth={APPLICATION: truth_of(loans)} if loans else {})
    with listen(HOST, 0, None) as listening:
        server = server_of(app(desk), quiet=True)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            url = url_of(listening)
            address = f"{url}/application?{urlencode(ADDRESS)}" if loans else f"{url}/"
            size = _fetched(address)
            console.print(f"\nthe same as a page ({size / 1000:.0f} kB), as long as this runs:", highlight=False)
            console.print(f"  {address}", highlight=False, soft_wrap=True)
            yield
        finally:
            server.should_exit = True
            thread.join(PATIENCE_S)


def _fetched(address: str) -> int:
    """Ask for the page once, as a browser does, and return its size in bytes. Raises JoinbackError if it fails."""
    try:
        with urlopen(address, timeout=PATIENCE_S) as answer:  # noqa: S310 - our own address
            return len(answer.read())
    except OSError as error:
        raise JoinbackError(f"the demo's page cannot be loaded: {error}") from None
