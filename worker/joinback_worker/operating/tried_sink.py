"""The sink: connected, its table looked at or made, and its rights tried; nothing stays."""

from joinback.errors import JoinbackError
from joinback.settings import Settings
from joinback_worker.errors import SinkMissing, SinkOlder
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import open_sink, shown

from .diagnosis import Tried, amiss, well


async def of_sink(settings: Settings, *, reads_only: bool = False) -> list[Tried]:
    """Try the sink of these settings. Raises ConfigurationError for a URL nobody serves."""
    if reads_only:
        return await _read(settings)
    where = shown(settings.sink_url)
    opened = open_sink(settings.sink_url)
    opened.migrates = False
    try:
        async with opened as sink:
            await sink.try_rights()
    except SinkOlder as error:
        # Workers of the older release may still drain into it: a look must not end that.
        return [well("sink", f"{where}: {error.says}: the first worker or drain of this release migrates it")]
    except JoinbackError as error:
        return [amiss("sink", "sink_wrong", f"{where}: {error}", "mend JOINBACK_SINK_URL, or the rights of its login")]
    return [well("sink", f"{where}: can be written")]


async def _read(settings: Settings) -> list[Tried]:
    where = shown(settings.sink_url)
    try:
        async with open_sink(settings.sink_url, Policy(), read_only=True):
            return [well("sink", f"{where}: can be read")]
    except SinkMissing as error:
        return [amiss("sink", "sink_missing", str(error), "the first drain makes it")]
    except JoinbackError as error:
        return [amiss("sink", "sink_wrong", f"{where}: {error}", "mend JOINBACK_SINK_URL, or the rights of its login")]
