"""The sink that a command speaks of: a URL, the name of a variable that holds it, or JOINBACK_SINK_URL."""

import os

from joinback.settings import Settings

from .show import warn_of_path


def url_of(given: str | None, settings: Settings) -> str:
    """Return the URL. A relative path is told."""
    url = settings.sink_url if given is None else given if ":" in given else os.environ.get(given, given)
    warn_of_path(url)
    return url
