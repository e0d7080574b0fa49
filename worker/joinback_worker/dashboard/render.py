"""Templates, and how figures are written on a page."""

from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from joinback_worker.answers.curve import duration
from joinback_worker.answers.headline import figure
from joinback_worker.answers.versions import said

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"
HTMX_VERSION = "4.0.1"
"""Of static/htmx.min.js: `dist/htmx.min.js` of the npm package htmx.org, unchanged. Its licence is beside it."""


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Return the templates. All text from elsewhere is escaped."""
    made = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "count": lambda value: "" if value is None else f"{value:,}",
        "percent": percent,
        "version": said,
        "figure": figure,
        "duration": lambda seconds: "" if seconds is None else duration(seconds),
        "moment": moment,
        "ago": ago,
        "heat": lambda share: "" if share is None else f"h{round(share * 10)}",
        "rate": lambda value: "" if value is None else f"{value:,.1f}" if value < 100 else f"{value:,.0f}",
    }
    return made


def rendered(template: str, **context: Any) -> str:
    return environment().get_template(template).render(**context)


def ago(at: datetime | None, now: datetime) -> str:
    """Return how long ago a moment was, or how soon it will be, in one unit."""
    if at is None:
        return ""
    seconds = round((now - at).total_seconds())
    return "now" if seconds == 0 else f"{duration(seconds)} ago" if seconds > 0 else f"in {duration(-seconds)}"


def percent(share: float | None, digits: int = 0) -> str:
    return "" if share is None else f"{share * 100:.{digits}f} %"


def text(payload: bytes) -> str:
    """Return bytes as text, also if they are not UTF-8."""
    return payload.decode(errors="backslashreplace")


def moment(at: datetime | None) -> str:
    """Return a time as people read it, in UTC, to the second."""
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
