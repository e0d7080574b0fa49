"""Try the sink: connect, check or make its table, and try its rights. No row stays."""

from joinback.errors import JoinbackError
from joinback.settings import Settings
from joinback_worker.errors import SinkMissing, SinkOlder
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import open_sink, shown

from .diagnosis import Tried, problem, well
from .named_fix import named_fix

_FIX = "start the sink, or correct JOINBACK_SINK_URL or the rights of its login"
"""For an error that names no fix."""


async def try_sink(settings: Settings, *, reads_only: bool = False) -> list[Tried]:
    """Return whether the sink can be written; with `reads_only`, whether it can be read.

    Raises ConfigurationError for a URL that no sink serves.
    """
    if reads_only:
        return await _read(settings)
    where = shown(settings.sink_url)
    opened = open_sink(settings.sink_url)
    opened.migrates = False
    try:
        async with opened as sink:
            await sink.try_rights()
    except SinkOlder as error:
        # Workers of the older release may still drain into it, and a try must not end that.
        return [well("sink", f"{where} is {error.state}; the first worker or drain of this release migrates it")]
    except JoinbackError as error:
        return [_wrong(where, error)]
    return [well("sink", f"{where}: can be written")]


def _wrong(where: str, error: JoinbackError) -> Tried:
    says, fix = named_fix(str(error), _FIX)
    return problem("sink", "sink_wrong", f"{where}: {says}", fix)


async def _read(settings: Settings) -> list[Tried]:
    where = shown(settings.sink_url)
    try:
        async with open_sink(settings.sink_url, Policy(), read_only=True):
            return [well("sink", f"{where}: can be read")]
    except SinkMissing as error:
        return [problem("sink", "sink_missing", str(error), "the first drain makes it")]
    except JoinbackError as error:
        return [_wrong(where, error)]
