"""The sink of a command: a URL, the name of a variable that holds it, or JOINBACK_SINK_URL."""

import os
from typing import Any

import click

from joinback.errors import ConfigurationError, JoinbackError
from joinback.settings import Settings
from joinback_worker.sinks import open_sink

from .show import warn_of_path

_SETTING = "JOINBACK_SINK_URL"


class SinkCommand(click.Command):
    """A command with the URL of a sink as an argument. If it is given, errors do not blame JOINBACK_SINK_URL."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except JoinbackError as error:
            if ctx.params.get("url") is None and ctx.params.get("from_url") is None:
                raise
            raise JoinbackError(str(error).replace(_SETTING, "its URL")) from None


def url_of(given: str | None, settings: Settings, argument: str = "URL") -> str:
    """Return the URL, and warn of a relative path. `argument` is the name that the command's help gives it.

    Raises ConfigurationError for a URL that no sink serves. The error names the argument or the variable that was
    given: sinks only know the setting.
    """
    url, name = settings.sink_url, _SETTING
    if given is not None:
        is_variable = ":" not in given and given in os.environ
        url, name = (os.environ[given], given) if is_variable else (given, argument)
    try:
        open_sink(url)
    except ConfigurationError as error:
        raise ConfigurationError(str(error).replace(_SETTING, name)) from None
    warn_of_path(url)
    return url
